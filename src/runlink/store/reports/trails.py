"""The engines that Runs passed, for listings of Runs. A part of `Reports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.selection import chosen

_INSTANCE = tables.orchestration_instances
_ENGINE = tables.engines
_LINK = tables.run_orchestrations
_BEGAN = sa.func.coalesce(_INSTANCE.c.started_at, _INSTANCE.c.queued_at, _INSTANCE.c.created_at)
_TELLING: Final = ("FAILED", "CANCELLED", "RETRYING", "PROCESSING", "PENDING", "COMPLETED")
"""Which status speaks for several, the first that there is."""


class TrailReports:
    """Trails."""

    _connection: sa.Connection

    def trails(self, run_ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
        """For each Run the engines whose instances count for it, in the order they came in, in one statement.

        Each has `engine`, `type`, `status` (of several instances the worst) and `instances`, their number.
        """
        if not run_ids:
            return {}
        query = (
            sa.select(_LINK.c.run_id, _ENGINE.c.name, _ENGINE.c.type, _INSTANCE.c.status)
            .add_columns(sa.func.count().label("count"), sa.func.min(_BEGAN).label("began_at"))
            .join(_INSTANCE, _INSTANCE.c.id == _LINK.c.orchestration_instance_id)
            .join(_ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id)
            .where(_LINK.c.is_active, chosen(self._connection, _LINK.c.run_id, run_ids))
            .group_by(_LINK.c.run_id, _ENGINE.c.name, _ENGINE.c.type, _INSTANCE.c.status)
            .order_by(sa.text("began_at"), _ENGINE.c.name)
        )
        found: dict[UUID, dict[str, dict[str, Any]]] = {}
        for row in self._connection.execute(query):
            trail = found.setdefault(row.run_id, {})
            fresh = {"engine": row.name, "type": row.type, "status": row.status, "instances": 0}
            passed = trail.setdefault(row.name, fresh)
            passed["instances"] += row.count
            passed["status"] = min(passed["status"], row.status, key=_TELLING.index)
        return {run_id: list(trail.values()) for run_id, trail in found.items()}
