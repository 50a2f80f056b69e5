"""What grows is kept for a while: observations, delivered events, quarantined items, deliveries, the audit, idempotency
keys. The daemon comes here hourly.

An instance, its attempts, steps and links are never removed, nor anything a Run's history is told from: neither the
first, whole observation of an instance, nor any observation of an instance that counts, or once counted, for a Run, nor
a Run's own events.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from runlink.application.settings import Retention
from runlink.store import tables
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


IDEMPOTENCY_KEYS = timedelta(days=7)
"""How long a repeated request is recognised."""


def prune(uow: SqlUnitOfWork, retention: Retention, now: datetime, *, limit: int = 5000) -> Pruned:
    """Removes what is older than its time, at most `limit` rows of each kind, so that a transaction stays short.

    Call again, in a transaction of its own, until nothing is removed.
    """
    done_before = now - timedelta(days=retention.deliveries_days)
    dead_before = now - timedelta(days=retention.dead_deliveries_days)
    return Pruned(
        _observations(uow.connection, now - timedelta(days=retention.observations_days), limit),
        uow.outbox.prune(now - timedelta(days=retention.outbox_days), limit),
        _quarantined(uow.connection, now - timedelta(days=retention.quarantine_days), limit),
        uow.deliveries.prune(done_before, dead_before, limit),
        uow.subscriptions.prune(done_before, dead_before, limit),
        _older(uow.connection, tables.audit, "at", now - timedelta(days=retention.audit_days), limit),
        _older(uow.connection, tables.idempotency_keys, "created_at", now - IDEMPOTENCY_KEYS, limit),
    )


def _observations(connection: sa.Connection, before: datetime, limit: int) -> int:
    one, link, run = tables.observations, tables.run_orchestrations, tables.runs
    earlier = one.alias("earlier")
    counts_for_a_run = (
        sa.exists()
        .where(link.c.orchestration_instance_id == one.c.instance_id)
        .where(run.c.id == link.c.run_id, run.c.is_active)
    )
    is_not_first = sa.exists().where(earlier.c.instance_id == one.c.instance_id, earlier.c.id < one.c.id)
    old = (
        sa.select(one.c.id)
        .where(one.c.recorded_at < before, is_not_first, ~counts_for_a_run)
        .order_by(one.c.recorded_at)
        .limit(limit)
    )
    return connection.execute(sa.delete(one).where(one.c.id.in_(old))).rowcount


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
