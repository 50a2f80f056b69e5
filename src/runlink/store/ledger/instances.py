"""The ledger's part on instances: their state, attempts, steps and history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.application.rows import AttemptRow, Known, ObservationRow, StepRow, Tracked
from runlink.domain import ExecutionStatus
from runlink.spi import Step
from runlink.store import mapping, tables
from runlink.store.bulk import Bulk
from runlink.store.selection import chosen, locked
from runlink.store.tables import OPEN_STATUSES

_INSTANCE = tables.orchestration_instances
_BOOKKEEPING = ("digest", "attempt_offset", "missing_since", "steps_state")


# What every idle poll asks: made once, since making such a statement takes longer than running it.
_OPEN = (
    sa.select(_INSTANCE.c.external_id)
    .where(
        _INSTANCE.c.engine_id == sa.bindparam("engine_id"),
        tables.IS_OPEN,  # word for word as the index has it: SQLite finds a partial index by that, not by parameters
        _INSTANCE.c.is_active,
    )
    .order_by(_INSTANCE.c.id)
)
_STEPS_WANTED = (
    sa.select(_INSTANCE.c.external_id)
    .where(
        _INSTANCE.c.engine_id == sa.bindparam("engine_id"),
        _INSTANCE.c.is_active,
        _INSTANCE.c.status.not_in(OPEN_STATUSES),
        sa.or_(_INSTANCE.c.steps_state.is_(None), _INSTANCE.c.steps_state == "read"),
        sa.exists().where(
            tables.run_orchestrations.c.orchestration_instance_id == _INSTANCE.c.id,
            tables.run_orchestrations.c.is_active,
        ),
    )
    .order_by(_INSTANCE.c.id.desc())
    .limit(sa.bindparam("most"))
)


def _bookkeeping(row: Tracked) -> tuple[Any, ...]:
    return (row.digest, row.attempt_offset, row.missing_since, row.steps_state)


def _began_since(since: datetime, engine_id: UUID | None) -> sa.ColumnElement[bool]:
    began = sa.func.coalesce(_INSTANCE.c.queued_at, _INSTANCE.c.started_at, _INSTANCE.c.created_at)
    whose = sa.true() if engine_id is None else _INSTANCE.c.engine_id == engine_id
    return sa.and_(_INSTANCE.c.is_active, began >= since, whose)


class InstanceLedger:
    """Instances in bulk, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._bulk = Bulk(connection)

    def known(self, engine_id: UUID, external_ids: Sequence[str]) -> dict[str, Known]:
        """The little that is needed to tell *same*, of those that are stored, by external id."""
        names = ("external_id", *Known._fields)
        query = sa.select(*(_INSTANCE.c[name] for name in names)).where(
            _INSTANCE.c.engine_id == engine_id, chosen(self._connection, _INSTANCE.c.external_id, external_ids)
        )
        return {row[0]: Known(*row[1:]) for row in self._connection.execute(query)}

    def tracked(self, ids: Sequence[UUID]) -> dict[UUID, Tracked]:
        """Whole instances by id, locked until the end of the transaction: what is linked to a Run meanwhile must not
        change behind its back."""
        if not ids:
            return {}
        return {t.instance.id: t for t in self._tracked(chosen(self._connection, _INSTANCE.c.id, ids))}

    def children(self, engine_id: UUID, external_ids: Sequence[str]) -> list[Tracked]:
        """Instances of an engine that name one of these as their parent."""
        return self._tracked(
            sa.and_(
                _INSTANCE.c.engine_id == engine_id,
                chosen(self._connection, _INSTANCE.c.parent_external_id, external_ids),
            )
        )

    def instances_after(
        self, after: UUID | None, *, since: datetime, engine_id: UUID | None, limit: int
    ) -> list[Tracked]:
        """The next active instances in order of id that began since then (as told, else as seen), locked."""
        query = _began_since(since, engine_id)
        return self._tracked(query if after is None else sa.and_(query, _INSTANCE.c.id > after), limit)

    def count_instances(self, *, since: datetime, engine_id: UUID | None) -> int:
        """How many there are of these."""
        query = sa.select(sa.func.count()).select_from(_INSTANCE).where(_began_since(since, engine_id))
        return int(self._connection.execute(query).scalar_one())

    def _tracked(self, where: sa.ColumnElement[bool], limit: int | None = None) -> list[Tracked]:
        query = mapping.INSTANCE.select().add_columns(*(_INSTANCE.c[name] for name in _BOOKKEEPING)).where(where)
        entity = len(mapping.INSTANCE.columns)
        query = query.order_by(_INSTANCE.c.id).limit(limit)
        rows = self._connection.execute(locked(self._connection, query))
        return [Tracked(mapping.INSTANCE.from_row(row[:entity]), *row[entity:]) for row in rows]

    def open_instances(self, engine_id: UUID) -> list[str]:
        """External ids of the engine's instances that have not ended, oldest first."""
        return list(self._connection.execute(_OPEN, {"engine_id": engine_id}).scalars())

    def steps_wanted(self, engine_id: UUID, limit: int) -> list[str]:
        """External ids of linked instances that ended and whose steps were not read since."""
        return list(self._connection.execute(_STEPS_WANTED, {"engine_id": engine_id, "most": limit}).scalars())

    def insert_instances(self, rows: Sequence[Tracked], actor: str) -> None:
        """New instances."""
        to_row = mapping.INSTANCE.to_row
        values = []
        for row in rows:
            row.instance.created_by = row.instance.updated_by = actor
            values.append(to_row(row.instance) + _bookkeeping(row))
        self._bulk.insert(_INSTANCE, mapping.INSTANCE.columns + _BOOKKEEPING, values)

    def update_instances(self, rows: Sequence[Tracked], actor: str) -> None:
        """Changed instances; raises ConcurrencyError when one was changed by another meanwhile."""
        names = mapping.INSTANCE.columns[1:] + _BOOKKEEPING
        values = []
        for row in rows:
            instance = row.instance
            instance.updated_by = actor
            values.append(
                (*mapping.INSTANCE.to_row(instance)[1:], *_bookkeeping(row), instance.id, instance.stored_version)
            )
        self._bulk.update_versioned(_INSTANCE, names, values)

    def store_digests(self, rows: Sequence[tuple[UUID, bytes]]) -> None:
        """Digests alone, of instances whose state did not change."""
        self._bulk.update(_INSTANCE, ("id",), ("digest",), [(digest, instance_id) for instance_id, digest in rows])

    # --- attempts, steps, history ------------------------------------------------------------------------------

    def insert_attempts(self, rows: Sequence[AttemptRow]) -> None:
        """Attempts of new instances."""
        self._bulk.insert(tables.instance_attempts, AttemptRow._fields, rows)

    def upsert_attempts(self, rows: Sequence[AttemptRow]) -> None:
        """Attempts that may be known."""
        self._bulk.upsert(tables.instance_attempts, ("instance_id", "number"), AttemptRow._fields, rows)

    def attempts_of(self, instance_ids: Sequence[UUID]) -> list[AttemptRow]:
        """Attempts of instances, by instance and number."""
        table = tables.instance_attempts.c
        query = sa.select(*(table[name] for name in AttemptRow._fields)).where(
            chosen(self._connection, table.instance_id, instance_ids)
        )
        rows = self._connection.execute(query.order_by(table.instance_id, table.number))
        return [AttemptRow(row[0], row[1], ExecutionStatus(row[2]), *row[3:]) for row in rows]

    def step_digests(self, instance_ids: Sequence[UUID]) -> dict[tuple[UUID, str, int], bytes]:
        """Digest of each stored step, by (instance, external id, attempt)."""
        if not instance_ids:
            return {}
        step = tables.instance_steps
        query = sa.select(step.c.instance_id, step.c.external_id, step.c.attempt, step.c.digest).where(
            chosen(self._connection, step.c.instance_id, instance_ids)
        )
        return {(row[0], row[1], row[2]): row[3] for row in self._connection.execute(query)}

    def steps(self, instance_ids: Sequence[UUID]) -> dict[UUID, dict[tuple[str, int], Step]]:
        """The stored steps of each instance, by external id and attempt."""
        found: dict[UUID, dict[tuple[str, int], Step]] = {}
        if not instance_ids:
            return found
        step = tables.instance_steps
        query = sa.select(step.c.instance_id, *(step.c[name] for name in Step.__struct_fields__)).where(
            chosen(self._connection, step.c.instance_id, instance_ids)
        )
        for row in self._connection.execute(query).mappings():
            fields = {name: row[name] for name in Step.__struct_fields__}
            known = Step(**{**fields, "status": ExecutionStatus(row["status"])})
            found.setdefault(row["instance_id"], {})[known.external_id, known.attempt] = known
        return found

    def insert_steps(self, rows: Sequence[StepRow]) -> None:
        """Steps of new instances."""
        self._bulk.insert(tables.instance_steps, StepRow._fields, rows)

    def upsert_steps(self, rows: Sequence[StepRow]) -> None:
        """Steps that are new or changed."""
        key = ("instance_id", "external_id", "attempt")
        self._bulk.upsert(tables.instance_steps, key, StepRow._fields, rows)

    def insert_observations(self, rows: Sequence[ObservationRow]) -> None:
        """More lines of history."""
        self._bulk.insert(tables.observations, ObservationRow._fields, rows)
