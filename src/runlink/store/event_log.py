"""The outbox as its readers see it: events with the Runs they concern. The stream comes here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa

from runlink.domain import DomainEvent
from runlink.domain.events import RunEvent
from runlink.store import tables
from runlink.store.outbox import Placed
from runlink.store.prepared import Prepared
from runlink.store.selection import among, several

if TYPE_CHECKING:
    from runlink.store.unit_of_work import SqlUnitOfWork

_OUTBOX = tables.outbox


class LoggedEvent(NamedTuple):
    """An event. `runs` are ids of Runs: its own, or those its instance counts for when it is read."""

    position: int
    type: str
    occurred_at: datetime
    data: dict[str, Any] | msgspec.Raw
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
        subjects = [Subject(row.run_id, _id_or_none(row.data.get("orchestration_instance_id"))) for row in rows]
        runs_of = self.runs_of({one.instance_id for one in subjects if one.run_id is None})
        names = self.automations_of({one.run_id for one in subjects})
        told = [(row.position, row.type, row.occurred_at, row.data) for row in rows]
        return _with_runs(told, subjects, runs_of, names)

    def about(self, events: Iterable[DomainEvent]) -> About:
        """What these events concern. A Run's own events tell their automation."""
        subjects = [_subject(event) for event in events if not isinstance(event, RunEvent)]
        runs_of = self.runs_of({one.instance_id for one in subjects if one.run_id is None})
        return About(runs_of, self.automations_of({one.run_id for one in subjects}))

    def runs_of(self, instance_ids: Set[UUID | None]) -> dict[UUID, dict[UUID, str]]:
        """The Runs these instances count for, each with the name of its automation."""
        found: dict[UUID, dict[UUID, str]] = {}
        if ids := sorted(one for one in instance_ids if one is not None):
            statement = _runs_of(self._connection.dialect)
            for row in statement.rows(self._connection, {"chosen": several(self._connection, ids)}):
                found.setdefault(row["orchestration_instance_id"], {})[row["run_id"]] = row["name"]
        return found

    def automations_of(self, run_ids: Set[UUID | None]) -> dict[UUID, str]:
        """The name of each Run's automation."""
        ids = sorted(one for one in run_ids if one is not None)
        if not ids:
            return {}
        rows = _automations_of(self._connection.dialect).rows(
            self._connection, {"chosen": several(self._connection, ids)}
        )
        return {row["id"]: row["name"] for row in rows}

    def automation_names(self, automation_ids: Set[UUID]) -> dict[UUID, str]:
        """The names of automations."""
        table = tables.automations
        query = sa.select(table.c.id, table.c.name).where(table.c.id.in_(sorted(automation_ids)))
        return {row[0]: row[1] for row in self._connection.execute(query)} if automation_ids else {}


_LINK, _RUN, _AUTOMATION = tables.run_orchestrations, tables.runs, tables.automations


@lru_cache
def _runs_of(dialect: sa.Dialect) -> Prepared:
    mine = among(dialect, _LINK.c.orchestration_instance_id)
    query = sa.select(_LINK.c.orchestration_instance_id, _LINK.c.run_id, _AUTOMATION.c.name)
    query = query.join(_RUN, _RUN.c.id == _LINK.c.run_id).join(_AUTOMATION, _AUTOMATION.c.id == _RUN.c.automation_id)
    return Prepared(query.where(mine, _LINK.c.is_active), dialect)


@lru_cache
def _automations_of(dialect: sa.Dialect) -> Prepared:
    query = sa.select(_RUN.c.id, _AUTOMATION.c.name).join(_AUTOMATION, _AUTOMATION.c.id == _RUN.c.automation_id)
    return Prepared(query.where(among(dialect, _RUN.c.id)), dialect)


class About(NamedTuple):
    """What events concern that they do not tell: the Runs of instances, and the automations of Runs."""

    runs_of: Mapping[UUID, Mapping[UUID, str]]
    names: Mapping[UUID, str]


class Committed(NamedTuple):
    """What one transaction told. `about` was looked up in it; None where nobody wanted it, or there is too much."""

    events: Sequence[Placed]
    about: About | None


class Announcer:
    """Events that were committed a moment ago, as `EventLog.after` gives them, without reading them. The names of
    automations are remembered: they do not change. May be called from any thread.

    reading   opens a unit of work that reads, for an automation whose name is not remembered
    """

    def __init__(self, reading: Callable[[], AbstractContextManager[SqlUnitOfWork]]) -> None:
        self._reading = reading
        self._names: dict[UUID, str] = {}

    def events(self, placed: Sequence[Placed], about: About) -> list[LoggedEvent]:
        """The events of one commit."""
        subjects = [_subject(one.event) for one in placed]
        owners = {one.event.run_id: one.event.automation_id for one in placed if isinstance(one.event, RunEvent)}
        unknown = {owner for owner in owners.values() if owner not in self._names}
        if unknown:
            with self._reading() as uow:
                self._names |= uow.event_log.automation_names(unknown)
        names = {run_id: self._names[owner] for run_id, owner in owners.items() if owner in self._names}
        told = [(one.position, one.event.type, one.event.occurred_at, msgspec.Raw(one.data)) for one in placed]
        return _with_runs(told, subjects, about.runs_of, {**about.names, **names})


class Subject(NamedTuple):
    """What an event is about: a Run, or an instance and with it the Runs that it counts for."""

    run_id: UUID | None
    instance_id: UUID | None


def _subject(event: DomainEvent) -> Subject:
    return Subject(getattr(event, "run_id", None), getattr(event, "orchestration_instance_id", None))


def _with_runs(
    told: Sequence[tuple[int, str, datetime, Any]],
    subjects: Sequence[Subject],
    runs_of: Mapping[UUID, Mapping[UUID, str]],
    names: Mapping[UUID, str],
) -> list[LoggedEvent]:
    found = []
    for event, subject in zip(told, subjects, strict=True):
        runs: Mapping[UUID, str | None] = {}
        if subject.run_id is not None:
            runs = {subject.run_id: names.get(subject.run_id)}
        elif subject.instance_id is not None:
            runs = runs_of.get(subject.instance_id, {})
        automations = dict.fromkeys(name for name in runs.values() if name is not None)
        found.append(LoggedEvent(*event, tuple(map(str, runs)), tuple(automations)))
    return found


def _id_or_none(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
