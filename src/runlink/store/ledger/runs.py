"""The ledger's part on Runs: links, keys that wait for a Run, roll-up, events.

Locks say FOR NO KEY UPDATE (SQLite, with its one writer, leaves them out).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from runlink.application.rows import Correlation, Kin, Linked, RunTimes, WaitingKey
from runlink.domain import (
    Engine,
    ExecutionStatus,
    ItemExecution,
    Run,
    RunOrchestration,
)
from runlink.store import mapping, tables
from runlink.store.bulk import Bulk
from runlink.store.selection import chosen
from runlink.store.tables import OPEN_STATUSES

_STATUS = {status.value: status for status in ExecutionStatus}


def _failed_step() -> sa.ColumnElement[str | None]:
    """The one that failed first, and was not tried again: what failed for its sake, and what it is a part of, ended
    later; of those that ended at once it is the one that began last."""
    step, instance = tables.instance_steps, tables.orchestration_instances
    again = step.alias("again")
    tried_again = sa.exists().where(
        again.c.instance_id == step.c.instance_id,
        again.c.external_id == step.c.external_id,
        again.c.attempt > step.c.attempt,
    )
    first = (
        sa.select(step.c.name)
        .where(step.c.instance_id == instance.c.id, step.c.status == "FAILED", ~tried_again)
        .order_by(sa.nulls_last(step.c.finished_at), sa.nulls_last(step.c.started_at.desc()), step.c.external_id)
        .limit(1)
        .correlate(instance)
        .scalar_subquery()
    )
    return sa.case((instance.c.status == "FAILED", first))


_FAILED_STEP = _failed_step()


class RunLedger:
    """Runs and links in bulk, within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._bulk = Bulk(connection)

    def links_of(self, instance_ids: Sequence[UUID]) -> dict[UUID, list[RunOrchestration]]:
        """Links of instances, inactive ones too."""
        found: dict[UUID, list[RunOrchestration]] = {}
        if instance_ids:
            column = tables.run_orchestrations.c.orchestration_instance_id
            query = mapping.LINK.select().where(chosen(self._connection, column, instance_ids))
            for row in self._connection.execute(query):
                link = mapping.LINK.from_row(row)
                found.setdefault(link.orchestration_instance_id, []).append(link)
        return found

    def insert_links(self, links: Sequence[RunOrchestration], actor: str) -> None:
        """New links."""
        for link in links:
            link.created_by = link.updated_by = actor
        self._bulk.insert(tables.run_orchestrations, mapping.LINK.columns, [mapping.LINK.to_row(k) for k in links])

    def update_links(self, links: Sequence[RunOrchestration], actor: str) -> None:
        """Changed links; raises ConcurrencyError when one was changed by another meanwhile."""
        values = []
        for link in links:
            link.updated_by = actor
            values.append((*mapping.LINK.to_row(link)[1:], link.id, link.stored_version))
        self._bulk.update_versioned(tables.run_orchestrations, mapping.LINK.columns[1:], values)
        for link in links:
            link.mark_stored()

    def lock_automations(self, ids: Sequence[UUID]) -> None:
        """Makes whoever creates or looks for Runs of these automations wait for this transaction."""
        table = tables.automations
        query = sa.select(table.c.id).where(chosen(self._connection, table.c.id, ids)).order_by(table.c.id)
        self._connection.execute(query.with_for_update(key_share=True)).all()

    def runs_by_key(self, automation_id: UUID, keys: Sequence[str], *, timed: bool = True) -> dict[str, list[RunTimes]]:
        """Runs whose id or correlation id is one of the keys, oldest first; whose id it is stands alone.

        Without `timed` their times are read only where several have one key: most rules need none, and to make times
        of what the database gives costs more than finding the Runs.
        """
        run = tables.runs
        mine = sa.and_(run.c.automation_id == automation_id, run.c.is_active)
        named = sa.and_(mine, chosen(self._connection, run.c.correlation_id, keys))
        found = self._runs(named, timed=timed)
        if not timed and any(len(runs) > 1 for runs in found.values()):
            found = self._runs(named, timed=True)
        ids = {key: as_id for key in keys if (as_id := _as_uuid(key)) is not None}
        if ids:
            by_id = self._runs(sa.and_(mine, chosen(self._connection, run.c.id, list(ids.values()))), timed=True)
            there = {one.id: one for runs in by_id.values() for one in runs}
            found.update({key: [there[as_id]] for key, as_id in ids.items() if as_id in there})
        return found

    def _runs(self, where: sa.ColumnElement[bool], *, timed: bool) -> dict[str, list[RunTimes]]:
        run = tables.runs
        times = (run.c.created_at, run.c.started_at) if timed else (sa.null(), sa.null())
        query = sa.select(run.c.correlation_id, run.c.id, *times).where(where).order_by(run.c.id)
        found: dict[str, list[RunTimes]] = {}
        for key, run_id, created_at, started_at in self._connection.execute(query):
            found.setdefault(key, []).append(RunTimes(run_id, created_at, started_at))
        return found

    def insert_waiting(self, rows: Sequence[WaitingKey]) -> None:
        """Keys to be looked for when a Run is made."""
        key = ("instance_id", "rule", "automation_id", "key")
        self._bulk.upsert(tables.waiting_keys, key, WaitingKey._fields, rows, change="NOTHING")

    def take_waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]:
        """Removes and gives what waited for one of these keys."""
        waiting = tables.waiting_keys
        query = (
            sa.delete(waiting)
            .where(waiting.c.automation_id == automation_id, chosen(self._connection, waiting.c.key, keys))
            .returning(*(waiting.c[name] for name in WaitingKey._fields))
        )
        return [WaitingKey(*row) for row in self._connection.execute(query)]

    def waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]:
        """What waits for one of these keys, and stays."""
        row = tables.waiting_keys
        mine = sa.and_(row.c.automation_id == automation_id, chosen(self._connection, row.c.key, keys))
        query = sa.select(*(row.c[name] for name in WaitingKey._fields)).where(mine)
        return [WaitingKey(*found) for found in self._connection.execute(query)]

    def insert_correlations(self, rows: Sequence[Correlation]) -> None:
        """Values by which parents and children are known; those that are there already stay."""
        self._bulk.upsert(tables.correlations, Correlation._fields, Correlation._fields, rows, change="NOTHING")

    def kin(self, instance_ids: Sequence[UUID], side: str) -> list[Kin]:
        """Of these, as parents or as children, whom they have a value in common with."""
        if not instance_ids:
            return []
        mine, theirs = tables.correlations.alias(), tables.correlations.alias()
        child, parent = (mine, theirs) if side == "child" else (theirs, mine)
        other = tables.orchestration_instances
        query = (
            sa.select(mine.c.topic, mine.c.value, child.c.instance_id, parent.c.instance_id)
            .join(theirs, sa.and_(theirs.c.topic == mine.c.topic, theirs.c.value == mine.c.value))
            .join(other, sa.and_(other.c.id == theirs.c.instance_id, other.c.is_active))
            .where(
                chosen(self._connection, mine.c.instance_id, instance_ids),
                mine.c.side == side,
                theirs.c.side == ("parent" if side == "child" else "child"),
                mine.c.instance_id != theirs.c.instance_id,
            )
            .order_by(child.c.instance_id, parent.c.instance_id)
        )
        return [Kin(*row) for row in self._connection.execute(query)]

    def correlations_of(self, instance_ids: Sequence[UUID], side: str) -> list[Correlation]:
        """The values by which these are known, or know their parents."""
        row = tables.correlations
        return self._correlations(chosen(self._connection, row.c.instance_id, instance_ids), side)

    def correlated(self, topics: Iterable[str], values: Iterable[str], side: str) -> list[Correlation]:
        """Who has one of these values under one of these topics."""
        row = tables.correlations
        named = chosen(self._connection, row.c.value, list(values))
        return self._correlations(sa.and_(chosen(self._connection, row.c.topic, list(topics)), named), side)

    def _correlations(self, where: sa.ColumnElement[bool], side: str) -> list[Correlation]:
        row, instance = tables.correlations, tables.orchestration_instances
        query = (
            sa.select(*(row.c[name] for name in Correlation._fields))
            .join(instance, sa.and_(instance.c.id == row.c.instance_id, instance.c.is_active))
            .where(where, row.c.side == side)
        )
        return [Correlation(*found) for found in self._connection.execute(query)]

    def forget_claims(self, instance_ids: Sequence[UUID]) -> None:
        """Drops what waits or is compared for these instances: they are about to be asked again."""
        for table in (tables.waiting_keys, tables.correlations):
            mine = chosen(self._connection, table.c.instance_id, instance_ids)
            self._connection.execute(sa.delete(table).where(mine))

    def insert_runs(self, runs: Sequence[Run], actor: str) -> None:
        """New Runs."""
        for run in runs:
            run.created_by, run.updated_by = run.created_by or actor, actor
        self._bulk.insert(tables.runs, mapping.RUN.columns, [mapping.RUN.to_row(run) for run in runs])
        for run in runs:
            run.mark_stored()

    def lock_runs(self, ids: Sequence[UUID]) -> list[Run]:
        """Runs in order of id, locked until the end of the transaction, so that two feeds of one Run wait.

        The lock lets others insert links to the Run meanwhile (they hold a key-share lock on it): with a full one, two
        feeds that each linked an instance would wait for each other.
        """
        if not ids:
            return []
        query = mapping.RUN.select().where(chosen(self._connection, tables.runs.c.id, ids)).order_by(tables.runs.c.id)
        rows = self._connection.execute(query.with_for_update(key_share=True))
        return [mapping.RUN.from_row(row) for row in rows]

    def update_runs(self, runs: Sequence[Run], actor: str) -> None:
        """Changed Runs; raises ConcurrencyError when one was changed by another meanwhile."""
        values = []
        for run in runs:
            run.updated_by = actor
            values.append((*mapping.RUN.to_row(run)[1:], run.id, run.stored_version))
        self._bulk.update_versioned(tables.runs, mapping.RUN.columns[1:], values)
        for run in runs:
            run.mark_stored()

    def set_quiet(self, rows: Sequence[tuple[UUID, datetime | None]]) -> None:
        """Until when Runs wait for more instances; None: they do not wait."""
        self._bulk.update(tables.runs, ("id",), ("quiet_until",), [(until, run_id) for run_id, until in rows])

    def quiet_runs(self, now: datetime, limit: int) -> list[UUID]:
        """Runs whose quiet time is over, locked: nobody can begin it anew until this transaction ends."""
        run = tables.runs
        query = sa.select(run.c.id).where(run.c.quiet_until <= now).order_by(run.c.quiet_until).limit(limit)
        return list(self._connection.execute(query.with_for_update(key_share=True, skip_locked=True)).scalars())

    def silent_runs(self, automation_id: UUID, since: datetime, limit: int) -> list[tuple[Run, datetime]]:
        """Open Runs of an automation that are not flagged and of which nothing was learnt since, longest silent first,
        each with the time of its last news; locked."""
        run, link, instance, item = (
            tables.runs,
            tables.run_orchestrations,
            tables.orchestration_instances,
            tables.item_executions,
        )
        told = (
            sa.select(sa.func.max(instance.c.updated_at))
            .join(link, link.c.orchestration_instance_id == instance.c.id)
            .where(link.c.run_id == run.c.id, link.c.is_active)
            .scalar_subquery()
        )
        worked = sa.select(sa.func.max(item.c.updated_at)).where(item.c.run_id == run.c.id).scalar_subquery()
        last = [sa.func.coalesce(news, run.c.updated_at) for news in (told, worked)]
        query = (
            mapping.RUN.select()
            .add_columns(*last)
            .where(run.c.automation_id == automation_id, run.c.is_active, run.c.status.in_(OPEN_STATUSES))
            .where(run.c.silent_since.is_(None), run.c.updated_at < since, *(news < since for news in last))
            .order_by(run.c.updated_at)
            .limit(limit)
            .with_for_update(of=run, key_share=True, skip_locked=True)
        )
        found = []
        for *row, instance_at, item_at in self._connection.execute(query):
            silent = mapping.RUN.from_row(row)
            found.append((silent, max(silent.updated_at, instance_at, item_at)))
        return found

    def linked(self, run_ids: Sequence[UUID]) -> list[Linked]:
        """The instances that count for these Runs."""
        if not run_ids:
            return []
        link, instance, engine = tables.run_orchestrations, tables.orchestration_instances, tables.engines
        query = (
            sa.select(link.c.run_id, engine.c.name, *(instance.c[name] for name in Linked._fields[2:-2]))
            .add_columns(_FAILED_STEP, instance.c.id)
            .join(instance, instance.c.id == link.c.orchestration_instance_id)
            .join(engine, engine.c.id == instance.c.engine_id)
            .where(chosen(self._connection, link.c.run_id, run_ids), link.c.is_active, instance.c.is_active)
            .order_by(instance.c.id)
        )
        place = Linked._fields.index("status")
        return [
            Linked._make((*row[:place], _STATUS[row[place]], *row[place + 1 :]))
            for row in self._connection.execute(query)
        ]

    def open_item_executions(self, run_ids: Sequence[UUID]) -> list[ItemExecution]:
        """The item executions of these Runs that have not ended and were not put away."""
        kind = mapping.ITEM_EXECUTION
        mine = chosen(self._connection, kind.table.c.run_id, run_ids)
        query = kind.select().where(mine, kind.table.c.status.in_(OPEN_STATUSES), kind.table.c.is_active)
        return [kind.from_row(row) for row in self._connection.execute(query.order_by(kind.table.c.id))]

    def engines(self, ids: Sequence[UUID]) -> dict[UUID, Engine]:
        """Engines by id."""
        query = mapping.ENGINE.select().where(chosen(self._connection, tables.engines.c.id, ids))
        return {row[0]: mapping.ENGINE.from_row(row) for row in self._connection.execute(query)}

    def automation_ids(self, names: Iterable[str]) -> dict[str, UUID]:
        """Ids of the active automations with these names."""
        table = tables.automations
        query = sa.select(table.c.name, table.c.id).where(table.c.name.in_(list(names)), table.c.is_active)
        return {row[0]: row[1] for row in self._connection.execute(query)}


def _as_uuid(text: str) -> UUID | None:
    if len(text) not in (32, 36):
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
