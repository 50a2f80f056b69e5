"""Domain events in the transaction that caused them, and the place of each subscriber among them.

Positions follow commit order, so that whoever has read up to a position never misses one below it (a sequence is taken
before the commit and gives no such promise): a transaction takes the next ones as the last thing it does, and nobody
else can take any until it is committed. On SQLite that is so of everything that is written; on PostgreSQL a lock sees
to it, which nobody holds while waiting for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from runlink.domain import DomainEvent
from runlink.store import tables
from runlink.store.bulk import Bulk

_COLUMNS = ("type", "run_id", "occurred_at", "recorded_at", "data", "actor", "position")
_LAST = "SELECT max(position) FROM outbox"
_LOCK = "SELECT pg_advisory_xact_lock(7261702, 3)"
_encode = msgspec.json.Encoder().encode


class Placed(NamedTuple):
    """An event that was written, at its position; `data` is its JSON."""

    position: int
    event: DomainEvent
    data: str


class NewEvents:
    """The events of one transaction, in order, kept until its end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[DomainEvent, datetime, str]] = []

    def add(self, events: Iterable[DomainEvent], recorded_at: datetime, actor: str) -> None:
        """Events to the outbox; `actor` is who wrote what they tell of."""
        self._waiting += [(event, recorded_at, actor) for event in events]

    @property
    def waiting(self) -> list[DomainEvent]:
        """What is to be written."""
        return [event for event, _, _ in self._waiting]

    def write(self) -> Sequence[Placed]:
        """Writes them down at the next positions. The commit must follow at once: nobody else tells of anything before
        it."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return ()
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql(_LOCK)
        last = self._connection.exec_driver_sql(_LAST).scalar() or 0
        placed = [
            Placed(position, event, _encode(event).decode())
            for position, (event, _, _) in enumerate(waiting, start=last + 1)
        ]
        rows = [
            (event.type, getattr(event, "run_id", None), event.occurred_at, recorded_at, data, actor, position)
            for (event, recorded_at, actor), (position, _, data) in zip(waiting, placed, strict=True)
        ]
        Bulk(self._connection).insert(tables.outbox, _COLUMNS, rows)
        return placed


class Outbox:
    """The subscribers' side of the outbox, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def after(self, position: int, limit: int = 500) -> list[dict[str, Any]]:
        """Events behind a position, in order, as `runlink_event` gets them."""
        table = tables.outbox
        query = (
            sa.select(
                table.c.sequence,
                table.c.type,
                table.c.occurred_at,
                table.c.position,
                table.c.run_id,
                table.c.data,
                table.c.actor,
            )
            .where(table.c.position > position)
            .order_by(table.c.position)
            .limit(limit)
        )
        return [
            {
                "id": str(row.sequence),
                "type": row.type,
                "occurred_at": row.occurred_at.isoformat(),
                "position": row.position,
                "run_id": None if row.run_id is None else str(row.run_id),
                "actor": row.actor,
                "data": row.data,
            }
            for row in self._connection.execute(query)
        ]

    def is_enrolled(self, name: str) -> bool:
        """Whether a subscriber has a place."""
        table = tables.subscribers
        return self._connection.execute(sa.select(table.c.name).where(table.c.name == name)).first() is not None

    def enrol(self, name: str) -> None:
        """A new subscriber, at the end: it gets what is committed from now on."""
        position = self._connection.exec_driver_sql(_LAST).scalar() or 0
        self._connection.execute(sa.insert(tables.subscribers), {"name": name, "position": position, "failures": 0})

    def subscribers(self) -> list[dict[str, Any]]:
        """Every subscriber: `name`, `position`, `failures` in a row, `retry_at`, `last_error`."""
        query = sa.select(tables.subscribers).order_by(tables.subscribers.c.name)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def position(self, name: str, now: datetime) -> int | None:
        """The position a subscriber has reached; None while it waits after a failure, or has no place."""
        table = tables.subscribers
        row = self._connection.execute(
            sa.select(table.c.position, table.c.retry_at).where(table.c.name == name)
        ).first()
        if row is None or (row.retry_at is not None and row.retry_at > now):
            return None
        return int(row.position)

    def delivered(self, name: str, position: int) -> None:
        """A subscriber has taken everything up to a position."""
        table = tables.subscribers
        self._connection.execute(
            sa.update(table)
            .where(table.c.name == name)
            .values(position=position, failures=0, retry_at=None, last_error=None)
        )

    def failed(self, name: str, position: int, error: str, now: datetime) -> None:
        """A subscriber failed on the event behind `position`: it is tried again, 1 s later at first, 5 min at most."""
        table = tables.subscribers
        failures = self._connection.execute(sa.select(table.c.failures).where(table.c.name == name)).scalar_one() + 1
        wait = timedelta(seconds=min(300.0, 2.0 ** (failures - 1)))
        self._connection.execute(
            sa.update(table)
            .where(table.c.name == name)
            .values(position=position, failures=failures, retry_at=now + wait, last_error=error[:1000])
        )
