"""Joined, read-only listings: what the CLI prints and `explain` is made from. Newest first, paged by id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.reports.inbox import InboxReports, unlinked
from runlink.store.reports.items import ItemReports
from runlink.store.reports.status import StatusReports
from runlink.store.reports.trails import TrailReports
from runlink.store.reports.work import WorkReports
from runlink.store.selection import chosen

_INSTANCE = tables.orchestration_instances
_ENGINE = tables.engines
_RUN = tables.runs
_LINK = tables.run_orchestrations


class Reports(WorkReports, ItemReports, StatusReports, InboxReports, TrailReports):
    """Listings within a unit of work. Each gives plain dicts, times aware, ids as UUID."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def instances(
        self,
        *,
        engine: str | None = None,
        workflow: str | None = None,
        status: str | None = None,
        linked: bool | None = None,
        run_id: UUID | None = None,
        since: datetime | None = None,
        before: UUID | None = None,
        limit: int = 50,
        instance_id: UUID | None = None,
        instance_ids: Sequence[UUID] | None = None,
        external_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Instances with their engine's name and the ids of their Runs. `workflow` may hold `*`."""
        names = ("external_id", "workflow", "status", "native_status", "attempt", "queued_at", "started_at",
                 "finished_at", "duration_seconds", "url", "message", "parameters", "labels", "instance_metadata",
                 "parent_external_id", "vanished_at", "observed_at", "steps_state")  # fmt: skip
        query = (
            sa.select(_INSTANCE.c.id, _ENGINE.c.name.label("engine"), *(_INSTANCE.c[name] for name in names))
            .add_columns(_ENGINE.c.type.label("engine_type"))
            .join(_ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id)
            .where(_INSTANCE.c.is_active)
            .limit(limit)
        )
        place: sa.ColumnElement[UUID] = _INSTANCE.c.id
        if linked is False:
            query, place = unlinked(self._connection, query, _INSTANCE)
        query = query.order_by(place.desc())
        has_link = sa.exists().where(_LINK.c.orchestration_instance_id == _INSTANCE.c.id, _LINK.c.is_active)
        conditions: list[tuple[Any, Any]] = [
            (engine, lambda: _ENGINE.c.name == engine),
            (workflow, lambda: self._matches(_INSTANCE.c.workflow, str(workflow))),
            (status, lambda: _INSTANCE.c.status == str(status).upper()),
            (linked, lambda: has_link if linked else ~has_link),
            (run_id, lambda: has_link.where(_LINK.c.run_id == run_id)),
            (since, lambda: sa.or_(_INSTANCE.c.started_at >= since, _INSTANCE.c.queued_at >= since)),
            (before, lambda: place < before),
            (instance_id, lambda: _INSTANCE.c.id == instance_id),
            (instance_ids, lambda: chosen(self._connection, _INSTANCE.c.id, list(instance_ids or ()))),
            (external_id, lambda: _INSTANCE.c.external_id == external_id),
        ]
        for given, condition in conditions:
            if given is not None:
                query = query.where(condition())
        rows = [dict(row) for row in self._connection.execute(query).mappings()]
        runs = self._runs_of([row["id"] for row in rows])
        for row in rows:
            row["runs"] = runs.get(row["id"], [])
        return rows

    def _runs_of(self, instance_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
        found: dict[UUID, list[UUID]] = {}
        if instance_ids:
            query = sa.select(_LINK.c.orchestration_instance_id, _LINK.c.run_id).where(
                _LINK.c.is_active, chosen(self._connection, _LINK.c.orchestration_instance_id, instance_ids)
            )
            for instance_id, run_id in self._connection.execute(query.order_by(_LINK.c.id)):
                found.setdefault(instance_id, []).append(run_id)
        return found

    def runs(
        self,
        *,
        automation: str | None = None,
        status: str | None = None,
        correlation_id: str | None = None,
        silent: bool = False,
        before: UUID | None = None,
        limit: int = 50,
        since: datetime | None = None,
        run_id: UUID | None = None,
        linked: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Runs with their automation's name and how many instances count for them."""
        automations = tables.automations
        count = (
            sa.select(sa.func.count())
            .where(_LINK.c.run_id == _RUN.c.id, _LINK.c.is_active)
            .correlate(_RUN)
            .scalar_subquery()
        )
        names = ("correlation_id", "status", "attempt", "created_at", "started_at", "finished_at", "error_summary",
                 "cancellation_reason", "quiet_until", "silent_since", "version")  # fmt: skip
        query = (
            sa.select(_RUN.c.id, automations.c.name.label("automation"), *(_RUN.c[name] for name in names))
            .add_columns(count.label("instances"))
            .join(automations, automations.c.id == _RUN.c.automation_id)
            .where(_RUN.c.is_active)
            .limit(limit)
        )
        place: sa.ColumnElement[UUID] = _RUN.c.id
        if linked is False:
            query, place = unlinked(self._connection, query, _RUN)
        query = query.order_by(place.desc())
        if automation is not None:
            query = query.where(automations.c.name == automation)
        if status is not None:
            query = query.where(_RUN.c.status == status.upper())
        if correlation_id is not None:
            query = query.where(_RUN.c.correlation_id == correlation_id)
        if silent:
            query = query.where(_RUN.c.silent_since.is_not(None))
        if before is not None:
            query = query.where(place < before)
        if since is not None:
            query = query.where(_RUN.c.created_at >= since)
        if run_id is not None:
            query = query.where(_RUN.c.id == run_id)
        if linked is not None:
            has_link = sa.exists().where(_LINK.c.run_id == _RUN.c.id, _LINK.c.is_active)
            query = query.where(has_link if linked else ~has_link)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def links(self, *, run_id: UUID | None = None, instance_id: UUID | None = None) -> list[dict[str, Any]]:
        """Links, inactive ones too, oldest first."""
        query = sa.select(_LINK).order_by(_LINK.c.id)
        if run_id is not None:
            query = query.where(_LINK.c.run_id == run_id)
        if instance_id is not None:
            query = query.where(_LINK.c.orchestration_instance_id == instance_id)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def attempts(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Attempts of instances, by number."""
        return self._details(tables.instance_attempts, instance_ids, "number")

    def steps(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Steps of instances, by start."""
        return self._details(tables.instance_steps, instance_ids, "started_at")

    def observations(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """What was told of instances, oldest first."""
        return self._details(tables.observations, instance_ids, "id")

    def _details(self, table: sa.Table, instance_ids: Sequence[UUID], order: str) -> list[dict[str, Any]]:
        if not instance_ids:
            return []
        names = [column for column in table.c if column.name != "digest"]
        query = sa.select(*names).where(chosen(self._connection, table.c.instance_id, instance_ids))
        rows = self._connection.execute(query.order_by(table.c.instance_id, table.c[order]))
        return [dict(row) for row in rows.mappings()]

    def events(
        self, *, run_id: UUID | None = None, until: datetime | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """The latest events of the outbox, oldest first; of one Run, and recorded until a time, when given."""
        table = tables.outbox
        query = sa.select(table).order_by(table.c.sequence.desc()).limit(limit)
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        if until is not None:
            query = query.where(table.c.recorded_at <= until)
        return [dict(row) for row in self._connection.execute(query).mappings()][::-1]

    def quarantine(
        self,
        *,
        engine: str | None = None,
        external_ids: Sequence[str] | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Items that could not be taken in, latest first; of these instances when given. `before` is the time and the
        beginning of the fingerprint of the last row of the page before."""
        table = tables.quarantine
        query = (
            sa.select(_ENGINE.c.name.label("engine"), *(c for c in table.c if c.name != "engine_id"))
            .join(_ENGINE, _ENGINE.c.id == table.c.engine_id)
            .order_by(table.c.last_seen_at.desc(), table.c.fingerprint.desc())
            .limit(limit)
        )
        if engine is not None:
            query = query.where(_ENGINE.c.name == engine)
        if external_ids is not None:
            query = query.where(chosen(self._connection, table.c.external_id, external_ids))
        if before is not None:
            at, fingerprint = before
            same = sa.and_(table.c.last_seen_at == at, table.c.fingerprint < fingerprint)
            query = query.where(sa.or_(table.c.last_seen_at < at, same))
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def counts(self) -> list[dict[str, Any]]:
        """How many instances each engine has in each status, linked and not."""
        query = (
            sa.select(_ENGINE.c.name.label("engine"), _INSTANCE.c.status, sa.func.count().label("count"))
            .join(_ENGINE, _ENGINE.c.id == _INSTANCE.c.engine_id)
            .group_by(_ENGINE.c.name, _INSTANCE.c.status)
            .order_by(_ENGINE.c.name, _INSTANCE.c.status)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _matches(self, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
        """Whether text matches a pattern in which `*` stands for anything, case sensitive on both databases."""
        if "*" not in pattern:
            return column == pattern
        if self._connection.dialect.name == "sqlite":  # its LIKE ignores case
            return column.bool_op("GLOB")(pattern.replace("[", "[[]").replace("?", "[?]"))
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return column.like(escaped.replace("*", "%"), escape="\\")
