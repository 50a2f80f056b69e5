"""Who may run feeds: one process per store, by a lock that dies with it, and a fencing token that outlives it.

SQLite: an operating-system lock on a file beside the database. PostgreSQL: a session advisory lock. Either is free the
moment its process is gone, also after kill -9. The token rises each time and is checked in every ingest transaction,
so that a process that lost the lock without noticing cannot write.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from runlink.domain.values import utc_now
from runlink.store import tables
from runlink.store.errors import AlreadyRunning

if TYPE_CHECKING:
    from runlink.store.opening import SqlStore
    from runlink.store.unit_of_work import SqlUnitOfWork

_KEY = (7261702, 2)


@contextmanager
def daemon_lock(store: SqlStore, holder: str) -> Iterator[int]:
    """Holds the lock for the length of the block; gives the fencing token. Raises AlreadyRunning."""
    sqlite = store.url.get_backend_name() == "sqlite"
    with _file_lock(Path(f"{store.url.database}.lock")) if sqlite else _session_lock(store.writing):
        yield store.write(lambda uow: _next_fence(uow, holder), actor="system", urgent=True)


def is_held(store: SqlStore) -> bool | None:
    """Whether some process runs the feeds now; None when this user may not know. Takes nothing."""
    if store.url.get_backend_name() != "sqlite":
        with store.reading() as uow:
            return bool(uow.connection.exec_driver_sql(_HOLDERS, _KEY).scalar())
    try:
        descriptor = os.open(f"{store.url.database}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


_HOLDERS = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s
 AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def _next_fence(uow: SqlUnitOfWork, holder: str) -> int:
    lease = tables.leases
    fence = (uow.connection.execute(sa.select(lease.c.fence)).scalar() or 0) + 1
    values = {"fence": fence, "holder": holder, "taken_at": utc_now()}
    if fence == 1:
        uow.connection.execute(sa.insert(lease), {"name": "daemon", **values})
    else:
        uow.connection.execute(sa.update(lease).values(values))
    return fence


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise AlreadyRunning(
                f"another runlink ({holder or 'unknown'}) runs the feeds of this store; stop it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _session_lock(engine: sa.Engine) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        if not session.exec_driver_sql("SELECT pg_try_advisory_lock(%s, %s)", _KEY).scalar():
            raise AlreadyRunning("another runlink runs the feeds of this database; stop it first")
        try:
            yield
        finally:
            with suppress(sa.exc.DBAPIError):  # a session that broke has lost the lock already
                session.exec_driver_sql("SELECT pg_advisory_unlock(%s, %s)", _KEY)
