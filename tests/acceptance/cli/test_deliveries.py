"""Deliveries and subscriptions by hand: listed, shown, taken in once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from runlink.application.rows import DeliveryRow
from runlink.domain import new_id
from runlink.store import open_store, tables

T0 = datetime(2026, 1, 5, 10, tzinfo=UTC)
SUBSCRIPTION = '[[subscriptions]]\nname = "chat"\nurl = "https://bot.example.org/x"\nsecrets = [{ env = "CHAT_KEY" }]\n'


@pytest.fixture
def store(place, acme):
    place.configure(("ci", acme), more=SUBSCRIPTION)
    place.ok("sync")
    store = open_store(f"sqlite:///{place.path / 'runlink.db'}")
    yield store
    store.close()


@pytest.fixture
def pushed(store):
    """A delivery that is done, one that waits, one that is dead."""
    with store.reading() as uow:
        (engine,) = uow.engines.list()
    headers = [("content-type", "application/json")]
    rows = [
        DeliveryRow(new_id(), engine.id, name, T0 + timedelta(seconds=n), "/hooks/ci", headers, body, False)
        for n, (name, body) in enumerate([("one", b'{"a": 1}'), (None, b"\xff\x1b[31m"), ("three", b"")])
    ]
    store.write(lambda uow: uow.deliveries.add(rows), actor="http")
    store.write(lambda uow: uow.deliveries.done([rows[0].id], T0), actor="daemon")
    store.write(lambda uow: uow.deliveries.failed(rows[1].id, "no answer", T0, T0 + timedelta(days=1)), actor="daemon")
    store.write(lambda uow: uow.deliveries.failed(rows[2].id, "it is no JSON", T0, None), actor="daemon")
    return [str(row.id) for row in rows]


def test_deliveries_are_listed_newest_first_and_filtered(place, pushed):
    rows = place.rows("deliveries", "list")
    assert [(row["id"], row["state"]) for row in rows] == list(
        zip(reversed(pushed), ["dead", "waiting", "done"], strict=True)
    )
    assert rows[0]["reason"] == "it is no JSON"
    assert [row["bytes"] for row in rows] == [0, 6, 8]
    assert "body" not in rows[0]
    assert [row["id"] for row in place.rows("deliveries", "list", "--state", "dead")] == [pushed[2]]
    assert place.rows("deliveries", "list", "--engine", "other") == []
    assert [row["id"] for row in place.rows("deliveries", "list", "--before", pushed[1])] == [pushed[0]]
    assert "it is no JSON" in place.ok("deliveries", "list").out


def test_one_is_shown_by_either_id_harmless_for_a_terminal(place, pushed):
    row = place.ok("deliveries", "show", "one", "-o", "json").json
    assert (row["id"], row["body"], row["headers"]) == (pushed[0], '{"a": 1}', [["content-type", "application/json"]])
    said = place.ok("deliveries", "show", pushed[1])
    assert "\x1b" not in said.out
    assert "\\xff" in said.out
    assert place("deliveries", "show", "nobody").code == 1


def test_replaying_has_them_taken_in_once_more(place, store, pushed):
    assert "1 to be taken in again" in place.ok("deliveries", "replay", "one").err
    assert "1 to be taken in again" in place.ok("deliveries", "replay", "--dead").err
    states = {row["id"]: (row["state"], row["attempts"]) for row in place.rows("deliveries", "list")}
    assert states == {pushed[0]: ("waiting", 0), pushed[1]: ("waiting", 1), pushed[2]: ("waiting", 0)}
    assert place("deliveries", "replay").code == 2
    assert place("deliveries", "replay", "one", "--dead").code == 2
    assert "no daemon runs" in place.ok("deliveries", "replay", "one").err


def test_status_shows_what_waits_and_is_dead_where_an_engine_may_push(place, acme, pushed):
    (row,) = place.rows("status")
    assert row["push"] is None
    webhook = '[engines.ci.webhook]\nsecrets = [{ env = "HOOK" }]\n'
    place.config.write_text(place.config.read_text() + webhook)
    (row,) = place.rows("status")
    assert (row["push"]["state"], row["push"]["waiting"], row["push"]["dead"]) == (None, 1, 1)
    assert "new, 1 waiting, 1 dead" in place.ok("status").out


def test_an_engine_that_pushes_nothing_takes_no_webhook(place, acme):
    place.configure(("ci", acme), more='[engines.ci.webhook]\nsecrets = [{ env = "HOOK" }]\n')
    said = place("validate")
    assert said.code == 2
    assert "engines.ci.webhook: engines of type 'acme' push nothing" in said.err


def test_an_engine_that_is_asked_needs_an_address(place):
    place.configure(("ci", ""))
    place.config.write_text(place.config.read_text().replace('url = ""\n', ""))
    said = place("validate")
    assert said.code == 2
    assert "engines.ci.url: is missing" in said.err


def test_subscriptions_are_listed_and_dead_events_sent_again(place, store, pushed):
    assert place.rows("subscriptions", "list") == [
        {
            "name": "chat",
            "url": "https://bot.example.org/x",
            "events": ["run.*"],
            "configured": True,
            "waiting": 0,
            "sent": 0,
            "dead": 0,
            "last_sent_at": None,
            "last_error": None,
        }
    ]
    values = {
        "subscription": "chat",
        "position": 7,
        "event_id": "7",
        "type": "run.failed",
        "run_id": new_id(),
        "occurred_at": T0,
        "data": {},
        "state": "dead",
        "attempts": 15,
        "reason": "it answered HTTP 500",
    }
    insert = tables.subscription_events.insert()
    store.write(lambda uow: uow.connection.execute(insert, values), actor="daemon")
    (row,) = place.rows("subscriptions", "list")
    assert (row["dead"], row["last_error"]) == (1, "it answered HTTP 500")
    (event,) = place.rows("subscriptions", "events", "chat", "--state", "dead")
    assert (event["position"], event["type"], UUID(event["run_id"])) == (7, "run.failed", values["run_id"])
    assert "1 to be sent again" in place.ok("subscriptions", "retry", "chat", "7").err
    assert place.rows("subscriptions", "list")[0]["waiting"] == 1
    assert "0 to be sent again" in place.ok("subscriptions", "retry", "chat").err
    assert place("subscriptions", "events", "cat").code == 2
