"""Entities one at a time, with visible optimistic locking. Programs and the CLI come here; ingest uses the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, NoReturn, TypeVar
from uuid import UUID

import sqlalchemy as sa

from runlink.application.errors import AlreadyExists, Missing
from runlink.domain import (
    ConcurrencyError,
    DomainEntity,
    DomainError,
    ExecutionStatus,
    ItemExecution,
    ItemStateHistory,
    ValidationError,
)
from runlink.store import tables
from runlink.store.mapping import EntityMapping
from runlink.store.outbox import NewEvents
from runlink.store.retention import look_again
from runlink.store.violations import violation

E = TypeVar("E", bound=DomainEntity)


class EntityRepository(Generic[E]):
    """One kind of entity within a unit of work. Events of an entity go to the outbox when it is added or updated."""

    def __init__(self, connection: sa.Connection, mapping: EntityMapping[E], actor: str, events: NewEvents) -> None:
        self._connection = connection
        self._events = events
        self._mapping = mapping
        self._actor = actor

    def add(self, entity: E) -> None:
        """A new row. Raises AlreadyExists when its key is taken, also by an inactive row; Missing for a reference to
        nothing."""
        entity.created_by = entity.created_by or self._actor
        entity.updated_by = entity.updated_by or self._actor
        self._write(entity, sa.insert(self._mapping.table).values(self._values(entity)))
        self._after_write(entity)

    def get(self, entity_id: UUID) -> E | None:
        """The entity with this id, active or not; None when there is none."""
        row = self._connection.execute(self._mapping.select().where(self._mapping.table.c.id == entity_id)).first()
        return None if row is None else self._mapping.from_row(row)

    def update(self, entity: E) -> None:
        """Writes a changed entity. Raises ConcurrencyError when the row is no longer at the version it was read at;
        AlreadyExists and Missing as `add` does."""
        if entity.version == entity.stored_version:
            return
        entity.updated_by = self._actor
        table, values = self._mapping.table, self._values(entity)
        if table is tables.runs and not entity.is_active:
            look_again(self._connection)
        if table is tables.orchestration_instances:
            values["digest"] = None  # what the engine tells next is compared with this, field by field
        statement = sa.update(table).where(table.c.id == entity.id, table.c.version == entity.stored_version)
        if self._write(entity, statement.values(values)) != 1:
            raise ConcurrencyError(
                f"{type(entity).__name__} {entity.id} is no longer at version {entity.stored_version}: someone else "
                "changed it; get it again and repeat the change"
            )
        self._after_write(entity)

    def delete(self, entity: E, *, at: datetime | None = None) -> None:
        """Soft delete: the row stays, inactive, and holds its key (but for an Automation's name)."""
        entity.deactivate(at, by=self._actor)
        self.update(entity)

    def restore(self, entity: E, *, at: datetime | None = None) -> None:
        """Takes a soft delete back. Raises AlreadyExists when the key was given to another row meanwhile."""
        entity.restore(at, by=self._actor)
        self.update(entity)

    def list(
        self, *, after: UUID | None = None, limit: int = 100, include_inactive: bool = False, **equals: Any
    ) -> list[E]:
        """Entities in order of id (which is order of making), those behind `after`; `equals` filters by columns."""
        table = self._mapping.table
        query = self._mapping.select().order_by(table.c.id).limit(limit)
        if after is not None:
            query = query.where(table.c.id > after)
        if not include_inactive:
            query = query.where(table.c.is_active)
        for name, value in equals.items():
            query = query.where(table.c[name] == value)
        return [self._mapping.from_row(row) for row in self._connection.execute(query)]

    def _values(self, entity: E) -> dict[str, Any]:
        return dict(zip(self._mapping.columns, self._mapping.to_row(entity), strict=True))

    def _write(self, entity: E, statement: sa.Insert | sa.Update) -> int:
        """Rows written. What the database refuses is told in the domain's words, and leaves the transaction usable."""
        try:
            with self._connection.begin_nested():
                return self._connection.execute(statement).rowcount
        except sa.exc.IntegrityError as error:
            raise self._refusal(entity, error) from error

    def _after_write(self, entity: E) -> None:
        entity.mark_stored()
        self._events.add(entity.pull_events(), entity.updated_at, self._actor)
        if isinstance(entity, ItemExecution):
            history = HistoryRepository(self._connection, self._actor)
            for record in entity.pull_history():
                history.add(record)

    def _refusal(self, entity: E, error: sa.exc.IntegrityError) -> DomainError:
        kind = type(entity).__name__
        broken = violation(error)
        if broken == "key" and (taken := self._holder_of_key(entity)) is not None:
            named = ", ".join(f"{name} {getattr(entity, name)}" for name in self._mapping.key)
            what_next = "" if taken.is_active else ", deleted: get it and restore() it instead of adding it"
            return AlreadyExists(f"{kind} with {named} exists already, as {taken.id}{what_next}")
        if broken == "reference":
            return Missing(f"{kind} {entity.id} refers to nothing: {self._dangling(entity)}")
        return ValidationError(f"{kind} {entity.id} breaks a rule of the database: {error.orig}")

    def _holder_of_key(self, entity: E) -> E | None:
        table = self._mapping.table
        same = sa.and_(*(table.c[name] == getattr(entity, name) for name in self._mapping.key))
        if table is tables.automations:
            same = sa.and_(same, table.c.is_active)
        query = self._mapping.select().where(sa.or_(same, table.c.id == entity.id))
        row = self._connection.execute(query.order_by(table.c.id == entity.id).limit(1)).first()
        return None if row is None else self._mapping.from_row(row)

    def _dangling(self, entity: E) -> str:
        found = []
        for key in self._mapping.table.foreign_keys:
            value = getattr(entity, key.parent.name)
            if self._connection.execute(sa.select(key.column).where(key.column == value)).first() is None:
                found.append(f"{key.parent.name} {value}")
        return ", ".join(sorted(found))


class HistoryRepository:
    """The state changes of item executions: append-only."""

    columns = ("id", "item_execution_id", "previous_status", "new_status", "changed_at", "created_at", "created_by")

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor

    def add(self, record: ItemStateHistory) -> None:
        """One more line of history."""
        values = {name: getattr(record, name) for name in self.columns}
        values["created_by"] = values["created_by"] or self._actor
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(tables.item_state_history), values)
        except sa.exc.IntegrityError as error:
            if violation(error) == "key":
                raise AlreadyExists(f"item state history {record.id} exists already") from error
            raise Missing(f"no item execution has the id {record.item_execution_id}") from error

    def get(self, record_id: UUID) -> ItemStateHistory | None:
        """The record with this id; None when there is none."""
        found = self.list(limit=1, id=record_id)
        return found[0] if found else None

    def list(self, *, after: UUID | None = None, limit: int = 100, **equals: Any) -> list[ItemStateHistory]:
        """Records in order of id, those behind `after`."""
        table = tables.item_state_history
        query = sa.select(*(table.c[name] for name in self.columns)).order_by(table.c.id).limit(limit)
        if after is not None:
            query = query.where(table.c.id > after)
        for name, value in equals.items():
            query = query.where(table.c[name] == value)
        return [_history(row) for row in self._connection.execute(query)]

    def update(self, record: ItemStateHistory) -> NoReturn:
        """Refused: history is immutable."""
        raise NotImplementedError(f"item state history {record.id} cannot be updated: history is append-only")

    def delete(self, record: ItemStateHistory) -> NoReturn:
        """Refused: history is kept for ever."""
        raise NotImplementedError(f"item state history {record.id} cannot be deleted: history is append-only")


def _history(row: sa.Row[Any]) -> ItemStateHistory:
    values = row._asdict()
    for name in ("previous_status", "new_status"):
        if values[name] is not None:
            values[name] = ExecutionStatus(values[name])
    return ItemStateHistory(**values)
