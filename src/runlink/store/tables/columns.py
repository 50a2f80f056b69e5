"""What the tables are made of: names of constraints, columns that several have. The other modules come here."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from runlink.store.types import UtcDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STATUSES = ("PENDING", "PROCESSING", "COMPLETED", "FAILED", "RETRYING", "CANCELLED")
OPEN_STATUSES = ("PENDING", "PROCESSING", "RETRYING")
IS_WAITING = sa.text("state = 'waiting'")  # of deliveries and of subscriptions' events


def entity(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    """A table of a DomainEntity: its own columns, then the inherited ones."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True),
        *columns,
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(200)),
        sa.Column("updated_by", sa.String(200)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
    )


def ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[object]:
    """The id of a row of another table."""
    return sa.Column(name, sa.Uuid, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def status(name: str = "status", *, nullable: bool = False) -> sa.Column[object]:
    """One of the six statuses."""
    allowed = ", ".join(f"'{word}'" for word in STATUSES)
    return sa.Column(name, sa.String(10), sa.CheckConstraint(f"{name} IN ({allowed})", name=name), nullable=nullable)


def times() -> list[sa.Column[object]]:
    """When it began and when it ended, as the engine says."""
    return [sa.Column("started_at", UtcDateTime), sa.Column("finished_at", UtcDateTime)]


def partial_index(
    name: str, where: sa.ColumnElement[bool] | sa.TextClause, *columns: sa.Column[Any], unique: bool = False
) -> sa.Index:
    """An index of the rows for which `where` holds, on either database."""
    return sa.Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)
