"""Rows to entities and back, written out column by column. Whoever adds a field to an entity adds it here.

`Mapping.columns` is the order of the values that `to_row` gives; both bulk and single writes use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    DomainEntity,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    OrchestrationInstance,
    Run,
    RunOrchestration,
)
from runlink.store import tables

E = TypeVar("E", bound=DomainEntity)

_INHERITED = ("created_at", "updated_at", "created_by", "updated_by", "version", "is_active")


@dataclass(frozen=True)
class EntityMapping(Generic[E]):
    """How one entity lies in its table. Columns of the host's bookkeeping are not part of it."""

    entity: type[E]
    table: sa.Table
    columns: tuple[str, ...]
    to_row: Callable[[E], tuple[Any, ...]]
    key: tuple[str, ...]
    """The columns of the unique key an operator knows the row by."""

    def select(self) -> sa.Select[Any]:
        """All columns of the entity, in order."""
        return sa.select(*(self.table.c[name] for name in self.columns))

    def from_row(self, row: Sequence[Any]) -> E:
        """The entity of a row, marked as stored at its version."""
        values = dict(zip(self.columns, row, strict=True))
        if "status" in values:
            values["status"] = ExecutionStatus(values["status"])
        entity = self.entity(**values)
        entity.mark_stored()
        return entity


def _mapping(entity: type[E], table: sa.Table, *own: str, key: tuple[str, ...]) -> EntityMapping[E]:
    columns = ("id", *own, *_INHERITED)
    return EntityMapping(entity, table, columns, attrgetter(*columns), key)


AUTOMATION = _mapping(
    Automation, tables.automations, "name", "description", "batch_schema", "item_schema", key=("name",)
)
BATCH = _mapping(Batch, tables.batches, "automation_id", "name", "payload", key=("automation_id", "name"))
ITEM = _mapping(Item, tables.items, "batch_id", "sequence_number", "payload", key=("batch_id", "sequence_number"))
RUN = _mapping(
    Run,
    tables.runs,
    "automation_id",
    "correlation_id",
    "cancellation_reason",
    "error_summary",
    "status",
    "started_at",
    "finished_at",
    "attempt",
    "silent_since",
    key=("id",),
)
BATCH_EXECUTION = _mapping(
    BatchExecution,
    tables.batch_executions,
    "run_id",
    "batch_id",
    "status",
    "started_at",
    "finished_at",
    "attempt",
    key=("run_id", "batch_id"),
)
ITEM_EXECUTION = _mapping(
    ItemExecution,
    tables.item_executions,
    "run_id",
    "batch_execution_id",
    "item_id",
    "result_payload",
    "error_message",
    "status",
    "started_at",
    "finished_at",
    "attempt_count",
    "max_attempts",
    key=("id",),
)
ENGINE = _mapping(Engine, tables.engines, "name", "type", "url", "product", "product_version", key=("name",))
INSTANCE = _mapping(
    OrchestrationInstance,
    tables.orchestration_instances,
    "engine_id",
    "external_id",
    "duration_seconds",
    "instance_metadata",
    "status",
    "started_at",
    "finished_at",
    "workflow",
    "native_status",
    "url",
    "message",
    "attempt",
    "revision",
    "parent_external_id",
    "parameters",
    "labels",
    "queued_at",
    "observed_at",
    "vanished_at",
    key=("engine_id", "external_id"),
)
LINK = _mapping(
    RunOrchestration,
    tables.run_orchestrations,
    "run_id",
    "orchestration_instance_id",
    "attached_at",
    "rule",
    "key",
    "pinned",
    key=("run_id", "orchestration_instance_id"),
)
