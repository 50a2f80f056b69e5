"""Holds the in-memory Airflow of these tests to the recorded one: the same question, the same rows."""

from datetime import datetime

import httpx
import pytest

SAME = ["050", "053_runs_cursor_first", "054", "058", "060"]
NAMES = ["dag_id", "dag_run_id", "state", "start_date", "end_date"]


def ask(airflow, exchange, **headers):
    url = exchange["request"]["url"]
    return airflow.answer(httpx.Request(exchange["request"]["method"], url, headers=headers))


def told(body):
    return [[row[name] for name in NAMES] for row in body["dag_runs"]]


@pytest.fixture
def signed_in(airflow):
    airflow.valid = {"t"}
    return {"authorization": "Bearer t"}


@pytest.mark.parametrize("name", SAME)
def test_same_question_same_rows(name, airflow, recorded, signed_in):
    exchange = recorded(name)
    airflow.at(8)
    body = ask(airflow, exchange, **signed_in).json()
    expected = exchange["response"]["json"]
    if "run_id_pattern" in exchange["request"]["query"]:  # a filter that the plugin does not use
        assert expected["dag_runs"] == []
        return
    ordered = "updated_at" in exchange["request"]["query"] or "cursor" in exchange["request"]["query"]
    assert told(body) == told(expected) if not ordered else sorted(told(body)) == sorted(told(expected))
    assert bool(body.get("next_cursor")) == bool(expected.get("next_cursor"))


def test_pages_by_token(airflow, recorded, signed_in):
    airflow.at(8)
    seen, token = [], ""
    while token is not None:
        url = f"http://airflow.test/api/v2/dags/~/dagRuns?cursor={token}&limit=3&order_by=id"
        body = airflow.answer(httpx.Request("GET", url, headers=signed_in)).json()
        seen += told(body)
        token = body["next_cursor"]
    assert seen == told(recorded("054")["response"]["json"])


@pytest.mark.parametrize("name", ["003", "004", "062", "109", "133", "002"])
def test_refusals(name, airflow, recorded):
    exchange = recorded(name)
    airflow.valid = {"t"}
    headers = {} if name == "003" else {"authorization": "Bearer nonsense" if name == "004" else "Bearer t"}
    if name == "002":
        body = {"username": "runlink", "password": "wrong"}
        answer = airflow.answer(httpx.Request("POST", "http://airflow.test/auth/token", json=body))
    else:
        answer = ask(airflow, exchange, **headers)
    assert answer.status_code == exchange["response"]["status"]
    assert answer.json() == exchange["response"]["json"]


def test_ordered_by_id_with_a_token_and_a_date(airflow, recorded, recorded_rows, signed_in):
    """Recording 132, as the plugin asks: the first two of five runs, a token, and the engine's clock in the `Date`."""
    exchange = recorded("132")
    airflow.now = datetime.fromisoformat(exchange["recorded_at"])
    for number in range(2, 7):
        row = recorded_rows("132")[min(number - 2, 1)]
        airflow.add(row if number < 4 else row | {"dag_run_id": f"later-{number}"})
    answer = ask(airflow, exchange, **signed_in)
    assert told(answer.json()) == told(exchange["response"]["json"])
    assert bool(answer.json()["next_cursor"]) == bool(exchange["response"]["json"]["next_cursor"]) is True
    assert answer.headers["date"][:16] == exchange["response"]["headers"]["date"][:16]


def test_one_run(airflow, recorded, signed_in):
    airflow.at(8)
    exchange = recorded("061")
    assert ask(airflow, exchange, **signed_in).json() == exchange["response"]["json"]


def test_tries(airflow, recorded_rows, signed_in, recorded):
    airflow.at(8)
    body = ask(airflow, recorded("079"), **signed_in).json()
    assert [row["try_number"] for row in body["task_instances"]] == [row["try_number"] for row in recorded_rows("079")]
