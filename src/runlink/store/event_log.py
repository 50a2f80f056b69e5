"""The outbox as its readers see it: events with the Runs they concern. The stream comes here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa

from runlink.store import tables
from runlink.store.outbox import Placed
from runlink.store.selection import chosen

if TYPE_CHECKING:
    from runlink.store.unit_of_work import SqlUnitOfWork

_OUTBOX = tables.outbox
_REMEMBERED: Final = 10_000


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
        subjects = [_subject(row.run_id, _id_or_none(row.data.get("orchestration_instance_id"))) for row in rows]
        runs_of = self.runs_of([one for one in subjects if one is not None and one.run_id is None])
        names = self.automations_of([one.run_id for one in subjects if one is not None and one.run_id is not None])
        told = [(row.position, row.type, row.occurred_at, row.data) for row in rows]
        return _with_runs(told, subjects, runs_of, names)

    def runs_of(self, subjects: Sequence[Subject]) -> dict[UUID, dict[UUID, str]]:
        """For the instances of these subjects, the Runs they count for, each with the name of its automation."""
        link, run, automation = tables.run_orchestrations, tables.runs, tables.automations
        found: dict[UUID, dict[UUID, str]] = {}
        if subjects:
            ids = sorted({one.instance_id for one in subjects if one.instance_id is not None})
            query = (
                sa.select(link.c.orchestration_instance_id, link.c.run_id, automation.c.name)
                .join(run, run.c.id == link.c.run_id)
                .join(automation, automation.c.id == run.c.automation_id)
                .where(chosen(self._connection, link.c.orchestration_instance_id, ids), link.c.is_active)
            )
            for instance_id, run_id, name in self._connection.execute(query):
                found.setdefault(instance_id, {})[run_id] = name
        return found

    def automations_of(self, run_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The name of each Run's automation."""
        if not run_ids:
            return {}
        run, automation = tables.runs, tables.automations
        query = (
            sa.select(run.c.id, automation.c.name)
            .join(automation, automation.c.id == run.c.automation_id)
            .where(chosen(self._connection, run.c.id, sorted(set(run_ids))))
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}


class Announcer:
    """Events that were committed a moment ago, as `EventLog.after` gives them, without reading them. What Runs are of
    which automation is remembered: neither changes. May be called from any thread.

    reading   opens a unit of work that reads, for what is not remembered
    """

    def __init__(self, reading: Callable[[], AbstractContextManager[SqlUnitOfWork]]) -> None:
        self._reading = reading
        self._names: dict[UUID, str] = {}

    def events(self, placed: Sequence[Placed]) -> list[LoggedEvent]:
        """The events of one commit."""
        subjects = [
            _subject(getattr(one.event, "run_id", None), getattr(one.event, "orchestration_instance_id", None))
            for one in placed
        ]
        of_instances = [one for one in subjects if one is not None and one.run_id is None]
        runs = {one.run_id for one in subjects if one is not None and one.run_id is not None}
        names = {run_id: name for run_id in runs if (name := self._names.get(run_id)) is not None}
        runs_of: Mapping[UUID, Mapping[UUID, str]] = {}
        if of_instances or len(names) < len(runs):
            with self._reading() as uow:
                runs_of = uow.event_log.runs_of(of_instances)
                new = uow.event_log.automations_of([run_id for run_id in runs if run_id not in names])
            names |= new
            self._remember(new)
        told = [(one.position, one.event.type, one.event.occurred_at, msgspec.Raw(one.data)) for one in placed]
        return _with_runs(told, subjects, runs_of, names)

    def _remember(self, names: Mapping[UUID, str]) -> None:
        if len(self._names) + len(names) > _REMEMBERED:
            self._names = {}
        self._names.update(names)


class Subject(NamedTuple):
    """What an event is about: a Run, or an instance and with it the Runs that it counts for."""

    run_id: UUID | None
    instance_id: UUID | None


def _subject(run_id: UUID | None, instance_id: UUID | None) -> Subject | None:
    return None if run_id is None and instance_id is None else Subject(run_id, instance_id)


def _with_runs(
    told: Sequence[tuple[int, str, datetime, Any]],
    subjects: Sequence[Subject | None],
    runs_of: Mapping[UUID, Mapping[UUID, str]],
    names: Mapping[UUID, str],
) -> list[LoggedEvent]:
    found = []
    for event, subject in zip(told, subjects, strict=True):
        runs: Mapping[UUID, str | None] = {}
        if subject is not None and subject.run_id is not None:
            runs = {subject.run_id: names.get(subject.run_id)}
        elif subject is not None and subject.instance_id is not None:
            runs = runs_of.get(subject.instance_id, {})
        automations = dict.fromkeys(name for name in runs.values() if name is not None)
        found.append(LoggedEvent(*event, tuple(map(str, runs)), tuple(automations)))
    return found


def _id_or_none(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
