"""What retention removes, and what it never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from runlink.application.rows import DeliveryRow, ObservationRow, Quarantined
from runlink.application.settings import Retention
from runlink.domain import (
    Automation,
    Engine,
    ExecutionStatus,
    InstanceLinked,
    InstanceUnlinked,
    OrchestrationInstance,
    Run,
    RunOrchestration,
    new_id,
)
from runlink.store import tables
from runlink.store.retention import Pruned, prune

LINK = {"occurred_at": datetime(2024, 1, 1, tzinfo=UTC), "run_orchestration_id": new_id(), "rule": "r",
        "orchestration_instance_id": new_id()}  # fmt: skip
RETENTION = Retention(observations_days=90, outbox_days=14, quarantine_days=30)


@pytest.fixture
def instances(store, t0):
    """Two instances of three observations each, one day apart: `linked` counts for a Run, `free` for none."""
    automation = Automation(name="a")
    run = Run(automation_id=automation.id)
    engine = Engine(name="e", type="t")
    named = {name: OrchestrationInstance(engine_id=engine.id, external_id=name) for name in ("linked", "free")}
    link = RunOrchestration(run_id=run.id, orchestration_instance_id=named["linked"].id)
    with store.unit_of_work() as uow:
        uow.automations.add(automation)
        uow.runs.add(run)
        uow.engines.add(engine)
        for instance in named.values():
            uow.orchestration_instances.add(instance)
        uow.run_orchestrations.add(link)
        for day in range(3):
            at = t0 + timedelta(days=day)
            rows = [
                ObservationRow(i.id, at, at, "poll", 1, ExecutionStatus.PENDING, "q", None, "{}")
                for i in named.values()
            ]
            uow.ledger.insert_observations(rows)
        uow.ledger.quarantine(engine.id, "poll", [Quarantined("f", None, "broken", "{}")], t0)
    return {"run": run, "link": link, **named}


def left(store):
    table, instance = tables.observations, tables.orchestration_instances
    query = sa.select(instance.c.external_id).join(table, table.c.instance_id == instance.c.id).order_by(table.c.id)
    with store.reading() as uow:
        return list(uow.connection.execute(query).scalars())


def pruned(store, now, **limit):
    return store.write(lambda uow: prune(uow, RETENTION, now, **limit), actor="system")


def test_nothing_is_removed_before_its_time(store, instances, t0):
    assert pruned(store, t0 + timedelta(days=30)) == Pruned(0, 0, 0)


def test_old_observations_go_but_for_the_first_whole_one(store, instances, t0):
    assert pruned(store, t0 + timedelta(days=91, hours=1)).observations == 1
    assert left(store) == ["linked", "free", "linked", "linked", "free"]
    assert pruned(store, t0 + timedelta(days=400)).observations == 1
    assert left(store) == ["linked", "free", "linked", "linked"]


def test_what_counts_for_a_kept_run_stays_for_ever(store, instances, t0):
    pruned(store, t0 + timedelta(days=4000))
    assert left(store).count("linked") == 3
    with store.unit_of_work() as uow:
        uow.runs.delete(instances["run"])
    pruned(store, t0 + timedelta(days=4000))
    assert left(store).count("linked") == 1


def test_an_instance_that_was_unlinked_stays_too_for_what_was_known_then(store, instances, t0):
    with store.unit_of_work() as uow:
        uow.run_orchestrations.delete(instances["link"])
    pruned(store, t0 + timedelta(days=4000))
    assert left(store).count("linked") == 3


def event_types(store):
    table = tables.outbox
    with store.reading() as uow:
        return list(uow.connection.execute(sa.select(table.c.type).order_by(table.c.sequence)).scalars())


def test_the_events_of_a_kept_run_stay_and_all_others_go_by_their_time(store, instances, t0):
    run, free = instances["run"], instances["free"]
    free.start(t0)
    run.start(t0)
    run.fail(at=t0)
    with store.unit_of_work() as uow:
        uow.connection.execute(sa.delete(tables.outbox))
        uow.runs.update(run)
        uow.ledger.insert_events([*free.pull_events(), InstanceLinked(**LINK, run_id=run.id)], t0, "test")
    with store.unit_of_work() as uow:
        uow.connection.execute(sa.update(tables.outbox).values(recorded_at=t0))
        free.complete(t0 + timedelta(days=1))
        uow.ledger.insert_events(free.pull_events(), t0 + timedelta(days=1), "test")
    assert pruned(store, t0 + timedelta(days=15)) == Pruned(0, 1, 0)
    assert event_types(store) == ["run.started", "run.failed", "instance.linked", "instance.status_changed"]
    with store.unit_of_work() as uow:
        uow.runs.delete(uow.runs.get(run.id))
    pruned(store, t0 + timedelta(days=15))
    assert event_types(store) == ["instance.status_changed"], "the last one is where the numbering goes on"


@pytest.fixture
def events(store, t0):
    """Five events that concern no Run, numbered from 1."""
    with store.unit_of_work() as uow:
        uow.connection.execute(sa.delete(tables.outbox))
    for _ in range(5):
        with store.unit_of_work() as uow:
            told = InstanceUnlinked(**LINK, run_id=new_id())
            uow.ledger.insert_events([told], t0, "test")


def positions(store):
    with store.reading() as uow:
        return list(uow.connection.execute(sa.select(tables.outbox.c.position).order_by("position")).scalars())


@pytest.mark.usefixtures("events")
def test_events_go_once_every_subscriber_has_taken_them(store, t0):
    for name, position in (("quick", 5), ("slow", 2)):
        store.write(lambda uow, name=name: uow.outbox.enrol(name), actor="relay")
        store.write(lambda uow, name=name, position=position: uow.outbox.delivered(name, position), actor="relay")
    assert pruned(store, t0 + timedelta(days=13)).events == 0
    later = t0 + timedelta(days=15)
    assert pruned(store, later).events == 2
    assert positions(store) == [3, 4, 5]
    store.write(lambda uow: uow.outbox.delivered("slow", 5), actor="relay")
    assert pruned(store, later).events == 2
    assert positions(store) == [5], "the numbering goes on from the last"
    with store.unit_of_work() as uow:
        uow.ledger.insert_events([InstanceUnlinked(**LINK, run_id=new_id())], t0, "test")
    assert positions(store) == [5, 6]


@pytest.mark.usefixtures("events")
def test_it_is_done_a_part_at_a_time(store, t0):
    parts = [pruned(store, t0 + timedelta(days=15), limit=3) for _ in range(2)]
    assert [(one.events, one.is_done) for one in parts] == [(3, False), (1, True)]


def test_what_was_kept_is_not_looked_at_again_until_a_run_is_put_away(store, instances, t0):
    late = t0 + timedelta(days=4000)

    def passed_over():
        """How many observations and events were looked at, and are still there."""
        asked = []

        def before(_connection, _cursor, statement, parameters, _context, _many):
            if statement.startswith(("SELECT observations.id", "SELECT outbox.position")):
                asked.append((statement, parameters))

        sa.event.listen(store.writing, "before_cursor_execute", before)
        pruned(store, late)
        sa.event.remove(store.writing, "before_cursor_execute", before)
        with store.reading() as uow:
            return sum(len(uow.connection.exec_driver_sql(*one).fetchall()) for one in asked)

    assert passed_over() == len(left(store)) == 4
    assert passed_over() == 0
    at = t0 + timedelta(days=3)
    row = ObservationRow(instances["free"].id, at, at, "poll", 1, ExecutionStatus.PENDING, "q", None, "{}")
    with store.unit_of_work() as uow:
        uow.ledger.insert_observations([row])
    pruned(store, late)
    assert left(store) == ["linked", "free", "linked", "linked"], "what came since is looked at"
    with store.unit_of_work() as uow:
        uow.runs.delete(instances["run"])
    pruned(store, late)
    assert left(store) == ["linked", "free"], "and once more, what was kept for that Run"


def test_quarantine_goes_by_its_own_time(store, instances, t0):
    assert pruned(store, t0 + timedelta(days=29)) == Pruned(0, 0, 0)
    assert pruned(store, t0 + timedelta(days=31)) == Pruned(0, 0, 1)


def test_a_transaction_stays_short(store, instances, t0):
    late = t0 + timedelta(days=400)
    parts = [pruned(store, late, limit=1) for _ in range(7)]
    assert [part.observations for part in parts] == [0, 0, 0, 1, 0, 1, 0]
    assert [part.is_done for part in parts] == [False] * 6 + [True]


def test_deliveries_are_kept_until_their_time_and_what_waits_for_ever(store, t0):
    """Dead ones longer than those that were taken in; the time counts from when they were last tried."""
    engine = Engine(name="ci", type="t")
    rows = [DeliveryRow(new_id(), engine.id, None, t0, "/hooks/ci", [], b"x" * 100, True) for _ in range(3_000)]
    done, dead = [row.id for row in rows[:2_900]], [row.id for row in rows[2_900:2_950]]

    def work(uow):
        uow.engines.add(engine)
        uow.deliveries.add(rows)
        uow.deliveries.done(done[:2_000], t0)
        uow.deliveries.done(done[2_000:], t0 + timedelta(days=10))
        for one in dead:
            uow.deliveries.failed(one, "no", t0, None)

    store.write(work, actor="test")
    retention = Retention(deliveries_days=14, dead_deliveries_days=30)

    def left_after(days, limit=5000):
        pruned = store.write(lambda uow: prune(uow, retention, t0 + timedelta(days=days), limit=limit), actor="daemon")
        with store.reading() as uow:
            return pruned.deliveries, len(uow.deliveries.list(limit=5_000))

    assert left_after(13.9) == (0, 3_000)
    assert left_after(14.1, limit=500) == (500, 2_500)
    assert left_after(14.1) == (1_500, 1_000)
    assert left_after(25) == (900, 100)
    assert left_after(31) == (50, 50)
    with store.reading() as uow:
        assert {row["state"] for row in uow.deliveries.list()} == {"waiting"}
        plan = str(uow.connection.exec_driver_sql(EXPLAIN[store.url.get_backend_name()]).fetchall())
    assert "ix_deliveries_processed" in plan


OLD = "SELECT id FROM deliveries WHERE state = 'done' AND processed_at < '2020-01-01' ORDER BY processed_at LIMIT 9"
EXPLAIN = {"sqlite": f"EXPLAIN QUERY PLAN {OLD}", "postgresql": f"EXPLAIN {OLD}"}
