"""How the record and its daemon are doing, for `runlink status`. A part of `Reports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from runlink.store import tables

_INSTANCE = tables.orchestration_instances
_ENGINE = tables.engines
_LINK = tables.run_orchestrations


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

    def lease(self) -> dict[str, Any] | None:
        """Who had the right to run the feeds last: `holder`, `taken_at`. Whether it is still there, the lock knows."""
        table = tables.leases
        row = self._connection.execute(sa.select(table.c.holder, table.c.taken_at)).mappings().first()
        return None if row is None else dict(row)
