"""Holds the in-memory Dagster of these tests to the recorded one: the same question, the same answer."""

import pytest
from fake_dagster import full, recording, rows

LISTINGS = ["030", "031", "034", "035", "039"]
OWN = ["110", "115", "116", "117", "119", "120"]


@pytest.mark.parametrize("name", LISTINGS)
def test_same_question_same_runs(name, engine):
    exchange = recording(name)
    engine.at(10)
    asked = exchange["request"]["body"]["variables"]
    found = engine.select(asked.get("f", {}), asked.get("c"), asked["l"])
    expected = [row["runId"] for row in exchange["response"]["json"]["data"]["runsOrError"]["results"]]
    assert [row["runId"] for row in found] == expected


@pytest.mark.parametrize("name", OWN)
def test_same_document_same_answer(name, engine):
    """The plugin's own documents, word for word as they were sent to a real Dagster."""
    engine.runs = [full(row) for row in reversed(rows("112"))]
    if name == "110":
        engine.runs = [full(row) for row in reversed(rows("110"))]
    exchange = recording(name)
    status, body = engine.ask(exchange["request"]["body"]["query"], exchange["request"]["body"]["variables"])
    assert (status, body) == (exchange["response"]["status"], exchange["response"]["json"])


@pytest.mark.parametrize("name", ["100", "101"])
def test_what_check_asks(name, engine):
    exchange = recording(name)
    status, body = engine.ask(exchange["request"]["body"]["query"], {})
    assert (status, body) == (200, exchange["response"]["json"])


@pytest.mark.parametrize("name", ["036", "044"])
def test_a_document_that_is_not_known_is_refused(name, engine):
    exchange = recording(name)
    status, body = engine.ask(exchange["request"]["body"]["query"], {})
    assert status == exchange["response"]["status"] == 400
    assert body["data"] is None
    assert "Cannot query field" in body["errors"][0]["message"]


def test_a_broken_event_log_fails_the_whole_answer(engine):
    exchange = recording("123")
    engine.runs = [full(row) for row in reversed(rows("112"))]
    engine.broken = {exchange["request"]["body"]["variables"]["filter"]["runIds"][1]}
    status, body = engine.ask(exchange["request"]["body"]["query"], exchange["request"]["body"]["variables"])
    assert status == exchange["response"]["status"] == 500
    assert body["data"] is exchange["response"]["json"]["data"] is None
    assert body["errors"][0]["message"] == exchange["response"]["json"]["errors"][0]["message"]
