"""One of each entity, stored, to hang others on."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
    OrchestrationInstance,
    Run,
    RunOrchestration,
)

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def t0():
    return T0


def _family():
    """One of each, each fit to be stored after those before it."""
    automation = Automation(name="Data Import", created_at=T0)
    batch = Batch(automation_id=automation.id, name="Q1", created_at=T0)
    item = Item(batch_id=batch.id, sequence_number=0, created_at=T0)
    run = Run(automation_id=automation.id, created_at=T0)
    batch_execution = BatchExecution(run_id=run.id, batch_id=batch.id, created_at=T0)
    item_execution = ItemExecution(
        run_id=run.id, batch_execution_id=batch_execution.id, item_id=item.id, max_attempts=2, created_at=T0
    )
    history = ItemStateHistory(item_execution_id=item_execution.id, new_status=ExecutionStatus.PENDING)
    engine = Engine(name="jenkins-prod", type="Jenkins", created_at=T0)
    instance = OrchestrationInstance(engine_id=engine.id, external_id="build-123", created_at=T0)
    link = RunOrchestration(run_id=run.id, orchestration_instance_id=instance.id, created_at=T0)
    return SimpleNamespace(
        automations=automation,
        batches=batch,
        items=item,
        runs=run,
        batch_executions=batch_execution,
        item_executions=item_execution,
        item_state_history=history,
        engines=engine,
        orchestration_instances=instance,
        run_orchestrations=link,
    )


@pytest.fixture
def family():
    """By repository; not stored."""
    return _family()


@pytest.fixture
def stored(store, family):
    """By repository; stored."""
    with store.unit_of_work("cli:setup") as uow:
        for name, entity in vars(family).items():
            getattr(uow, name).add(entity)
    return family


@pytest.fixture
def fetch(store):
    """fetch("runs", id): as it is stored now."""

    def fetch(repository, entity_id):
        with store.reading() as uow:
            return getattr(uow, repository).get(entity_id)

    return fetch
