"""Events on their way to whoever is told of them."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import IS_WAITING, metadata, partial_index
from runlink.store.types import BigId, Json, UtcDateTime

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("sequence", BigId, sa.Identity(), primary_key=True),
    sa.Column("position", sa.BigInteger),  # in commit order, without gaps
    sa.Column("type", sa.String(50), nullable=False),
    sa.Column("run_id", sa.Uuid),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("actor", sa.String(200)),  # who wrote what the event tells of
    sa.UniqueConstraint("position"),
    sa.Index("ix_outbox_run_id", "run_id", "sequence"),
)

retention_marks = sa.Table(  # up to where the rows of a table were looked at: what is left of those is kept
    "retention_marks",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

subscribers = sa.Table(
    "subscribers",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_at", UtcDateTime),
    sa.Column("last_error", sa.Text),
)

subscription_events = sa.Table(  # what each subscription is to be told, copied from the outbox
    "subscription_events",
    metadata,
    sa.Column("subscription", sa.String(200), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("type", sa.String(50), nullable=False),
    sa.Column("run_id", sa.Uuid),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # waiting, sent, dead
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", UtcDateTime),  # of a waiting one: not before
    sa.Column("sent_at", UtcDateTime),
    sa.Column("reason", sa.Text),  # why the last attempt failed
    sa.Index("ix_subscription_events_state", "state", "subscription", "position"),
)
partial_index(
    "ix_subscription_events_waiting",
    IS_WAITING,
    subscription_events.c.subscription,
    subscription_events.c.run_id,
    subscription_events.c.position,
)
WAS_SENT = sa.text("sent_at IS NOT NULL")
partial_index("ix_subscription_events_sent", WAS_SENT, subscription_events.c.sent_at)
