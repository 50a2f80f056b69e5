"""The outbox: positions in commit order, delivery at least once and in order, failure, pruning."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from runlink.domain import Automation, InstanceLinked, Run, RunStarted, new_id
from runlink.store import open_store
from runlink.store.event_log import Announcer

LINKED = {
    "occurred_at": datetime(2024, 3, 1, tzinfo=UTC),
    "run_orchestration_id": new_id(),
    "orchestration_instance_id": new_id(),
    "rule": None,
}


@pytest.fixture
def started(t0):
    """started(run_id): an event of a Run, told apart by its correlation id."""

    def make(text, run_id=None):
        run_id = run_id or new_id()
        return RunStarted(occurred_at=t0, run_id=run_id, automation_id=run_id, correlation_id=text, attempt=1)

    return make


@pytest.fixture
def tell(store, started, t0):
    """tell("a", "b"): events, each committed on its own."""

    def tell(*texts, at=t0):
        for text in texts:
            with store.unit_of_work() as uow:
                uow.ledger.insert_events([started(text)], at, "test")

    return tell


def _fails(position, now, uow):
    uow.outbox.failed("hook", position, "boom", now)


def enrol(store, name):
    store.write(lambda uow: uow.outbox.enrol(name), actor="relay")


def is_enrolled(store, name):
    with store.reading() as uow:
        return uow.outbox.is_enrolled(name)


def position(store, name, at):
    with store.reading() as uow:
        return uow.outbox.position(name, at)


def told(store, position=0, limit=500):
    with store.reading() as uow:
        return [(event["position"], event["data"]["correlation_id"]) for event in uow.outbox.after(position, limit)]


def test_an_event_has_its_position_from_the_transaction_that_tells_of_it(store, started, t0):
    with store.unit_of_work() as uow:
        uow.ledger.insert_events([started("a"), started("b")], t0, "test")
        uow.ledger.insert_events([started("c")], t0, "test")
    assert told(store) == [(1, "a"), (2, "b"), (3, "c")]


def test_what_is_taken_back_takes_no_position(store, tell, started, t0):
    class Change(Exception):
        pass

    def work(uow):
        uow.ledger.insert_events([started("never")], t0, "test")
        raise Change

    tell("a")
    with pytest.raises(Change):
        store.write(work, actor="test")
    with pytest.raises(Change), store.unit_of_work() as uow:
        work(uow)
    tell("b")
    assert told(store) == [(1, "a"), (2, "b")]


def test_positions_follow_the_commits_also_when_an_earlier_transaction_commits_later(new_url, started, t0):
    store = open_store(new_url("postgresql"))
    with store.unit_of_work() as slow:
        slow.ledger.insert_events([started("slow")], t0, "test")
        with store.unit_of_work() as quick:
            quick.ledger.insert_events([started("quick")], t0, "test")
        assert told(store) == [(1, "quick")]
    assert told(store, 1) == [(2, "slow")]
    store.close()


def test_a_reader_never_meets_a_position_before_the_one_below_it(store, started, t0):
    """Many commit at a time; whoever reads meanwhile sees positions without a gap."""

    def commit(number):
        with store.unit_of_work() as uow:
            uow.ledger.insert_events([started(f"{number}-{n}") for n in range(3)], t0, "test")

    with ThreadPoolExecutor(8) as pool:
        commits = [pool.submit(commit, number) for number in range(60)]
        seen = 0
        while seen < 180:
            ended = all(one.done() for one in commits)
            positions = [position for position, _ in told(store)]
            assert positions == list(range(1, len(positions) + 1))
            seen = len(positions)
            assert seen == 180 or not ended, [one.exception() for one in commits]


def test_whoever_listens_is_told_what_was_committed_and_where(store, tell, started, t0):
    heard = []
    forget = store.listen(heard.append)
    store.write(lambda uow: uow.ledger.insert_events([started("a"), started("b")], t0, "test"), actor="test")
    store.write(lambda _uow: None, actor="test")
    forget()
    tell("c")
    [committed] = heard
    assert [(one.position, one.event.correlation_id) for one in committed.events] == [(1, "a"), (2, "b")]
    assert committed.about is None, "nobody asked"


def test_the_events_of_a_run_stand_in_the_order_they_happened(store):
    automation = Automation(name="a")
    run = Run(automation_id=automation.id)
    with store.unit_of_work() as uow:
        uow.automations.add(automation)
        uow.runs.add(run)
    for step in (run.start, run.fail, lambda: run.reopen(2), run.complete):
        step()
        store.write(lambda uow: uow.runs.update(run), actor="a")
    with store.reading() as uow:
        types = [event["type"] for event in uow.outbox.after(0) if event["run_id"] == str(run.id)]
    assert types == ["run.started", "run.failed", "run.reopened", "run.completed"]


def test_a_new_subscriber_begins_at_the_end(store, tell, t0):
    tell("a")
    assert not is_enrolled(store, "new")
    enrol(store, "new")
    assert is_enrolled(store, "new")
    assert position(store, "new", t0) == 1
    assert position(store, "unknown", t0) is None


def test_a_subscriber_that_fails_is_asked_again_from_the_same_position_later_and_later(store, tell, t0):
    def due(at):
        return position(store, "hook", at)

    enrol(store, "hook")
    assert due(t0) == 0
    tell("a", "b", "c")
    now = t0
    for wait in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        store.write(partial(_fails, 1, now), actor="relay")
        assert due(now + timedelta(seconds=wait - 0.001)) is None
        now += timedelta(seconds=wait)
        assert due(now) == 1
    assert told(store, 1) == [(2, "b"), (3, "c")]
    store.write(lambda uow: uow.outbox.delivered("hook", 3), actor="relay")
    store.write(partial(_fails, 3, now), actor="relay")
    assert due(now + timedelta(seconds=1)) == 3


def test_a_relay_that_dies_after_handing_on_hands_on_again(store, tell, t0):
    """At least once: the position is stored after the delivery."""
    enrol(store, "hook")
    tell("a", "b")
    first = told(store, position(store, "hook", t0))
    second = told(store, position(store, "hook", t0))
    assert first == second == [(1, "a"), (2, "b")]


def test_what_was_just_committed_is_told_as_it_will_be_read(store, stored):
    """The stream's clients get the one or the other."""
    heard = []
    store.listen(heard.append, heard=lambda: True)
    with store.unit_of_work() as uow:
        for kind in ("runs", "orchestration_instances", "item_executions", "run_orchestrations"):
            entity = getattr(uow, kind).get(getattr(stored, kind).id)
            if kind == "run_orchestrations":
                uow.ledger.insert_events([InstanceLinked(**LINKED, run_id=entity.run_id)], entity.created_at, "test")
                continue
            entity.start()
            if kind == "item_executions":
                entity.fail("broken")
            getattr(uow, kind).update(entity)
    [committed] = heard
    told = Announcer(store.reading).events(*committed)
    with store.reading() as uow:
        read = uow.event_log.after(0, 100)
    told = [one._replace(data=json.loads(bytes(one.data))) for one in told]
    assert told == read[-len(told) :]
    assert [one.type for one in told] == [
        "run.started", "instance.status_changed", "item_execution.failed", "instance.linked",
    ]  # fmt: skip
    assert {one.runs for one in told} == {(str(stored.runs.id),)}
    assert {one.automations for one in told} == {(stored.automations.name,)}
