"""What grows is kept for a while: observations, delivered events, quarantined items, deliveries, the audit, idempotency
keys. The daemon comes here hourly.

An instance, its attempts, steps and links are never removed, nor anything a Run's history is told from: neither the
first, whole observation of an instance, nor any observation of an instance that counts, or once counted, for a Run, nor
a Run's own events.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from runlink.application.settings import Retention
from runlink.store import tables

if TYPE_CHECKING:
    from runlink.store.unit_of_work import SqlUnitOfWork


class Pruned(NamedTuple):
    """How many rows were removed."""

    observations: int
    events: int
    quarantined: int
    deliveries: int = 0
    sent: int = 0
    audited: int = 0
    idempotency_keys: int = 0
    is_done: bool = True


IDEMPOTENCY_KEYS = timedelta(days=7)
"""How long a repeated request is recognised."""


def prune(uow: SqlUnitOfWork, retention: Retention, now: datetime, *, limit: int = 5000) -> Pruned:
    """Removes what is older than its time, of each kind looking at no more than `limit` rows, so that a transaction
    stays short.

    Call again, in a transaction of its own, until it `is_done`. What is kept although it is old is not looked at again.
    """
    done_before = now - timedelta(days=retention.deliveries_days)
    dead_before = now - timedelta(days=retention.dead_deliveries_days)
    observations, more_observations = _observations(
        uow.connection, now - timedelta(days=retention.observations_days), limit
    )
    events, more_events = _events(uow.connection, now - timedelta(days=retention.outbox_days), limit)
    others = (
        _quarantined(uow.connection, now - timedelta(days=retention.quarantine_days), limit),
        uow.deliveries.prune(done_before, dead_before, limit),
        uow.subscriptions.prune(done_before, dead_before, limit),
        _older(uow.connection, tables.audit, "at", now - timedelta(days=retention.audit_days), limit),
        _older(uow.connection, tables.idempotency_keys, "created_at", now - IDEMPOTENCY_KEYS, limit),
    )
    is_done = not (more_observations or more_events or any(count >= limit for count in others))
    return Pruned(observations, events, *others, is_done=is_done)


def _observations(connection: sa.Connection, before: datetime, limit: int) -> tuple[int, bool]:
    one, link, run = tables.observations, tables.run_orchestrations, tables.runs
    earlier = one.alias("earlier")
    counts_for_a_run = (
        sa.exists()
        .where(link.c.orchestration_instance_id == one.c.instance_id)
        .where(run.c.id == link.c.run_id, run.c.is_active)
    )
    is_not_first = sa.exists().where(earlier.c.instance_id == one.c.instance_id, earlier.c.id < one.c.id)
    return _window(connection, one.c.id, before, sa.and_(is_not_first, ~counts_for_a_run), limit)


def _events(connection: sa.Connection, before: datetime, limit: int) -> tuple[int, bool]:
    """Events that every subscriber has taken. What a kept Run's history is told from stays: its own events, and those
    of its links."""
    table = tables.outbox
    reached = connection.execute(sa.select(sa.func.min(tables.subscribers.c.position))).scalar()
    last = connection.execute(sa.select(sa.func.max(table.c.position))).scalar() or 0
    is_kept = sa.exists().where(tables.runs.c.id == table.c.run_id, tables.runs.c.is_active)
    tells_of_it = sa.or_(table.c.type.like("run.%"), table.c.type.in_(("instance.linked", "instance.unlinked")))
    until = last - 1 if reached is None else min(reached, last - 1)  # the numbering goes on from the last
    return _window(connection, table.c.position, before, ~sa.and_(tells_of_it, is_kept), limit, until=until)


def _window(
    connection: sa.Connection,
    number: sa.Column[Any],
    before: datetime,
    goes: sa.ColumnElement[bool],
    limit: int,
    *,
    until: int | None = None,
) -> tuple[int, bool]:
    """Looks at the next rows behind the mark, in the order they were written: removes those that go, and moves the mark
    behind them all. Returns how many were removed, and whether there may be more."""
    table, marks = number.table, tables.retention_marks
    name = table.name
    mark = connection.execute(sa.select(marks.c.number).where(marks.c.name == name)).scalar() or 0
    asked = sa.select(number, table.c.recorded_at).where(number > mark).order_by(number).limit(limit)
    rows = connection.execute(asked if until is None else asked.where(number <= until)).all()
    old = list(takewhile(lambda row: row[1] < before, rows))
    if not old:
        return 0, False
    reached = old[-1][0]
    removed = connection.execute(sa.delete(table).where(number > mark, number <= reached, goes)).rowcount
    # SQLite gives the number behind the last that is left, also where it was given before
    left = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
    values = {"number": min(reached, left)}
    if not connection.execute(sa.update(marks).where(marks.c.name == name).values(values)).rowcount:
        connection.execute(sa.insert(marks), {"name": name, **values})
    return removed, len(old) == limit


def look_again(connection: sa.Connection) -> None:
    """A Run was put away: what was kept for it may go. Everything is looked at once more."""
    connection.execute(sa.delete(tables.retention_marks))


def _quarantined(connection: sa.Connection, before: datetime, limit: int) -> int:
    table = tables.quarantine
    key = sa.tuple_(table.c.engine_id, table.c.fingerprint)
    old = (
        sa.select(table.c.engine_id, table.c.fingerprint)
        .where(table.c.last_seen_at < before)
        .order_by(table.c.last_seen_at)
        .limit(limit)
    )
    return connection.execute(sa.delete(table).where(key.in_(old))).rowcount


def _older(connection: sa.Connection, table: sa.Table, column: str, before: datetime, limit: int) -> int:
    key = sa.tuple_(*table.primary_key.columns)
    old = sa.select(*table.primary_key.columns).where(table.c[column] < before).order_by(table.c[column]).limit(limit)
    return connection.execute(sa.delete(table).where(key.in_(old))).rowcount
