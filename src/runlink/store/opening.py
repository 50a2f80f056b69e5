"""`open_store`: from an address to a store, on SQLite or PostgreSQL, migrated and checked."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import sqlalchemy as sa

from runlink.store.daemon_lock import daemon_lock
from runlink.store.errors import NoStore, StoreUnavailable
from runlink.store.event_log import Committed
from runlink.store.liveness import ask_before_use
from runlink.store.prepared import GLANCE, is_glance
from runlink.store.schema import MADE_BY, check, upgrade
from runlink.store.selection import READS_ONLY
from runlink.store.unit_of_work import SqlUnitOfWork
from runlink.store.writer import GroupWriter, Turnstile

T = TypeVar("T")
Listener = Callable[[Committed], None]
_OLDEST_SQLITE = (3, 34)
"""The first that finds texts by their trigrams."""
_RETRIABLE = ("40001", "40P01")  # PostgreSQL: serialization failure, deadlock


class SqlStore:
    """Where everything is kept. Safe to use from many threads."""

    def __init__(self, url: sa.URL, writing: sa.Engine, reading: sa.Engine) -> None:
        self.url = url
        self.writing = writing
        self._reading = reading.execution_options(**READS_ONLY)
        self._glancing = self._reading.execution_options(**GLANCE)
        self._turnstile = Turnstile() if url.get_backend_name() == "sqlite" else None
        self._writer = GroupWriter(writing, self._turnstile) if self._turnstile else None
        self._listeners: tuple[tuple[Listener, Callable[[], bool]], ...] = ()

    @contextmanager
    def unit_of_work(self, actor: str = "system") -> Iterator[SqlUnitOfWork]:
        """A transaction on the caller's thread: committed at the end of the block, rolled back by an exception.

        On SQLite it holds the only right to write; keep it short.
        """
        if self._turnstile is None:
            with self.writing.begin() as connection:
                uow = SqlUnitOfWork(connection, actor)
                yield uow
                committed = uow.finish(heard=self._is_heard())
        else:
            with self._turnstile.turn(urgent=True), self.writing.begin() as connection:
                uow = SqlUnitOfWork(connection, actor)
                yield uow
                committed = uow.finish(heard=self._is_heard())
        self._tell(committed)

    def write(self, work: Callable[[SqlUnitOfWork], T], *, actor: str, urgent: bool = False) -> T:
        """Runs `work` in a transaction and gives its result once that is committed.

        On SQLite, jobs that wait together share a commit, urgent ones first; on PostgreSQL a job that lost a deadlock
        is run again. `work` may therefore run more than once, and must do nothing but write to the unit of work.
        """

        def whole(connection: sa.Connection) -> tuple[T, Committed]:
            uow = SqlUnitOfWork(connection, actor)
            return work(uow), uow.finish(heard=self._is_heard())

        if self._writer is not None:
            written: tuple[T, Committed] = self._writer.run(whole, urgent=urgent)
            self._tell(written[1])
            return written[0]
        for attempt in range(5):
            try:
                with self.writing.begin() as connection:
                    result, committed = whole(connection)
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in _RETRIABLE or attempt == 4:
                    raise
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - spreading, not secrecy
            else:
                self._tell(committed)
                return result
        raise AssertionError("unreachable")

    def listen(self, callback: Listener, heard: Callable[[], bool] = lambda: False) -> Callable[[], None]:
        """Calls back after each commit of this process that tells of something, with its events, on the thread that
        asked for it: be quick, and raise nothing. Commits of two threads may be told in either order.

        heard   whether what the events are about is wanted now, too: it is looked up before the commit
        Returns what ends it.
        """
        self._listeners = (*self._listeners, (callback, heard))

        def forget() -> None:
            self._listeners = tuple(one for one in self._listeners if one[0] is not callback)

        return forget

    def _is_heard(self) -> bool:
        return any(heard() for _, heard in self._listeners)

    def _tell(self, committed: Committed) -> None:
        if committed.events:
            for callback, _ in self._listeners:
                callback(committed)

    @contextmanager
    def reading(self) -> Iterator[SqlUnitOfWork]:
        """A consistent view that writes nothing and waits for nobody."""
        with self._reading.connect() as connection:
            yield SqlUnitOfWork(connection, "reader")

    @contextmanager
    def glance(self) -> Iterator[SqlUnitOfWork]:
        """As `reading`, for a single statement, or where each may see its own moment: it is spared the transaction,
        which on PostgreSQL costs as much as a page."""
        with self._glancing.connect() as connection:
            yield SqlUnitOfWork(connection, "reader")

    def daemon_lock(self, holder: str) -> AbstractContextManager[int]:
        """The right to run feeds on this store, freed by the death of the process; gives the fencing token.

        Raises AlreadyRunning when another process has it.
        """
        return daemon_lock(self, holder)

    def close(self) -> None:
        """Finishes waiting writes and closes every connection; one that is still read from, as soon as it is not."""
        if self._writer is not None:
            self._writer.close()
        for engine in (self.writing, self._reading):
            sa.event.listen(engine, "checkin", _close_late)
            engine.dispose()


def _close_late(_dbapi_connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
    """A pool that was disposed of knows nothing of what is given back to it later."""
    record.invalidate()


def open_store(url: str, *, migrate: bool = True) -> SqlStore:
    """Opens the store at `sqlite:///path` or `postgresql://host/database`.

    A new database is set up, readable by its owner alone where it is a file, and an older one upgraded, unless
    `migrate` is False. Raises StoreUnavailable when it cannot be reached, SchemaMismatch when it is newer than this
    program or, without `migrate`, older, and without `migrate` NoStore when there is none.
    """
    parsed = _parsed(url)
    try:
        writing, reading = (
            _sqlite(parsed, make=migrate) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
        )
    except ImportError as error:
        raise StoreUnavailable(f"{parsed}: needs psycopg; install runlink[postgresql] ({error})") from error
    except OSError as error:
        raise StoreUnavailable(f"{parsed}: {error}") from error
    try:
        upgrade(writing) if migrate else check(reading)
    except BaseException as error:
        writing.dispose()
        reading.dispose()
        if isinstance(error, sa.exc.DBAPIError):
            raise StoreUnavailable(f"{parsed}: {str(error.orig).strip()}") from error
        raise
    return SqlStore(parsed, writing, reading)


def _parsed(url: str) -> sa.URL:
    only = "only sqlite:///path and postgresql://… are stores; see [store] in the reference"
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreUnavailable(f"the store's url cannot be read; {only}") from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreUnavailable(f"{parsed}: {only}")
    return parsed


_JSON: dict[str, Any] = {
    "json_serializer": lambda value: msgspec.json.encode(value).decode(),
    "json_deserializer": msgspec.json.decode,
}


def _postgresql(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    url = url.set(drivername="postgresql+psycopg")
    writing, reading = (sa.create_engine(url, pool_size=8, max_overflow=16, **_JSON) for _ in range(2))
    for engine in (writing, reading):
        ask_before_use(engine)
    sa.event.listen(reading, "connect", _only_read)
    sa.event.listen(reading, "begin", lambda connection: is_glance(connection) or connection.exec_driver_sql("BEGIN"))
    return writing, reading


def _only_read(dbapi_connection: Any, _record: Any) -> None:
    """Once for each connection: told so for each transaction, the driver takes as long as for the page that is read."""
    dbapi_connection.autocommit = True  # transactions are begun by us, where there are several statements
    dbapi_connection.execute("SET TIME ZONE 'UTC'")
    dbapi_connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def _sqlite(url: sa.URL, *, make: bool) -> tuple[sa.Engine, sa.Engine]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreUnavailable(
            f"SQLite {sqlite3.sqlite_version}, which this Python brings, is too old; 3.34 or newer is needed, with FTS5"
        )
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable(
            "sqlite:// needs a file (sqlite:///path): readers and the writer have connections of their own"
        )
    path = Path(url.database).resolve()
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    elif not path.exists():
        raise NoStore(f"{path} is not there; {MADE_BY}")
    url = url.set(drivername="sqlite+pysqlite")
    options: dict[str, Any] = {"connect_args": {"timeout": 30, "check_same_thread": False}, **_JSON}
    writing = sa.create_engine(url, poolclass=sa.pool.QueuePool, pool_size=1, max_overflow=0, **options)
    reading = sa.create_engine(url, poolclass=sa.pool.QueuePool, pool_size=8, max_overflow=24, **options)
    sa.event.listen(writing, "connect", lambda connection, _record: _switch_to_wal(connection))
    for engine in (writing, reading):
        sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(writing, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    sa.event.listen(reading, "begin", _begin_reading_sqlite)
    sa.event.listen(reading, "connect", lambda connection, _record: connection.execute("PRAGMA query_only=ON"))
    return writing, reading


def _begin_reading_sqlite(connection: sa.Connection) -> None:
    # past SQLAlchemy, whose part of a page is what costs; a reader's BEGIN waits for nothing and cannot fail
    if not is_glance(connection):
        cast("Any", connection.connection.dbapi_connection).execute("BEGIN")


def _prepare_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None  # transactions are begun by us, not guessed by the driver
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000", "cache_size=-8000"):
        dbapi_connection.execute(f"PRAGMA {pragma}").fetchall()


def _switch_to_wal(dbapi_connection: Any) -> None:
    """SQLite does not wait for whoever else switches a new file at this moment, whatever the busy time-out."""
    until = time.monotonic() + 30.0
    while True:
        try:
            dbapi_connection.execute("PRAGMA journal_mode=WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreading, not secrecy
        else:
            return
