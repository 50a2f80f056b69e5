"""A copy of a SQLite store while it is in use. `runlink backup` comes here."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from runlink.store.errors import StoreError
from runlink.store.opening import SqlStore

_PAGES_AT_ONCE = 2048


def backup(store: SqlStore, target: Path, progress: Callable[[int, int], None] = lambda _done, _all: None) -> int:
    """Copies the store to a new file and checks the copy; returns its size in bytes.

    The copy shows one moment, however long it takes and whatever is written meanwhile, and nobody waits for it. It
    appears under its name when it is whole, and is readable by its owner alone. `progress` gets the pages that are
    copied and all. Raises StoreError for PostgreSQL, for a file that is there already, and for a copy that is damaged.
    """
    if store.url.get_backend_name() != "sqlite" or store.url.database is None:
        raise StoreError(f"{store.url}: only SQLite is copied so; use pg_dump for PostgreSQL (docs/how-to/operate.md)")
    if target.exists():
        raise StoreError(f"{target} is there already; name another file")
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(store.url.database, part, progress)
        _check(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the copy to {target} failed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: str, part: Path, progress: Callable[[int, int], None]) -> None:
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, isolation_level=None)) as live,
        closing(sqlite3.connect(part)) as copy,
    ):
        # an open read transaction holds one moment; without it SQLite begins anew whenever another process writes
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        live.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _code, left, every: progress(every - left, every))
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it


def _check(part: Path) -> None:
    with closing(sqlite3.connect(part)) as copy:
        found = [row[0] for row in copy.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise StoreError(f"the copy is damaged: {'; '.join(found)}")
