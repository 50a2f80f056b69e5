"""The outbox as its readers see it: placed events, with the Runs they concern. The stream comes here."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.selection import chosen

_OUTBOX = tables.outbox


class LoggedEvent(NamedTuple):
    """An event. `runs` are ids of Runs: its own, or those its instance counts for when it is read."""

    position: int
    type: str
    occurred_at: datetime
    data: dict[str, Any]
    runs: tuple[str, ...]
    automations: tuple[str, ...]


class EventLog:
    """Reads within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def bounds(self) -> tuple[int, int]:
        """The first and last position; 0 and 0 when there is none."""
        first = sa.select(sa.func.min(_OUTBOX.c.position)).scalar_subquery()
        last = sa.select(sa.func.max(_OUTBOX.c.position)).scalar_subquery()
        row = self._connection.execute(sa.select(first, last)).one()
        return int(row[0] or 0), int(row[1] or 0)

    def after(self, position: int, limit: int) -> list[LoggedEvent]:
        """Events behind a position, in order."""
        query = (
            sa.select(_OUTBOX.c.position, _OUTBOX.c.type, _OUTBOX.c.occurred_at, _OUTBOX.c.run_id, _OUTBOX.c.data)
            .where(_OUTBOX.c.position > position)
            .order_by(_OUTBOX.c.position)
            .limit(limit)
        )
        rows = self._connection.execute(query).all()
        instances = [UUID(row.data["orchestration_instance_id"]) for row in rows if _is_of_instance(row)]
        runs_of = self._runs_of(sorted(set(instances)))
        concerned = [
            runs_of.get(UUID(row.data["orchestration_instance_id"]), [])
            if _is_of_instance(row)
            else ([row.run_id] if row.run_id is not None else [])
            for row in rows
        ]
        names = self._automations_of(sorted({run_id for runs in concerned for run_id in runs}))
        return [
            LoggedEvent(
                row.position,
                row.type,
                row.occurred_at,
                row.data,
                tuple(str(run_id) for run_id in runs),
                tuple(dict.fromkeys(names[run_id] for run_id in runs if run_id in names)),
            )
            for row, runs in zip(rows, concerned, strict=True)
        ]

    def _runs_of(self, instance_ids: list[UUID]) -> dict[UUID, list[UUID]]:
        found: dict[UUID, list[UUID]] = {}
        if instance_ids:
            link = tables.run_orchestrations
            query = sa.select(link.c.orchestration_instance_id, link.c.run_id).where(
                chosen(self._connection, link.c.orchestration_instance_id, instance_ids), link.c.is_active
            )
            for instance_id, run_id in self._connection.execute(query):
                found.setdefault(instance_id, []).append(run_id)
        return found

    def _automations_of(self, run_ids: list[UUID]) -> dict[UUID, str]:
        if not run_ids:
            return {}
        run, automation = tables.runs, tables.automations
        query = (
            sa.select(run.c.id, automation.c.name)
            .join(automation, automation.c.id == run.c.automation_id)
            .where(chosen(self._connection, run.c.id, run_ids))
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}


def _is_of_instance(row: Any) -> bool:
    return row.run_id is None and "orchestration_instance_id" in row.data
