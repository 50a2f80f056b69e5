"""The listings and the lock's state that the command reads, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    OrchestrationInstance,
    Run,
    RunOrchestration,
    new_id,
)
from runlink.store.daemon_lock import is_held

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def test_whether_the_lock_is_held(store):
    assert is_held(store) is False
    with store.daemon_lock("test pid 1"):
        assert is_held(store) is True
    assert is_held(store) is False
    with store.reading() as uow:
        assert uow.reports.lease()["holder"] == "test pid 1"


def test_listings(store):
    engine = Engine(name="ci", type="acme")
    automation = Automation(name="orders")
    batch = Batch(automation_id=automation.id, name="may")
    item = Item(batch_id=batch.id, sequence_number=4, payload={"sku": "a"})
    run = Run(automation_id=automation.id)
    whole = BatchExecution(run_id=run.id, batch_id=batch.id)
    part = ItemExecution(run_id=run.id, batch_execution_id=whole.id, item_id=item.id)
    one, two = (
        OrchestrationInstance.first_seen(engine.id, name, status, at=NOW)
        for name, status in (("1", ExecutionStatus.PENDING), ("2", ExecutionStatus.FAILED))
    )
    with store.unit_of_work("test") as uow:
        uow.engines.add(engine)
        uow.automations.add(automation)
        uow.batches.add(batch)
        uow.items.add(item)
        uow.runs.add(run)
        uow.batch_executions.add(whole)
        uow.item_executions.add(part)
        uow.orchestration_instances.add(one)
        uow.orchestration_instances.add(two)
        uow.run_orchestrations.add(RunOrchestration.attach(run_id=run.id, orchestration_instance_id=two.id, at=NOW))
    with store.reading() as uow:
        reports = uow.reports
        assert reports.engine_counts() == [
            {"engine": "ci", "instances": 2, "open": 1, "vanished": 0, "linked": 1, "unlinked": 1}
        ]
        assert [row["id"] for row in reports.instances(external_id="2")] == [two.id]
        assert [row["id"] for row in reports.instances(instance_id=one.id)] == [one.id]
        assert reports.runs(since=datetime(2999, 1, 1, tzinfo=UTC)) == []
        assert [row["name"] for row in reports.automations(name="orders")] == ["orders"]
        assert [row["items"] for row in reports.batches(automation="orders", batch_id=batch.id)] == [1]
        assert [row["payload"] for row in reports.items(batch.id)] == [{"sku": "a"}]
        assert reports.items(batch.id, after=4) == []
        assert (reports.next_sequence_number(batch.id), reports.next_sequence_number(new_id())) == (5, 0)
        for found in (
            reports.item_executions(run_id=run.id, batch="may", status="PENDING", batch_execution_id=whole.id),
            reports.item_executions(execution_id=part.id),
        ):
            assert [(row["id"], row["sequence_number"]) for row in found] == [(part.id, 4)]
        assert [row["items"] for row in reports.batch_executions(run_id=run.id, status="PENDING")] == [1]
        assert reports.batch_executions(before=whole.id) == reports.item_executions(before=part.id) == []
        assert reports.item_executions(since=NOW) == reports.batch_executions(since=NOW) == []
