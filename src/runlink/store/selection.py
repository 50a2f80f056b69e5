"""`column IN (many values)` with one parameter, so that the statement stays the same whatever their number; and rows
that are locked where something may be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_READS_ONLY: Final = "runlink_reads_only"
READS_ONLY: Final[Mapping[str, Any]] = {_READS_ONLY: True}
"""The execution option of connections that only read."""


def chosen(connection: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether a text or UUID column holds one of `values`. PostgreSQL gets an array, SQLite a JSON list."""
    given = sa.bindparam(None, several(connection, values), type_=_kind(connection.dialect, column), unique=True)
    return _among(connection.dialect, column, given)


def among(dialect: sa.Dialect, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """As `chosen`, for a statement that is prepared: its parameter `chosen` gets what `several` makes of the values."""
    return _among(dialect, column, sa.bindparam("chosen", type_=_kind(dialect, column)))


def several(connection: sa.Connection, values: Sequence[Any]) -> Any:
    """Values as the one parameter."""
    if connection.dialect.name == "postgresql":
        return list(values)
    return msgspec.json.encode([getattr(value, "hex", value) for value in values]).decode()


def _kind(dialect: sa.Dialect, column: sa.ColumnElement[Any]) -> Any:
    if dialect.name != "postgresql":
        return sa.Text()
    return postgresql.ARRAY(postgresql.UUID(as_uuid=True) if isinstance(column.type, sa.Uuid) else sa.Text())


def _among(dialect: sa.Dialect, column: sa.ColumnElement[Any], given: sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    if dialect.name == "postgresql":
        return column == sa.func.any(given)
    rows = sa.func.json_each(given).table_valued(sa.column("value", sa.Text()))
    return sa.type_coerce(column, sa.Text()).in_(sa.select(rows.c.value))


def locked(connection: sa.Connection, query: sa.Select[Any]) -> sa.Select[Any]:
    """With its rows locked until the end of the transaction (FOR NO KEY UPDATE); in one that only reads, as it is."""
    return query if connection.get_execution_options().get(_READS_ONLY) else query.with_for_update(key_share=True)
