"""What retention removes, and what it never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from runlink.application.ports import DeliveryRow, ObservationRow, Quarantined
from runlink.application.settings import Retention
from runlink.domain import (
    Automation,
    Engine,
    ExecutionStatus,
    InstanceLinked,
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


def test_quarantine_goes_by_its_own_time(store, instances, t0):
    assert pruned(store, t0 + timedelta(days=29)) == Pruned(0, 0, 0)
    assert pruned(store, t0 + timedelta(days=31)) == Pruned(0, 0, 1)


def test_a_transaction_stays_short(store, instances, t0):
    late = t0 + timedelta(days=400)
    assert [pruned(store, late, limit=1).observations for _ in range(3)] == [1, 1, 0]


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
