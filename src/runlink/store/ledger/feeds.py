"""The ledger's part on feeds: the fence, cursors, the baseline, quarantine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from runlink.application.errors import FenceLost
from runlink.application.rows import Quarantined
from runlink.store import tables
from runlink.store.bulk import Bulk

# What every idle poll asks: made once, since making such a statement takes longer than running it.
_CURSORS = sa.select(tables.feed_cursors.c.partition, tables.feed_cursors.c.cursor).where(
    tables.feed_cursors.c.engine_id == sa.bindparam("engine_id"), tables.feed_cursors.c.feed == sa.bindparam("feed")
)
_BASELINE_AT = sa.select(tables.feeds.c.baseline_at).where(
    tables.feeds.c.engine_id == sa.bindparam("engine_id"), tables.feeds.c.feed == "poll"
)


class FeedLedger:
    """What feeds leave behind, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._bulk = Bulk(connection)

    def check_fence(self, fence: int) -> None:
        """Raises FenceLost when the lease was taken by another since. On PostgreSQL nobody can take it until this
        transaction ends."""
        held = self._connection.execute(sa.select(tables.leases.c.fence).with_for_update(read=True)).scalar()
        if held != fence:
            raise FenceLost(f"the lease on this store moved on (fence {held}, ours {fence}); another runlink took over")

    def cursors(self, engine_id: UUID, feed: str) -> dict[str, str]:
        """partition -> cursor."""
        rows = self._connection.execute(_CURSORS, {"engine_id": engine_id, "feed": feed})
        return {row[0]: row[1] for row in rows}

    def store_cursors(self, engine_id: UUID, feed: str, cursors: Mapping[str, str | None], now: datetime) -> None:
        """Where a feed goes on; None forgets the partition. A cursor that is stored already is not written again."""
        table = tables.feed_cursors
        key = ("engine_id", "feed", "partition")
        rows = [(engine_id, feed, name, cursor, now) for name, cursor in cursors.items() if cursor is not None]
        change = (
            "UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at "
            "WHERE feed_cursors.cursor <> excluded.cursor"
        )
        self._bulk.upsert(table, key, (*key, "cursor", "updated_at"), rows, change=change)
        forgotten = [name for name, cursor in cursors.items() if cursor is None]
        if forgotten:
            self._connection.execute(
                sa.delete(table).where(
                    table.c.engine_id == engine_id, table.c.feed == feed, table.c.partition.in_(forgotten)
                )
            )

    def quarantine(self, engine_id: UUID, feed: str, rows: Sequence[Quarantined], now: datetime) -> None:
        """Keeps items that could not be taken in; one that comes again is counted."""
        names = ("engine_id", "feed", "first_seen_at", "last_seen_at", "count", *Quarantined._fields)
        change = (
            "UPDATE SET last_seen_at = excluded.last_seen_at, reason = excluded.reason, count = quarantine.count + 1"
        )
        values = [(engine_id, feed, now, now, 1, *row) for row in rows]
        self._bulk.upsert(tables.quarantine, ("engine_id", "fingerprint"), names, values, change=change)

    def baseline_at(self, engine_id: UUID) -> datetime | None:
        """When the engine's first whole sync was done; None before."""
        at: datetime | None = self._connection.execute(_BASELINE_AT, {"engine_id": engine_id}).scalar()
        return at

    def finish_baseline(self, engine_id: UUID, now: datetime) -> None:
        """The first whole sync is done: from now on, what changes is told."""
        self._bulk.upsert(
            tables.feeds, ("engine_id", "feed"), ("engine_id", "feed", "baseline_at"), [(engine_id, "poll", now)]
        )
