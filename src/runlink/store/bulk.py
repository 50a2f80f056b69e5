"""Multi-row statements at the speed of the driver. The ledger comes here; single entities go through repositories.

SQLAlchemy's own executemany spends more on converting parameters than SQLite does on writing them (measured: 26-32
thousand rows per CPU second against 81-95), so values are converted column by column here, and statements go to the
driver as text. New rows go to PostgreSQL by COPY. The statements are made of this package's own table and column names
alone; every value is a parameter.
"""

# ruff: noqa: S608 - see above

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import msgspec
import sqlalchemy as sa

from runlink.domain import ConcurrencyError, ExecutionStatus
from runlink.store.types import Json, UtcDateTime, to_text
from runlink.store.violations import violation

Row = Sequence[Any]
Column = Iterable[Any]
Converter = Callable[[Column], Column]
_json = msgspec.json.Encoder(order="deterministic")
_MAX_ROWS = 128
"""In one statement: SQLite takes 32,766 parameters."""


def _documents(values: Column) -> Column:
    """JSON texts; text is taken to be JSON already."""
    return [v if v is None or v.__class__ is str else _json.encode(v).decode() for v in values]


@lru_cache(maxsize=8192)  # a page says the same moments again and again, in several tables
def _time_text(value: datetime | None) -> str | None:
    return None if value is None else to_text(value)


def _time_texts(values: Column) -> Column:
    return map(_time_text, values)


def _hexes(values: Column) -> Column:
    return [None if v is None else f"{v.int:032x}" for v in values]


_WORDS: Mapping[Any, str | None] = {None: None, **{status: status.value for status in ExecutionStatus}}


def _words(values: Column) -> Column:
    return map(_WORDS.__getitem__, values)


@lru_cache
def _converters(dialect: str, columns: tuple[sa.Column[Any], ...]) -> tuple[tuple[int, Converter], ...]:
    """(position, conversion) of the columns whose values the driver does not take as they are."""
    found: list[tuple[int, Converter]] = []
    for place, column in enumerate(columns):
        kind = column.type
        if isinstance(kind, Json):
            found.append((place, _documents))
        elif dialect == "sqlite" and isinstance(kind, UtcDateTime):
            found.append((place, _time_texts))
        elif dialect == "sqlite" and isinstance(kind, sa.Uuid):
            found.append((place, _hexes))
        elif column.name in ("status", "new_status", "previous_status"):
            found.append((place, _words))
    return tuple(found)


class Bulk:
    """Bulk statements on one connection. Each raises ConcurrencyError when another writer took a key, or removed what a
    row refers to, since the rows were decided on."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self._mark = "?" if self.dialect == "sqlite" else "%s"

    def _prepared(self, columns: tuple[sa.Column[Any], ...], rows: Iterable[Row]) -> list[tuple[Any, ...]]:
        """The rows as the driver takes them: turned into columns, those converted, and turned back.

        Measured on a page of instances and attempts: 4.4 µs per pair of rows, 6.8 where each row is converted by
        itself."""
        values: list[Any] = list(zip(*rows, strict=True))
        for place, convert in _converters(self.dialect, columns):
            values[place] = convert(values[place])
        return list(zip(*values, strict=True))

    def insert(self, table: sa.Table, names: Sequence[str], rows: Sequence[Row]) -> None:
        """New rows."""
        if not rows:
            return
        columns = tuple(table.c[name] for name in names)
        prepared = self._prepared(columns, rows)
        if self.dialect == "postgresql" and len(rows) > 3:
            with _told_as_ours():
                self._copy(table, names, prepared)
            return
        marks = ", ".join([self._mark] * len(names))
        self._run(f"INSERT INTO {table.name} ({_list(names)}) VALUES ({marks})", prepared)

    def _copy(self, table: sa.Table, names: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        statement = f"COPY {table.name} ({_list(names)}) FROM STDIN"
        driver = cast("Any", self.connection.dialect).dbapi
        try:
            cursor = cast("Any", self.connection.connection.cursor())
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        except driver.Error as error:  # SQLAlchemy does not see this statement: give the error the name it would have
            raise sa.exc.DBAPIError.instance(statement, None, error, driver.Error) from error

    def upsert(
        self,
        table: sa.Table,
        key: Sequence[str],
        names: Sequence[str],
        rows: Sequence[Row],
        *,
        change: str | None = None,
    ) -> None:
        """Rows inserted; where `key` is taken, `change` is done (the SQL behind DO), by default a replacement."""
        if not rows:
            return
        columns = tuple(table.c[name] for name in names)
        marks = ", ".join([self._mark] * len(names))
        new = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in key)
        self._run(
            f"INSERT INTO {table.name} ({_list(names)}) VALUES ({marks}) "
            f"ON CONFLICT ({_list(key)}) DO {change or f'UPDATE SET {new}'}",
            self._prepared(columns, rows),
        )

    def insert_new(self, table: sa.Table, key: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> int:
        """Rows inserted where `key` is not taken; returns how many were.

        Many rows a statement: each statement gives the interpreter's lock away and waits to get it back, which costs
        more than the row where other threads are busy. As many as fit into a power of two, so that there are few texts
        to keep prepared. PostgreSQL too: as arrays, 32 deliveries cost it twice as much.
        """
        columns = tuple(table.c[name] for name in names)
        prepared = self._prepared(columns, rows) if rows else []
        start = f"INSERT INTO {table.name} ({_list(names)})"
        end = f"ON CONFLICT ({_list(key)}) DO NOTHING"
        marks = f"({', '.join([self._mark] * len(names))})"
        count = done = 0
        while done < len(prepared):
            size = min(1 << (len(prepared) - done).bit_length() - 1, _MAX_ROWS)
            values = tuple(itertools.chain.from_iterable(prepared[done : done + size]))
            count += self._run(f"{start} VALUES {', '.join([marks] * size)} {end}", values)
            done += size
        return count

    def update(self, table: sa.Table, key: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> int:
        """Sets `names` where `key` matches; a row holds the values of `names`, then of `key`. Returns rows matched."""
        if not rows:
            return 0
        columns = tuple(table.c[name] for name in (*names, *key))
        new = ", ".join(f'"{name}" = {self._mark}' for name in names)
        where = " AND ".join(f'"{name}" = {self._mark}' for name in key)
        return self._run(f"UPDATE {table.name} SET {new} WHERE {where}", self._prepared(columns, rows))

    def update_versioned(self, table: sa.Table, names: Sequence[str], rows: Sequence[Row]) -> None:
        """As `update`, by id and the version the row was read at; raises ConcurrencyError when one is at another."""
        done = self.update(table, ("id", "version"), names, rows)
        if done != len(rows):
            raise ConcurrencyError(
                f"{len(rows) - done} of {len(rows)} {table.name} were changed by another writer meanwhile; "
                "read them again and repeat"
            )

    def delete(self, table: sa.Table, key: Sequence[str], rows: Sequence[Row]) -> None:
        """Removes the rows with these keys."""
        if not rows:
            return
        columns = tuple(table.c[name] for name in key)
        where = " AND ".join(f'"{name}" = {self._mark}' for name in key)
        self._run(f"DELETE FROM {table.name} WHERE {where}", self._prepared(columns, rows))

    def _run(self, statement: str, rows: list[tuple[Any, ...]] | tuple[Any, ...]) -> int:
        with _told_as_ours():
            return self.connection.exec_driver_sql(statement, rows).rowcount


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError as error:
        if violation(error) == "other":
            raise
        raise ConcurrencyError(f"another writer was first; read again and repeat ({error.orig})") from error


def _list(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
