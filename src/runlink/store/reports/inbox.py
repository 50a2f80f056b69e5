"""Listings for the inbox: what an unlinked instance or Run may belong to. A part of `Reports`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.selection import chosen

_INSTANCE = tables.orchestration_instances
_ENGINE = tables.engines
_AUTOMATION = tables.automations
_LINK = tables.run_orchestrations
_RUN = tables.runs
_BEGAN = sa.func.coalesce(_INSTANCE.c.queued_at, _INSTANCE.c.started_at, _INSTANCE.c.created_at)
_NAMES = ("id", "external_id", "workflow", "status", "queued_at", "started_at", "url", "parameters", "labels",
          "instance_metadata", "parent_external_id")  # fmt: skip
_LISTS = {
    _RUN.name: tables.unlinked_runs.c.run_id,
    _INSTANCE.name: tables.unlinked_instances.c.instance_id,
}


def unlinked(
    connection: sa.Connection, query: sa.Select[Any], table: sa.Table
) -> tuple[sa.Select[Any], sa.ColumnElement[UUID]]:
    """Runs or instances that are in the list of those without a link, and the column that orders them: by it the
    database walks the list, and not the table."""
    key = _LISTS[table.name]
    theirs: sa.ColumnElement[Any] = key
    if connection.dialect.name == "sqlite":  # which would look each row of the table up in the list
        theirs = sa.literal_column(f"+{key.table.name}.{key.name}")
    return query.join(key.table, theirs == table.c.id), key


class InboxReports:
    """Candidates, newest first."""

    _connection: sa.Connection

    def candidate_runs(
        self,
        *,
        keys: Sequence[str],
        begin: datetime | None,
        end: datetime | None,
        automation: str | None = None,
        limit: int = 500,
    ) -> list[dict[str, Any]]:
        """Runs that have one of these correlation ids, then those made between these times, where they are given."""
        made = _RUN.c.created_at.desc(), _RUN.c.id.desc()
        query = (
            sa.select(_RUN.c.id, _AUTOMATION.c.name.label("automation"), _RUN.c.correlation_id, _RUN.c.status)
            .add_columns(_RUN.c.created_at)
            .join(_AUTOMATION, _AUTOMATION.c.id == _RUN.c.automation_id)
            .where(_RUN.c.is_active)
            .order_by(*made)
            .limit(limit)
        )
        if automation is not None:
            query = query.where(_AUTOMATION.c.name == automation)
        near = query
        if begin is not None and end is not None:
            near = query.where(_RUN.c.created_at.between(begin, end))
        named = query.where(chosen(self._connection, _RUN.c.correlation_id, keys))
        found: dict[UUID, dict[str, Any]] = {}
        for one in (named, near):
            found.update((row["id"], dict(row)) for row in self._connection.execute(one).mappings())
        return list(found.values())

    def candidate_instances(
        self, *, begin: datetime | None, end: datetime | None, engine: str | None = None, limit: int = 500
    ) -> list[dict[str, Any]]:
        """Instances without a Run that began between these times."""
        has_link = sa.exists().where(_LINK.c.orchestration_instance_id == _INSTANCE.c.id, _LINK.c.is_active)
        query = (
            sa.select(
                _ENGINE.c.name.label("engine"),
                _ENGINE.c.type.label("engine_type"),
                *(_INSTANCE.c[name] for name in _NAMES),
            )
            .join(_ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id)
            .where(_INSTANCE.c.is_active, ~has_link)
            .limit(limit)
        )
        query, place = unlinked(self._connection, query, _INSTANCE)
        query = query.order_by(place.desc())
        if begin is not None and end is not None:
            query = query.where(_BEGAN.between(begin, end))
        if engine is not None:
            query = query.where(_ENGINE.c.name == engine)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def waiting_keys(self, instance_ids: Sequence[UUID], *, automation: str | None = None) -> list[dict[str, Any]]:
        """Keys that rules found in these instances and that no Run had: `instance_id`, `rule`, `automation`, `key`."""
        waiting = tables.waiting_keys
        query = (
            sa.select(waiting.c.instance_id, waiting.c.rule, _AUTOMATION.c.name.label("automation"), waiting.c.key)
            .join(_AUTOMATION, _AUTOMATION.c.id == waiting.c.automation_id)
            .where(chosen(self._connection, waiting.c.instance_id, instance_ids))
            .order_by(waiting.c.rule, _AUTOMATION.c.name, waiting.c.key)
        )
        if automation is not None:
            query = query.where(_AUTOMATION.c.name == automation)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def linked_instances(self, run_ids: Sequence[UUID], *, limit: int = 500) -> list[dict[str, Any]]:
        """Instances that count for these Runs, with `run_id`."""
        if not run_ids:
            return []
        query = (
            sa.select(_LINK.c.run_id, *(_INSTANCE.c[name] for name in _NAMES))
            .join(_INSTANCE, _INSTANCE.c.id == _LINK.c.orchestration_instance_id)
            .where(_LINK.c.is_active, chosen(self._connection, _LINK.c.run_id, run_ids))
            .order_by(_LINK.c.id.desc())
            .limit(limit)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]
