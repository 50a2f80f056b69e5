"""Holds the Prefect in memory of these tests to the recorded one: the same question, the same answer."""

import pytest
from prefect_tables import moment
from recorded_story import answer, recording, tables_at

QUESTIONS = ["030_poll_01", "030_poll_02", "040", "041", "042", "043", "044", "045", "046", "047", "051", "060", "061"]
QUESTIONS += ["062", "063", "064", "066", "067", "072_cancel_1", "072_cancel_2", "075", "004", "005"]
FACTS = ("id", "state_id", "state_type", "state_name", "run_count", "start_time", "end_time", "flow_run_id")
NOT_SORTED = {"045", "051"}
SECOND = {"030_poll_02": 0.7, "043": 0.7, "046": 0.7, "051": 0.7, "072_cancel_2": 0.3}
"""When in the recorded second it was asked, where something else happened in the same second."""


def ask(tables, exchange):
    request = exchange["request"]
    pairs = [pair.partition("=") for pair in request["query"].split("&") if pair]
    parts = [part for part in request["path"].split("/") if part][1:]
    return tables.answer(request["method"], parts, {name: value for name, _, value in pairs}, request["body"])


def facts(body):
    rows = body if isinstance(body, list) else [body]
    return [{name: row[name] for name in FACTS if name in row} for row in rows]


@pytest.mark.parametrize("name", QUESTIONS)
def test_same_question_same_rows(name):
    exchange = recording(name)
    second = f"{SECOND.get(name, 0.999999):.6f}".removeprefix("0")
    status, body = ask(tables_at(exchange["recorded_at"].replace("Z", f"{second}Z")), exchange)
    assert status == exchange["response"]["status"]
    if status != 200:
        return
    told, true = facts(body), facts(answer(name))
    key = (lambda row: row["id"]) if name in NOT_SORTED else (lambda row: 0)
    assert sorted(told, key=key) == sorted(true, key=key)


def test_events_are_those_that_were_received():
    exchange = recording("080")
    tables = tables_at("2026-11-23T14:40:34.1Z")
    status, body = ask(tables, exchange)
    assert status == 200
    told = [event["id"] for event in body["events"]]
    assert told == [event["id"] for event in answer("080")["events"]]
    assert all(moment(event["received"]) <= moment(tables.now) for event in body["events"])


def test_pages_of_events_are_followed_by_their_token():
    tables = tables_at("2026-11-23T14:40:34.1Z")
    _, first = ask(tables, recording("081"))
    assert len(first["events"]) == len(answer("081")["events"]) == 10
    query = {"page-token": first["next_page"].partition("page-token=")[2].replace("%3D", "=")}
    _, second = tables.answer("GET", ["events", "filter", "next"], query, None)
    assert not {event["id"] for event in first["events"]} & {event["id"] for event in second["events"]}


def test_more_than_fifty_events_are_refused():
    assert ask(tables_at("2026-11-23T14:40:34Z"), recording("082"))[0] == 422
