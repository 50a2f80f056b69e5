"""The ledger's part on items: the batches and items steps belong to, their executions, and how steps fit rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from runlink.application.items.rows import Carrier, Fit, Fitting, ItemRow, ItemStep, StoredTrack, Tallied
from runlink.application.rows import StepRow
from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    DomainEntity,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
)
from runlink.store import mapping, tables
from runlink.store.bulk import Bulk
from runlink.store.selection import chosen

E = TypeVar("E", bound=DomainEntity)

_STEP = tables.instance_steps
_CLAIM = tables.item_steps
_INSTANCE = tables.orchestration_instances
_LINK = tables.run_orchestrations
_ITEM = tables.items
_KEY = tables.item_keys
_EXECUTION = tables.item_executions
_STATUS = {status.value: status for status in ExecutionStatus}
_STATUS_PLACE = StepRow._fields.index("status")
_IS_OPEN = sa.and_(_INSTANCE.c.status.in_(tables.OPEN_STATUSES), _INSTANCE.c.vanished_at.is_(None))
_BEGUN = sa.func.coalesce(_INSTANCE.c.queued_at, _INSTANCE.c.started_at, type_=_INSTANCE.c.started_at.type)
_STEP_COLUMNS = [
    # as they lie there: expressions decode them when they are asked, on PostgreSQL, too
    sa.cast(_STEP.c[name], sa.Text).label(name) if name in ("inputs", "outputs") else _STEP.c[name]
    for name in StepRow._fields
]
_HISTORY = ("id", "item_execution_id", "previous_status", "new_status", "changed_at", "created_at", "created_by")


class ItemLedger:
    """Items in bulk, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._bulk = Bulk(connection)

    # --- what is followed --------------------------------------------------------------------------------------

    def carriers(self, instance_ids: Sequence[UUID]) -> list[Carrier]:
        """For which Runs of which Automations these instances count."""
        return self._carriers(_LINK.c.orchestration_instance_id, instance_ids)

    def carriers_of(self, run_ids: Sequence[UUID]) -> list[Carrier]:
        """The instances that count for these Runs."""
        return self._carriers(_LINK.c.run_id, run_ids)

    def _carriers(self, column: sa.ColumnElement[Any], ids: Sequence[UUID]) -> list[Carrier]:
        if not ids:
            return []
        engine, run, automation = tables.engines, tables.runs, tables.automations
        query = (
            sa.select(_INSTANCE.c.id, _LINK.c.run_id, engine.c.id, engine.c.name, _INSTANCE.c.workflow)
            .add_columns(automation.c.id, automation.c.name, run.c.correlation_id, _IS_OPEN)
            .select_from(_LINK)
            .join(_INSTANCE, _INSTANCE.c.id == _LINK.c.orchestration_instance_id)
            .join(engine, engine.c.id == _INSTANCE.c.engine_id)
            .join(run, run.c.id == _LINK.c.run_id)
            .join(automation, automation.c.id == run.c.automation_id)
            .where(chosen(self._connection, column, ids), _LINK.c.is_active, _INSTANCE.c.is_active)
        )
        rows = self._connection.execute(query)
        return [Carrier._make((*row[:4], row[4] or "", *row[5:8], bool(row[8]))) for row in rows]

    def steps_of(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[StepRow]:
        """Steps of instances, by instance, step and attempt; those with one of the external ids when they are given."""
        if not instance_ids or (external_ids is not None and not external_ids):
            return []
        query = sa.select(*_STEP_COLUMNS).where(chosen(self._connection, _STEP.c.instance_id, instance_ids))
        if external_ids is not None:
            query = query.where(chosen(self._connection, _STEP.c.external_id, external_ids))
        query = query.order_by(_STEP.c.instance_id, _STEP.c.external_id, _STEP.c.attempt)
        return [_step_row(row) for row in self._connection.execute(query)]

    def parent_steps(self, instance_ids: Sequence[UUID]) -> dict[UUID, set[str]]:
        """The external ids that steps of these instances name as their parents."""
        found: dict[UUID, set[str]] = {}
        if instance_ids:
            query = sa.select(_STEP.c.instance_id, _STEP.c.parent).where(
                chosen(self._connection, _STEP.c.instance_id, instance_ids), _STEP.c.parent.is_not(None)
            )
            for instance_id, parent in self._connection.execute(query.distinct()):
                found.setdefault(instance_id, set()).add(parent)
        return found

    # --- what they are items of --------------------------------------------------------------------------------

    def automations(self, ids: Sequence[UUID]) -> dict[UUID, Automation]:
        """Automations by id."""
        table = tables.automations
        rows = self._connection.execute(mapping.AUTOMATION.select().where(chosen(self._connection, table.c.id, ids)))
        return {found.id: found for found in map(mapping.AUTOMATION.from_row, rows)}

    def batches_named(self, automation_ids: Sequence[UUID], names: Sequence[str]) -> list[Batch]:
        """Batches of these automations with these names, deleted ones too: they hold theirs."""
        table = tables.batches
        query = mapping.BATCH.select().where(
            chosen(self._connection, table.c.automation_id, automation_ids),
            chosen(self._connection, table.c.name, names),
        )
        return [mapping.BATCH.from_row(row) for row in self._connection.execute(query)]

    def items_numbered(self, batch_ids: Sequence[UUID], numbers: Sequence[int]) -> list[ItemRow]:
        """Items of these batches with these numbers, deleted ones too."""
        if not batch_ids or not numbers:
            return []
        query = (
            sa.select(*(_ITEM.c[name] for name in ItemRow._fields[:-1]), _KEY.c.key)
            .outerjoin(_KEY, _KEY.c.item_id == _ITEM.c.id)
            .where(chosen(self._connection, _ITEM.c.batch_id, batch_ids), self._numbered(numbers))
        )
        return [ItemRow._make(row) for row in self._connection.execute(query)]

    def _numbered(self, numbers: Sequence[int]) -> sa.ColumnElement[bool]:
        column = _ITEM.c.sequence_number
        if self._connection.dialect.name == "postgresql":
            array = sa.bindparam(None, list(numbers), type_=postgresql.ARRAY(sa.Integer()), unique=True)
            return column == sa.func.any(array)
        text = sa.bindparam(None, msgspec.json.encode(list(numbers)).decode(), type_=sa.Text(), unique=True)
        return column.in_(sa.select(sa.func.json_each(text).table_valued(sa.column("value", sa.Integer())).c.value))

    def items_keyed(self, batch_ids: Sequence[UUID], keys: Sequence[str]) -> list[ItemRow]:
        """Items of these batches that are known by these keys, deleted ones too."""
        if not batch_ids or not keys:
            return []
        query = (
            sa.select(*(_ITEM.c[name] for name in ItemRow._fields[:-1]), _KEY.c.key)
            .join(_KEY, _KEY.c.item_id == _ITEM.c.id)
            .where(
                chosen(self._connection, _KEY.c.batch_id, batch_ids),
                chosen(self._connection, _KEY.c.key, keys),
            )
        )
        return [ItemRow._make(row) for row in self._connection.execute(query)]

    def last_numbers(self, batch_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The highest sequence number of each of these batches that has an item."""
        query = (
            sa.select(_ITEM.c.batch_id, sa.func.max(_ITEM.c.sequence_number))
            .where(chosen(self._connection, _ITEM.c.batch_id, batch_ids))
            .group_by(_ITEM.c.batch_id)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)} if batch_ids else {}

    def insert_batches(self, batches: Sequence[Batch], actor: str) -> None:
        """New batches."""
        self._insert(mapping.BATCH, batches, actor)

    def insert_items(self, items: Sequence[Item], keys: Sequence[tuple[UUID, str, UUID]], actor: str) -> None:
        """New items, and (batch, key, item) of those, and of known ones, that are known by a key."""
        self._insert(mapping.ITEM, items, actor)
        self._bulk.insert(_KEY, ("batch_id", "key", "item_id"), keys)

    # --- which step is which item ------------------------------------------------------------------------------

    def item_steps(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[ItemStep]:
        """What is known of steps of these instances, for all Runs."""
        if not instance_ids or (external_ids is not None and not external_ids):
            return []
        query = sa.select(*(_CLAIM.c[name] for name in ItemStep._fields)).where(
            chosen(self._connection, _CLAIM.c.instance_id, instance_ids)
        )
        if external_ids is not None:
            query = query.where(chosen(self._connection, _CLAIM.c.external_id, external_ids))
        return [ItemStep(*row) for row in self._connection.execute(query)]

    def upsert_item_steps(self, rows: Sequence[ItemStep]) -> None:
        """What is known of steps now."""
        self._bulk.upsert(_CLAIM, ("instance_id", "external_id", "run_id"), ItemStep._fields, rows)

    def insert_item_steps(self, rows: Sequence[ItemStep]) -> None:
        """The same of steps of which nothing was known."""
        self._bulk.insert(_CLAIM, ItemStep._fields, rows)

    def delete_item_steps(self, rows: Sequence[ItemStep]) -> None:
        """Steps that count no more."""
        self._bulk.delete(
            _CLAIM, ("instance_id", "external_id", "run_id"), [(r.instance_id, r.external_id, r.run_id) for r in rows]
        )

    def tracks(self, run_ids: Sequence[UUID], item_ids: Sequence[UUID]) -> list[StoredTrack]:
        """All attempts of the steps that are these items for these Runs, of instances that count for them; by instance,
        step and attempt."""
        if not run_ids or not item_ids:
            return []
        claimed = [_CLAIM.c[name] for name in ItemStep._fields]
        query = (
            sa.select(*claimed, _BEGUN, _INSTANCE.c.external_id, _IS_OPEN, *_STEP_COLUMNS)
            .join(_INSTANCE, _INSTANCE.c.id == _CLAIM.c.instance_id)
            .join(
                _STEP, sa.and_(_STEP.c.instance_id == _CLAIM.c.instance_id, _STEP.c.external_id == _CLAIM.c.external_id)
            )
            .join(
                _LINK,
                sa.and_(_LINK.c.orchestration_instance_id == _CLAIM.c.instance_id, _LINK.c.run_id == _CLAIM.c.run_id),
            )
            .where(
                chosen(self._connection, _CLAIM.c.item_id, item_ids),
                chosen(self._connection, _CLAIM.c.run_id, run_ids),
                _LINK.c.is_active,
                _INSTANCE.c.is_active,
            )
            .order_by(_STEP.c.instance_id, _STEP.c.external_id, _STEP.c.attempt)
        )
        cut = len(claimed)
        return [
            StoredTrack(ItemStep(*row[:cut]), row[cut], row[cut + 1], bool(row[cut + 2]), _step_row(row[cut + 3 :]))
            for row in self._connection.execute(query)
        ]

    # --- executions --------------------------------------------------------------------------------------------

    def batch_executions(self, run_ids: Sequence[UUID]) -> list[BatchExecution]:
        """Those of these Runs."""
        kind = mapping.BATCH_EXECUTION
        query = kind.select().where(chosen(self._connection, kind.table.c.run_id, run_ids)).order_by(kind.table.c.id)
        return [kind.from_row(row) for row in self._connection.execute(query)]

    def insert_batch_executions(self, executions: Sequence[BatchExecution], actor: str) -> None:
        """New ones."""
        self._insert(mapping.BATCH_EXECUTION, executions, actor)

    def update_batch_executions(self, executions: Sequence[BatchExecution], actor: str) -> None:
        """Changed ones; raises ConcurrencyError when one was changed by another meanwhile."""
        self._update(mapping.BATCH_EXECUTION, executions, actor)

    def item_executions(self, run_ids: Sequence[UUID], item_ids: Sequence[UUID]) -> list[ItemExecution]:
        """The active executions of these items in these Runs, oldest first."""
        if not run_ids or not item_ids:
            return []
        query = mapping.ITEM_EXECUTION.select().where(
            chosen(self._connection, _EXECUTION.c.run_id, run_ids),
            chosen(self._connection, _EXECUTION.c.item_id, item_ids),
            _EXECUTION.c.is_active,
        )
        rows = self._connection.execute(query.order_by(_EXECUTION.c.id))
        return [mapping.ITEM_EXECUTION.from_row(row) for row in rows]

    def insert_item_executions(self, executions: Sequence[ItemExecution], actor: str) -> None:
        """New ones."""
        self._insert(mapping.ITEM_EXECUTION, executions, actor)

    def update_item_executions(self, executions: Sequence[ItemExecution], actor: str) -> None:
        """Changed ones; raises ConcurrencyError when one was changed by another meanwhile."""
        self._update(mapping.ITEM_EXECUTION, executions, actor)

    def insert_history(self, records: Sequence[ItemStateHistory], actor: str, now: datetime) -> None:
        """More lines of history, written down now."""
        rows = [(r.id, r.item_execution_id, r.previous_status, r.new_status, r.changed_at, now, actor) for r in records]
        self._bulk.insert(tables.item_state_history, _HISTORY, rows)

    def tallies(self, run_ids: Sequence[UUID]) -> list[Tallied]:
        """The active item executions of these Runs, counted."""
        if not run_ids:
            return []
        table = _EXECUTION.c
        query = (
            sa.select(table.batch_execution_id, table.status, sa.func.count())
            .add_columns(sa.func.min(table.started_at), sa.func.max(table.finished_at))
            .where(chosen(self._connection, table.run_id, run_ids), table.is_active)
            .group_by(table.batch_execution_id, table.status)
        )
        return [Tallied(row[0], _STATUS[row[1]], *row[2:]) for row in self._connection.execute(query)]

    # --- how steps fit their rules -----------------------------------------------------------------------------

    def fittings(self, instance_ids: Sequence[UUID]) -> list[Fitting]:
        """What is known of the steps of these instances, counted by rule."""
        if not instance_ids:
            return []
        table = _CLAIM.c
        query = (
            sa.select(table.instance_id, table.rule, sa.func.count(), sa.func.count(table.problem))
            .add_columns(sa.func.count(table.differs), sa.func.min(table.problem), sa.func.min(table.differs))
            .where(chosen(self._connection, table.instance_id, instance_ids))
            .group_by(table.instance_id, table.rule)
        )
        return [Fitting(*row) for row in self._connection.execute(query)]

    def fits(self, engine_ids: Sequence[UUID], workflows: Sequence[str]) -> list[Fit]:
        """How these workflows fit their rules, as far as is known; locked until the end of the transaction."""
        table = tables.item_fits
        query = (
            sa.select(*(table.c[name] for name in Fit._fields))
            .where(
                chosen(self._connection, table.c.engine_id, engine_ids),
                chosen(self._connection, table.c.workflow, workflows),
            )
            .order_by(table.c.engine_id, table.c.workflow, table.c.rule)
        )
        return [Fit(*row) for row in self._connection.execute(query.with_for_update())]

    def upsert_fits(self, fits: Sequence[Fit]) -> None:
        """How workflows fit their rules now."""
        self._bulk.upsert(tables.item_fits, ("engine_id", "workflow", "rule"), Fit._fields, fits)

    # --- entities ----------------------------------------------------------------------------------------------

    def _insert(self, kind: mapping.EntityMapping[E], entities: Sequence[E], actor: str) -> None:
        for entity in entities:
            entity.created_by = entity.updated_by = actor
        self._bulk.insert(kind.table, kind.columns, [kind.to_row(entity) for entity in entities])
        _mark(entities)

    def _update(self, kind: mapping.EntityMapping[E], entities: Sequence[E], actor: str) -> None:
        for entity in entities:
            entity.updated_by = actor
        values = [(*kind.to_row(entity)[1:], entity.id, entity.stored_version) for entity in entities]
        self._bulk.update_versioned(kind.table, kind.columns[1:], values)
        _mark(entities)


def _mark(entities: Iterable[DomainEntity]) -> None:
    for entity in entities:
        entity.mark_stored()


def _step_row(row: Sequence[Any]) -> StepRow:
    return StepRow._make((*row[:_STATUS_PLACE], _STATUS[row[_STATUS_PLACE]], *row[_STATUS_PLACE + 1 :]))
