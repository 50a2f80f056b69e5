"""Statements that are compiled once for each shape and read by column. Listings come here.

SQLAlchemy makes the text; what it does at every execution besides (a key of the statement for its cache, a row object,
a call for each value) costs several times what the database needs for a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

import msgspec
import sqlalchemy as sa

from runlink.store.types import Json, UtcDateTime

Convert = Callable[[Iterable[Any]], Iterable[Any]]

GLANCE: Final[Mapping[str, Any]] = {"runlink_glance": True}
"""The execution option of connections on which nothing is begun: each statement is by itself."""


def is_glance(connection: sa.Connection) -> bool:
    """Whether a connection has no transactions."""
    return "runlink_glance" in connection.get_execution_options()


class Row(msgspec.Struct, gc=False, eq=True):
    """One row: a field for each column, read by name as with a dictionary, encoded as the same JSON, made in a fifth
    of its time. What is added to rows later is declared with the statement; until then it is not there.
    """

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def keys(self) -> list[str]:
        """The names of what is there, so that `dict(row)` is possible."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not msgspec.UNSET]


@lru_cache
def row_type(names: tuple[str, ...], added: tuple[str, ...] = ()) -> type[Row]:
    """The rows of a statement. `added`: what will be set on them besides its columns."""
    later: list[Any] = [(name, Any, msgspec.UNSET) for name in added]
    made: Any = msgspec.defstruct("Row", [*names, *later], bases=(Row,), gc=False)
    return cast("type[Row]", made)


class Prepared:
    """One statement on one kind of database. Its named parameters are given at each execution.

    Values go in as text, numbers, truths and UUIDs; they come out as the columns' types say. `added`: see `row_type`.
    """

    def __init__(self, query: sa.Select[Any], dialect: sa.Dialect, added: Sequence[str] = ()) -> None:
        compiled = query.compile(dialect=dialect)
        self._text = str(compiled)
        self._order = compiled.positiontup  # None where parameters go by name
        self._own: Mapping[str, Any] = compiled.params
        self._hex = dialect.name == "sqlite"
        self._driver_error: type[Exception] = cast("Any", dialect).dbapi.Error
        self._row = row_type(tuple(str(column.name) for column in query.selected_columns), tuple(added))
        types = [column.type for column in query.selected_columns]
        self._converts = tuple(
            (place, convert)
            for place, kind in enumerate(types)
            if (convert := _convert(dialect.name, kind)) is not None
        )

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Row]:
        """What it finds."""
        found = self._found(connection, self._parameters(values))
        if not found:
            return []
        columns: list[Any] = list(zip(*found, strict=True))
        for place, convert in self._converts:
            if columns[place].count(None) < len(found):
                columns[place] = convert(columns[place])
        return list(map(self._row, *columns))

    def _found(self, connection: sa.Connection, parameters: Any) -> Sequence[tuple[Any, ...]]:
        """As the driver gives it; an error has the name it would have from SQLAlchemy."""
        if not (connection.in_transaction() or is_glance(connection)):
            connection.begin()
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._text, parameters)
            return cursor.fetchall()
        except self._driver_error as error:
            raise sa.exc.DBAPIError.instance(self._text, parameters, error, self._driver_error) from error
        finally:
            cursor.close()

    def plan(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[str]:
        """How the database would find it, a step each."""
        words = "EXPLAIN QUERY PLAN " if self._hex else "EXPLAIN "
        found = connection.exec_driver_sql(words + self._text, self._parameters(values)).fetchall()
        return [str(row[-1]) for row in found]

    def _parameters(self, values: Mapping[str, Any]) -> Any:
        given = {name: self._bound(values.get(name, own)) for name, own in self._own.items()}
        return given if self._order is None else tuple(given[name] for name in self._order)

    def _bound(self, value: Any) -> Any:
        return value.hex if self._hex and isinstance(value, UUID) else value


def _convert(dialect: str, kind: sa.types.TypeEngine[Any]) -> Convert | None:
    """From what the driver gives to what the column means; None where that is the same."""
    if isinstance(kind, UtcDateTime):
        return _texts_to_times if dialect == "sqlite" else _times_to_utc
    if dialect != "sqlite":
        return None
    if isinstance(kind, sa.Uuid):
        return _hexes_to_ids
    if isinstance(kind, Json):
        return _texts_to_documents
    return _numbers_to_truths if isinstance(kind, sa.Boolean) else None


def _hexes_to_ids(values: Iterable[Any]) -> list[UUID | None]:
    """As `UUID(hex)`, in a fifth of its time."""
    return msgspec.convert(values, list[UUID | None])


def _texts_to_times(values: Iterable[Any]) -> list[datetime | None]:
    return msgspec.convert(values, list[datetime | None])


def _times_to_utc(values: Iterable[Any]) -> list[datetime | None]:
    # of a connection in UTC they are as they should be, and to turn them costs more than the rest of the row
    return [v if v is None or v.tzinfo is UTC else v.astimezone(UTC) for v in values]


def _texts_to_documents(values: Iterable[Any]) -> list[Any]:
    decode = msgspec.json.decode
    return [None if v is None else decode(v) for v in values]


def _numbers_to_truths(values: Iterable[Any]) -> list[bool | None]:
    return [None if v is None else bool(v) for v in values]
