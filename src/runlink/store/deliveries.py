"""What engines pushed: stored before it is answered, processed afterwards, kept with its reason when that fails.

The HTTP intake comes here with all that waits at a moment, the daemon for what is due, `runlink deliveries` to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.application.rows import DeliveryRow, DueDelivery
from runlink.store import tables
from runlink.store.bulk import Bulk
from runlink.store.selection import chosen

_TABLE = tables.deliveries
_ENGINE = tables.engines
_IN_STATE: Mapping[str, Any] = {"waiting": tables.IS_WAITING, "done": _TABLE.c.state == "done", "dead": tables.IS_DEAD}
STATES = tuple(_IN_STATE)


class Deliveries:
    """Deliveries within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._bulk = Bulk(connection)

    def add(self, rows: Sequence[DeliveryRow]) -> set[UUID]:
        """Stores those whose delivery id their engine has not used before; gives the ids of these.

        In the order of what must be unique: two that store the same at once wait for each other, never in a circle.
        """
        rows = sorted(rows, key=lambda row: (row.delivery_id or "", row.engine_id.int))
        names = (*DeliveryRow._fields, "state", "due_at")
        values = [(*row, "waiting", row.received_at) for row in rows]
        ids = {row.id for row in rows}
        if self._bulk.insert_new(_TABLE, ("engine_id", "delivery_id"), names, values) == len(ids):
            return ids
        query = sa.select(_TABLE.c.id).where(chosen(self._connection, _TABLE.c.id, [row.id for row in rows]))
        return set(self._connection.execute(query).scalars())

    def due(self, engine_id: UUID, now: datetime, limit: int = 50) -> list[DueDelivery]:
        """What waits to be processed, in order of arrival."""
        columns = [_TABLE.c[name] for name in DeliveryRow._fields]
        query = (
            sa.select(*columns, _TABLE.c.attempts)
            .where(_TABLE.c.engine_id == engine_id, tables.IS_WAITING, _TABLE.c.due_at <= now)
            .order_by(_TABLE.c.due_at, _TABLE.c.id)
            .limit(limit)
        )
        return [
            DueDelivery(DeliveryRow(*row[:-1])._replace(headers=[(n, v) for n, v in row.headers]), row.attempts)
            for row in self._connection.execute(query)
        ]

    def next_due_at(self, engine_id: UUID) -> datetime | None:
        """When the next waiting one is due; None when nothing waits."""
        first = sa.func.min(_TABLE.c.due_at, type_=_TABLE.c.due_at.type)
        query = sa.select(first).where(_TABLE.c.engine_id == engine_id, tables.IS_WAITING)
        found: datetime | None = self._connection.execute(query).scalar()
        return found

    def done(self, ids: Sequence[UUID], now: datetime) -> None:
        """These were taken in."""
        values = [("done", now, None, None, one) for one in ids]
        self._bulk.update(_TABLE, ("id",), ("state", "processed_at", "due_at", "reason"), values)

    def failed(self, delivery_id: UUID, reason: str, now: datetime, due_at: datetime | None) -> None:
        """This one was not taken in: it is tried again at `due_at`, never when that is None."""
        self._connection.execute(
            sa.update(_TABLE)
            .where(_TABLE.c.id == delivery_id)
            .values(
                state="dead" if due_at is None else "waiting",
                attempts=_TABLE.c.attempts + 1,
                due_at=due_at,
                processed_at=now,
                reason=reason[:2000],
            )
        )

    def replay(self, ids: Sequence[UUID], now: datetime) -> int:
        """Has these processed once more, whatever became of them; returns how many there are."""
        query = sa.update(_TABLE).where(chosen(self._connection, _TABLE.c.id, ids))
        return self._connection.execute(query.values(state="waiting", attempts=0, due_at=now)).rowcount

    def content(self, delivery_id: UUID) -> tuple[list[tuple[str, str]], bytes] | None:
        """The headers that were kept, and the body."""
        query = sa.select(_TABLE.c.headers, _TABLE.c.body).where(_TABLE.c.id == delivery_id)
        row = self._connection.execute(query).first()
        return None if row is None else ([(name, value) for name, value in row.headers], bytes(row.body))

    def counts(self) -> list[dict[str, Any]]:
        """How many deliveries of each engine wait and are dead; `due_at`: when the first that waits is, or was, due."""
        found: list[dict[str, Any]] = []
        for state in ("waiting", "dead"):
            due = sa.func.min(_TABLE.c.due_at, type_=_TABLE.c.due_at.type).label("due_at")
            query = (
                sa.select(_ENGINE.c.name.label("engine"), sa.func.count().label("count"), due)
                .join(_ENGINE, _ENGINE.c.id == _TABLE.c.engine_id)
                .where(_IN_STATE[state])
                .group_by(_ENGINE.c.name)
            )
            found += [{**row, "state": state} for row in self._connection.execute(query).mappings()]
        return found

    def prune(self, done_before: datetime, dead_before: datetime, limit: int = 5000) -> int:
        """Removes, longest ago first, what was taken in or given up before a time each."""
        count = 0
        for state, before in (("done", done_before), ("dead", dead_before)):
            old = sa.select(_TABLE.c.id).where(_IN_STATE[state], _TABLE.c.processed_at < before)
            old = old.order_by(_TABLE.c.processed_at).limit(limit)
            count += self._connection.execute(sa.delete(_TABLE).where(_TABLE.c.id.in_(old))).rowcount
        return count

    def list(
        self,
        *,
        engine: str | None = None,
        state: str | None = None,
        before: UUID | None = None,
        limit: int = 50,
        delivery: UUID | str | None = None,
    ) -> list[dict[str, Any]]:
        """Deliveries without their bodies, newest first; `delivery` is our id or the sender's (`external_id`)."""
        names = ("id", "received_at", "path", "signed", "state", "attempts", "due_at", "processed_at")
        size = sa.func.length(_TABLE.c.body).label("bytes")
        query = (
            sa.select(_ENGINE.c.name.label("engine"), *(_TABLE.c[name] for name in names), _TABLE.c.reason, size)
            .add_columns(_TABLE.c.delivery_id.label("external_id"))
            .join(_ENGINE, _ENGINE.c.id == _TABLE.c.engine_id)
            .order_by(_TABLE.c.id.desc())
            .limit(limit)
        )
        if engine is not None:
            query = query.where(_ENGINE.c.name == engine)
        if state is not None:
            query = query.where(_IN_STATE[state])
        if before is not None:
            query = query.where(_TABLE.c.id < before)
        if delivery is not None:
            query = query.where((_TABLE.c.id if isinstance(delivery, UUID) else _TABLE.c.delivery_id) == delivery)
        return [dict(row) for row in self._connection.execute(query).mappings()]
