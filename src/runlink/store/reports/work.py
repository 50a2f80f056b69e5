"""Listings of work: batches, items, and how they fared in a Run. A part of `Reports`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables

_BATCH = tables.batches
_ITEM = tables.items
_AUTOMATION = tables.automations
_BATCH_EXECUTION = tables.batch_executions
_ITEM_EXECUTION = tables.item_executions


class WorkReports:
    """Newest first, paged by id; items by their sequence number."""

    _connection: sa.Connection

    def automations(
        self, *, name: str | None = None, before: UUID | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Automations with their schemas."""
        names = ("id", "name", "description", "batch_schema", "item_schema", "created_at", "created_by")
        query = (
            sa.select(*(_AUTOMATION.c[column] for column in names))
            .where(_AUTOMATION.c.is_active)
            .order_by(_AUTOMATION.c.id.desc())
            .limit(limit)
        )
        return self._rows(_narrowed(query, ((_AUTOMATION.c.name, name),), _AUTOMATION.c.id, before))

    def batches(
        self,
        *,
        automation: str | None = None,
        name: str | None = None,
        batch_id: UUID | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Batches with their automation's name and how many items they have."""
        count = (
            sa.select(sa.func.count())
            .where(_ITEM.c.batch_id == _BATCH.c.id, _ITEM.c.is_active)
            .correlate(_BATCH)
            .scalar_subquery()
        )
        query = (
            sa.select(_BATCH.c.id, _AUTOMATION.c.name.label("automation"), _BATCH.c.name, _BATCH.c.payload)
            .add_columns(count.label("items"), _BATCH.c.created_at, _BATCH.c.created_by, _BATCH.c.automation_id)
            .join(_AUTOMATION, _AUTOMATION.c.id == _BATCH.c.automation_id)
            .where(_BATCH.c.is_active)
            .order_by(_BATCH.c.id.desc())
            .limit(limit)
        )
        given = (
            (_AUTOMATION.c.name, automation),
            (_BATCH.c.name, name),
            (_BATCH.c.id, batch_id),
        )
        return self._rows(_narrowed(query, given, _BATCH.c.id, before))

    def items(self, batch_id: UUID, *, after: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Items of a batch by sequence number, those behind `after`."""
        query = (
            sa.select(_ITEM.c.id, _ITEM.c.batch_id, _ITEM.c.sequence_number, _ITEM.c.payload)
            .add_columns(_ITEM.c.created_at, _ITEM.c.created_by)
            .where(_ITEM.c.batch_id == batch_id, _ITEM.c.is_active)
            .order_by(_ITEM.c.sequence_number)
            .limit(limit)
        )
        if after is not None:
            query = query.where(_ITEM.c.sequence_number > after)
        return self._rows(query)

    def next_sequence_number(self, batch_id: UUID) -> int:
        """The first number behind all items of a batch, deleted ones too: they hold theirs."""
        last = sa.select(sa.func.max(_ITEM.c.sequence_number)).where(_ITEM.c.batch_id == batch_id)
        found: int | None = self._connection.execute(last).scalar()
        return 0 if found is None else found + 1

    def item_executions(
        self,
        *,
        run_id: UUID | None = None,
        batch: str | None = None,
        status: str | None = None,
        execution_id: UUID | None = None,
        batch_execution_id: UUID | None = None,
        before: UUID | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """How items fared, with the names of automation and batch and the item's sequence number."""
        names = ("status", "attempt_count", "max_attempts", "started_at", "finished_at", "error_message",
                 "result_payload", "run_id", "batch_execution_id", "item_id")  # fmt: skip
        query = (
            sa.select(_ITEM_EXECUTION.c.id, _AUTOMATION.c.name.label("automation"), _BATCH.c.name.label("batch"))
            .add_columns(_ITEM.c.sequence_number, *(_ITEM_EXECUTION.c[name] for name in names))
            .join(_ITEM, _ITEM.c.id == _ITEM_EXECUTION.c.item_id)
            .join(_BATCH, _BATCH.c.id == _ITEM.c.batch_id)
            .join(_AUTOMATION, _AUTOMATION.c.id == _BATCH.c.automation_id)
            .where(_ITEM_EXECUTION.c.is_active)
            .order_by(_ITEM_EXECUTION.c.id.desc())
            .limit(limit)
        )
        table = _ITEM_EXECUTION.c
        given = (
            (table.run_id, run_id),
            (_BATCH.c.name, batch),
            (table.status, status),
            (table.id, execution_id),
            (table.batch_execution_id, batch_execution_id),
        )
        query = _narrowed(query, given, table.id, before)
        return self._rows(query if since is None else query.where(table.started_at >= since))

    def batch_executions(
        self,
        *,
        run_id: UUID | None = None,
        batch: str | None = None,
        status: str | None = None,
        execution_id: UUID | None = None,
        before: UUID | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """How batches fared, with the names of automation and batch and how many items were executed."""
        table = _BATCH_EXECUTION.c
        count = (
            sa.select(sa.func.count())
            .where(_ITEM_EXECUTION.c.batch_execution_id == table.id, _ITEM_EXECUTION.c.is_active)
            .correlate(_BATCH_EXECUTION)
            .scalar_subquery()
        )
        query = (
            sa.select(table.id, _AUTOMATION.c.name.label("automation"), _BATCH.c.name.label("batch"))
            .add_columns(table.status, table.started_at, table.finished_at, count.label("items"))
            .add_columns(table.run_id, table.batch_id)
            .join(_BATCH, _BATCH.c.id == table.batch_id)
            .join(_AUTOMATION, _AUTOMATION.c.id == _BATCH.c.automation_id)
            .where(table.is_active)
            .order_by(table.id.desc())
            .limit(limit)
        )
        given = ((table.run_id, run_id), (_BATCH.c.name, batch), (table.status, status), (table.id, execution_id))
        query = _narrowed(query, given, table.id, before)
        return self._rows(query if since is None else query.where(table.started_at >= since))

    def item_counts(self, run_id: UUID, *, until: datetime | None = None) -> list[dict[str, Any]]:
        """How many items of each batch of a Run are in each status: `batch`, `status`, `count`.

        With `until` by the history that was written until then; an execution without any was PENDING.
        """
        table, history = _ITEM_EXECUTION.c, tables.item_state_history.c
        status: sa.ColumnElement[Any] = table.status
        if until is not None:
            then = (
                sa.select(history.new_status)
                .where(history.item_execution_id == table.id, history.created_at <= until)
                .order_by(history.created_at.desc(), history.id.desc())
                .limit(1)
                .correlate(_ITEM_EXECUTION)
                .scalar_subquery()
            )
            status = sa.func.coalesce(then, "PENDING")
        query = (
            sa.select(_BATCH.c.name.label("batch"), status.label("status"), sa.func.count().label("count"))
            .select_from(_ITEM_EXECUTION)
            .join(_BATCH_EXECUTION, _BATCH_EXECUTION.c.id == table.batch_execution_id)
            .join(_BATCH, _BATCH.c.id == _BATCH_EXECUTION.c.batch_id)
            .where(table.run_id == run_id, table.is_active)
            .group_by(_BATCH.c.name, sa.text("2"))
            .order_by(_BATCH.c.name, sa.text("2"))
        )
        return self._rows(query if until is None else query.where(table.created_at <= until))

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(query).mappings()]


def _narrowed(
    query: sa.Select[Any], given: tuple[tuple[sa.ColumnElement[Any], Any], ...], key: Any, before: UUID | None
) -> sa.Select[Any]:
    for column, value in given:
        if value is not None:
            query = query.where(column == value)
    return query if before is None else query.where(key < before)
