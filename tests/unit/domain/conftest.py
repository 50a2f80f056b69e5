"""Entities to start from, and fixed times; every test of the domain comes here."""

from datetime import UTC, datetime, timedelta

import pytest

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    Engine,
    Item,
    ItemExecution,
    OrchestrationInstance,
    Run,
    new_id,
)


@pytest.fixture
def t0():
    return datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def minutes(t0):
    """minutes(5): five minutes after t0."""
    return lambda count: t0 + timedelta(minutes=count)


@pytest.fixture
def automation(t0):
    return Automation(name="Data Import", created_at=t0)


@pytest.fixture
def run(automation, t0):
    return Run(automation_id=automation.id, created_at=t0)


@pytest.fixture
def make_item_execution(run, t0):
    def make(**fields):
        given = {"run_id": run.id, "batch_execution_id": new_id(), "item_id": new_id(), "created_at": t0}
        return ItemExecution(**(given | fields))

    return make


@pytest.fixture
def make_batch_execution(run, t0):
    return lambda **fields: BatchExecution(**({"run_id": run.id, "batch_id": new_id(), "created_at": t0} | fields))


@pytest.fixture
def make_instance(t0):
    return lambda **fields: OrchestrationInstance(
        **({"engine_id": new_id(), "external_id": "build-123", "created_at": t0} | fields)
    )


@pytest.fixture
def entities(automation, run, make_item_execution, make_batch_execution, make_instance, t0):
    """One of each entity with identity and version, except links."""
    batch = Batch(automation_id=automation.id, name="Q1", created_at=t0)
    item = Item(batch_id=batch.id, sequence_number=0, created_at=t0)
    engine = Engine(name="jenkins-prod", type="Jenkins", created_at=t0)
    return [automation, batch, item, run, make_batch_execution(), make_item_execution(), engine, make_instance()]
