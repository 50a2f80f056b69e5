"""Feeds, what they could not take in, what was pushed, and who may run them."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.store.tables.columns import IS_WAITING, metadata, partial_index, ref
from runlink.store.types import Json, UtcDateTime

feeds = sa.Table(
    "feeds",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("feed", sa.String(20), primary_key=True),
    sa.Column("baseline_at", UtcDateTime),  # when the first whole sync was done
    sa.Column("state", sa.String(20), nullable=False, server_default="new"),
    sa.Column("since", UtcDateTime),  # of the present state
    sa.Column("last_success_at", UtcDateTime),
    sa.Column("last_news_at", UtcDateTime),  # the last page that told of an instance
    sa.Column("relists", sa.Integer, nullable=False, server_default="0"),  # of a watch: places that had expired
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text),  # stays when it is over
    sa.Column("last_error_at", UtcDateTime),
    sa.Column("last_duration_s", sa.Float),
    sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("skew_s", sa.Float),
    # of what moved at an engine that pushes: how much deliveries told, and how much a poll had to find
    sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("missed", sa.BigInteger, nullable=False, server_default="0"),
    # of the process that an isolated adapter runs in
    sa.Column("pid", sa.Integer),
    sa.Column("process_started_at", UtcDateTime),
    sa.Column("restarts", sa.Integer, nullable=False, server_default="0"),
)

feed_cursors = sa.Table(
    "feed_cursors",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("feed", sa.String(20), primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("engine_id", sa.Uuid, sa.ForeignKey("engines.id"), primary_key=True),
    sa.Column("fingerprint", sa.String(32), primary_key=True),
    sa.Column("external_id", sa.Text),
    sa.Column("feed", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("raw", sa.Text),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)

deliveries = sa.Table(  # what engines pushed, as it came: stored before it is answered, processed afterwards
    "deliveries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    ref("engine_id", "engines"),
    sa.Column("delivery_id", sa.Text),  # what the sender calls it; NULL where it does not say
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("headers", Json, nullable=False),  # [[name, value], …] without secrets
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signed", sa.Boolean, nullable=False),  # whether the scheme covers the body
    sa.Column("state", sa.String(10), nullable=False),  # waiting, done, dead
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", UtcDateTime),  # of a waiting one: not before
    sa.Column("processed_at", UtcDateTime),
    sa.Column("reason", sa.Text),  # why the last attempt failed
    sa.UniqueConstraint("engine_id", "delivery_id"),
)
IS_DEAD = sa.text("state = 'dead'")
WAS_PROCESSED = sa.text("processed_at IS NOT NULL")
partial_index("ix_deliveries_waiting", IS_WAITING, deliveries.c.engine_id, deliveries.c.due_at)
partial_index("ix_deliveries_dead", IS_DEAD, deliveries.c.engine_id, deliveries.c.id)
partial_index("ix_deliveries_processed", WAS_PROCESSED, deliveries.c.processed_at)

leases = sa.Table(  # the fencing token of whoever runs the feeds, checked in each ingest transaction
    "leases",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("taken_at", UtcDateTime, nullable=False),
)
