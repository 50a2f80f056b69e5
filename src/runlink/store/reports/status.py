"""How the record and its daemon are doing, for `runlink status`. A part of `Reports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.selection import chosen

_INSTANCE = tables.orchestration_instances
_ENGINE = tables.engines
_LINK = tables.run_orchestrations
_IS_OPEN = sa.and_(_INSTANCE.c.status.in_(tables.OPEN_STATUSES), _INSTANCE.c.vanished_at.is_(None))


class Figures(NamedTuple):
    """What there is of everything."""

    instances: dict[str, int]
    runs: dict[str, int]
    events: int
    open_links: int
    vanished: int


class StatusReports:
    """Figures, counted when they are asked for."""

    _connection: sa.Connection

    def engine_counts(self) -> list[dict[str, Any]]:
        """How many instances of each engine there are, are open, have vanished, are linked and are not."""
        has_link = sa.exists().where(_LINK.c.orchestration_instance_id == _INSTANCE.c.id, _LINK.c.is_active)
        still_there = _INSTANCE.c.vanished_at.is_(None)
        parts = {
            "open": sa.and_(_INSTANCE.c.status.in_(("PENDING", "PROCESSING", "RETRYING")), still_there),
            "vanished": ~still_there,
            "linked": has_link,
            "unlinked": ~has_link,
        }
        counted = [sa.func.count().filter(condition).label(name) for name, condition in parts.items()]
        query = (
            sa.select(_ENGINE.c.name.label("engine"), sa.func.count().label("instances"), *counted)
            .select_from(_INSTANCE.join(_ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id))
            .where(_INSTANCE.c.is_active)
            .group_by(_ENGINE.c.name)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def feeds(self, engines: Sequence[str]) -> list[dict[str, Any]]:
        """The feeds of these engines as the daemon wrote them down last: `engine`, `feed`, `state`, `since`, …"""
        feed = tables.feeds
        query = (
            sa.select(_ENGINE.c.name.label("engine"), feed.c.feed, feed.c.state, feed.c.since, feed.c.last_success_at)
            .add_columns(feed.c.last_error, feed.c.skew_s)
            .join(_ENGINE, _ENGINE.c.id == feed.c.engine_id)
            .where(_ENGINE.c.name.in_(engines))
            .order_by(_ENGINE.c.name, feed.c.feed)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def open_counts(self, engine_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many instances of these engines have not ended; from their index, however many have."""
        query = (
            sa.select(_INSTANCE.c.engine_id, sa.func.count())
            .where(chosen(self._connection, _INSTANCE.c.engine_id, engine_ids), _IS_OPEN)
            .group_by(_INSTANCE.c.engine_id)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def lease(self) -> dict[str, Any] | None:
        """Who had the right to run the feeds last: `holder`, `taken_at`. Whether it is still there, the lock knows."""
        table = tables.leases
        row = self._connection.execute(sa.select(table.c.holder, table.c.taken_at)).mappings().first()
        return None if row is None else dict(row)

    def figures(self) -> Figures:
        """Figures of the whole record, from indexes."""
        run, link, outbox = tables.runs, tables.run_orchestrations, tables.outbox
        open_link = (
            sa.select(sa.func.count())
            .select_from(_INSTANCE.join(link, link.c.orchestration_instance_id == _INSTANCE.c.id))
            .where(_IS_OPEN, link.c.is_active)
        )
        vanished = sa.select(sa.func.count()).where(_INSTANCE.c.vanished_at.is_not(None))
        last = sa.select(sa.func.coalesce(sa.func.max(outbox.c.position), 0))
        return Figures(
            self._by_status(_INSTANCE),
            self._by_status(run),
            *(int(self._connection.execute(query).scalar_one()) for query in (last, open_link, vanished)),
        )

    def _by_status(self, table: sa.Table) -> dict[str, int]:
        query = sa.select(table.c.status, sa.func.count()).group_by(table.c.status)
        return {row[0]: row[1] for row in self._connection.execute(query)}
