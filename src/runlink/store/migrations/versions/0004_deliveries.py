"""What engines push, as it came; what subscriptions are to be told; how much deliveries told, how much they missed."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from runlink.store.types import Json, UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("feeds", sa.Column("told", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("feeds", sa.Column("missed", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("engine_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signed", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", UtcDateTime, nullable=True),
        sa.Column("processed_at", UtcDateTime, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["engine_id"], ["engines.id"], name=op.f("fk_deliveries_engine_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("engine_id", "delivery_id", name=op.f("uq_deliveries_engine_id_delivery_id")),
    )
    op.create_index("ix_deliveries_waiting", "deliveries", ["engine_id", "due_at"], **_where("state = 'waiting'"))
    op.create_index("ix_deliveries_dead", "deliveries", ["engine_id", "id"], **_where("state = 'dead'"))
    op.create_index("ix_deliveries_processed", "deliveries", ["processed_at"], **_where("processed_at IS NOT NULL"))
    op.create_table(
        "subscription_events",
        sa.Column("subscription", sa.String(length=200), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=50), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", UtcDateTime, nullable=True),
        sa.Column("sent_at", UtcDateTime, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subscription", "position", name=op.f("pk_subscription_events")),
    )
    op.create_index("ix_subscription_events_state", "subscription_events", ["state", "subscription", "position"])
    op.create_index(
        "ix_subscription_events_waiting",
        "subscription_events",
        ["subscription", "run_id", "position"],
        **_where("state = 'waiting'"),
    )


def _where(condition: str) -> dict[str, Any]:
    """Only these rows: what is not in an index costs the intake nothing."""
    return {"unique": False, "sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
