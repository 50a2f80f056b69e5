"""`column IN (many values)` with one parameter, so that the statement stays the same whatever their number; and rows
that are locked where something may be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


def chosen(connection: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether a text or UUID column holds one of `values`. PostgreSQL gets an array, SQLite a JSON list."""
    uuids = isinstance(column.type, sa.Uuid)
    if connection.dialect.name == "postgresql":
        kind = postgresql.UUID(as_uuid=True) if uuids else sa.Text()
        array = sa.bindparam(None, list(values), type_=postgresql.ARRAY(kind), unique=True)
        return column == sa.func.any(array)
    texts = [value.hex for value in values] if uuids else list(values)
    listed = sa.func.json_each(sa.bindparam(None, msgspec.json.encode(texts).decode(), type_=sa.Text(), unique=True))
    rows = listed.table_valued(sa.column("value", sa.Text()))
    return sa.type_coerce(column, sa.Text()).in_(sa.select(rows.c.value))


def locked(connection: sa.Connection, query: sa.Select[Any]) -> sa.Select[Any]:
    """With its rows locked until the end of the transaction (FOR NO KEY UPDATE); in one that only reads, as it is."""
    reads_only = connection.get_execution_options().get("postgresql_readonly", False)
    return query if reads_only else query.with_for_update(key_share=True)
