"""From an address to a store: what is set up, what is refused, and with which sentence."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import runlink.store
from runlink.domain import Automation
from runlink.store import NoStore, SchemaMismatch, StoreUnavailable, open_store, tables
from runlink.store.schema import current, revisions


def is_of_search(name):
    """Tables of FTS5 and indexes of trigrams are made by the migration alone, in the words of each database."""
    return name is not None and (re.search(r"_texts_index(_|$)", name) or name.endswith("_trigrams"))


def test_migrations_and_metadata_agree(store, kind):
    with store.writing.connect() as connection:
        # SQLite has no identity columns, which Alembic takes for a missing default
        options = {
            "compare_type": True,
            "compare_server_default": kind == "postgresql",
            "include_name": lambda name, _type, _parents: not is_of_search(name),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_check_constraints_are_those_of_the_metadata(store):
    """compare_metadata does not look at them."""
    inspector = sa.inspect(store.writing)
    for table in tables.metadata.sorted_tables:
        wanted = {str(c.name) for column in table.c for c in column.constraints}
        assert {c["name"] for c in inspector.get_check_constraints(table.name)} == wanted, table.name


def test_a_new_database_is_set_up_at_first_start(new_url, kind):
    store = open_store(new_url(kind, migrated=False))
    with store.reading() as uow:
        assert current(uow.connection) == revisions()[-1]
        assert uow.automations.list() == []
    store.close()


def test_files_of_migrations_begin_with_their_revision():
    config = Config()
    config.set_main_option("script_location", str(Path(runlink.store.__file__).with_name("migrations")))
    walked = ScriptDirectory.from_config(config).walk_revisions()
    assert revisions() == [script.revision for script in walked][::-1]


def test_alembic_is_loaded_only_where_there_is_something_to_upgrade(new_url):
    program = (
        "import sys, runlink.store; runlink.store.open_store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    for url, loaded in ((new_url("sqlite"), "False"), (new_url("sqlite", migrated=False), "True")):
        done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == loaded


def test_who_still_reads_when_the_store_is_closed_closes_the_connection_behind_him(store, kind):
    with store.reading() as uow:
        connection = uow.connection.connection.dbapi_connection
        store.close()
        assert uow.automations.list() == []
    if kind == "postgresql":
        assert connection.closed
    else:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_data_is_there_after_the_store_was_opened_again(store_url, store):
    with store.unit_of_work("cli:me") as uow:
        uow.automations.add(Automation(name="kept"))
    again = open_store(store_url)
    with again.reading() as uow:
        assert [a.name for a in uow.automations.list()] == ["kept"]
    again.close()


def test_processes_that_start_together_set_it_up_once(new_url, kind):
    url = new_url(kind, migrated=False)
    failures = []

    def start():
        try:
            open_store(url).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_newer_database_is_refused_with_a_sentence(store_url, store):
    with store.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match=r"at schema 9999, which this runlink does not know.*newer"):
        open_store(store_url)


def test_an_older_database_is_refused_when_it_is_not_to_be_upgraded(new_url, kind):
    url = new_url(kind, migrated=False)
    with closing(open_store(url)) as store, store.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(SchemaMismatch, match=f"needs {revisions()[-1]}; run `runlink db upgrade`"):
        open_store(url, migrate=False)


def test_there_being_none_is_said_and_none_is_made(new_url, kind):
    url = new_url(kind, migrated=False)
    for _ in range(2):
        with pytest.raises(NoStore, match="`runlink serve`, or the first command that writes, makes it"):
            open_store(url, migrate=False)
    open_store(url).close()
    open_store(url, migrate=False).close()


def test_a_new_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "new.db"
    open_store(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("not a url", "cannot be read; only sqlite:///path"),
        ("postgresql://host:port/db", "cannot be read"),
        ("mysql://me:secret@host/db", "only sqlite:///path and postgresql://"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("postgresql://me:secret@127.0.0.1:1/db", "127.0.0.1:1"),
        ("sqlite:////dev/null/runlink.db", "/dev/null"),
    ],
)
def test_an_address_that_is_no_store_is_refused_with_a_sentence_and_without_its_password(url, sentence):
    with pytest.raises(StoreUnavailable, match=sentence) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        open_store(f"sqlite:///{path}")
    assert path.read_text().startswith("these are notes")


def test_sqlite_is_durable_and_checks_references_on_every_connection(new_url):
    store = open_store(new_url("sqlite"))
    with store.unit_of_work() as writing, store.reading() as reading:
        for uow in (writing, reading):
            pragma = {
                name: uow.connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    store.close()
