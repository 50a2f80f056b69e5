"""How each engine's feeds are doing, as the daemon wrote it down and `runlink status` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.bulk import Bulk


class FeedHealthRow(NamedTuple):
    """One feed's health. `state` is one of daemon.health.STATES; counts are since the daemon's start.

    `last_error` stays when the feed is well again, and when the daemon begins anew without one.
    pid, process_started_at   of the process that an isolated adapter runs in; restarts: how often it was lost
    """

    engine_id: UUID
    feed: str
    state: str
    since: datetime | None
    last_success_at: datetime | None
    last_news_at: datetime | None
    relists: int
    failures: int
    last_error: str | None
    last_duration_s: float | None
    requests: int
    skew_s: float | None
    told: int = 0
    missed: int = 0
    last_error_at: datetime | None = None
    pid: int | None = None
    process_started_at: datetime | None = None
    restarts: int = 0


_KEY = ("engine_id", "feed")
_KEPT = ("last_error", "last_error_at")
_CHANGE = "UPDATE SET " + ", ".join(
    f"{name} = COALESCE(excluded.{name}, feeds.{name})" if name in _KEPT else f"{name} = excluded.{name}"
    for name in FeedHealthRow._fields
    if name not in _KEY
)


class FeedHealth:
    """Reads and writes feed health within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def store(self, rows: Sequence[FeedHealthRow]) -> None:
        """The present health of these feeds."""
        Bulk(self._connection).upsert(tables.feeds, _KEY, FeedHealthRow._fields, rows, change=_CHANGE)

    def began_at(self) -> datetime | None:
        """When the process took over that runs the feeds, or ran them last."""
        return self._connection.execute(sa.select(sa.func.max(tables.leases.c.taken_at))).scalar()

    def list(self) -> list[dict[str, Any]]:
        """Every feed of every active engine, by engine name."""
        feed, engine = tables.feeds, tables.engines
        query = (
            sa.select(
                engine.c.name.label("engine"),
                engine.c.type,
                engine.c.url,
                engine.c.product,
                engine.c.product_version,
                *(column for column in feed.c if column.name != "engine_id"),
            )
            .select_from(engine.outerjoin(feed, feed.c.engine_id == engine.c.id))
            .where(engine.c.is_active)
            .order_by(engine.c.name, feed.c.feed)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]
