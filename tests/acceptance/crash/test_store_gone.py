"""The store gone while engines push: they are told to come again, and all goes on without a restart."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, contextmanager

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from tests.acceptance.crash.test_kill import Victim
from tests.acceptance.crash.test_kill_receiving import Sender, check, free_port, stored, waiting
from tests.engines.puppets import until

from runlink.store import open_store


@pytest.fixture(scope="module")
def victim():
    victim = Victim("tests.acceptance.crash.receiving_victim")
    yield victim
    victim.close()


@contextmanager
def gone(url):
    """The store answers nobody else: another process holds SQLite's file, or PostgreSQL takes no connection."""
    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(address.database, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.rollback()
        return
    place = address.set(database="postgres", drivername="postgresql").render_as_string(False)
    with closing(psycopg.connect(place, autocommit=True)) as admin:
        admin.execute(f"ALTER DATABASE {address.database} ALLOW_CONNECTIONS false")
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{address.database}'")
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {address.database} ALLOW_CONNECTIONS true")


def outlived(victim, url, folder, seconds):
    """A server whose store is gone for so long while deliveries come; gives what was answered meanwhile."""
    open_store(url).close()
    order = {"store": url, "port": free_port(), "log": str(folder / "log.txt")}
    ended, codes = victim.start(order)
    sender = Sender(order["port"])
    try:
        until(lambda: len(sender.taken) > 20, "deliveries before")
        with gone(url), httpx.Client(base_url=f"http://127.0.0.1:{order['port']}", trust_env=False) as client:
            until(lambda: sender.idle_s() > 0.2 or sender.answers[503], "nothing is taken any more")
            before, taken = Counter(sender.answers), len(sender.taken)
            end = time.monotonic() + seconds
            until(lambda: time.monotonic() > end, within_s=seconds + 10)
            assert client.get("/health/live").status_code == 200
            during = sender.answers - before
            assert len(sender.taken) <= taken + 4, "nothing is taken that cannot be stored"
        taken = len(sender.taken)
        until(lambda: len(sender.taken) > taken + 20, "deliveries after", within_s=60)
    finally:
        sender.stop()
    with closing(open_store(url, migrate=False)) as store:
        until(lambda: not waiting(store), "the end of the work", within_s=60)
        with httpx.Client(base_url=f"http://127.0.0.1:{order['port']}", trust_env=False) as client:
            until(lambda: client.get("/health/ready").status_code == 200, within_s=60)
        assert not ended.is_set(), (folder / "log.txt").read_text("utf-8")[-4000:]
        os.kill(victim.pid, signal.SIGTERM)
        assert ended.wait(60)
        assert codes == [0], (folder / "log.txt").read_text("utf-8")[-4000:]
        check(sender, *stored(store), 0)
    return during


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_that_is_gone_for_a_moment_costs_nothing_but_time(victim, new_url, tmp_path, kind):
    during = outlived(victim, new_url(kind, migrated=False), tmp_path, 1.0)
    assert during.keys() <= {503}
    assert during[503] > 0 or kind == "sqlite", "PostgreSQL refuses at once, a file that is held is waited for"


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_store_that_is_gone_for_30_s_is_told_with_503(victim, new_url, tmp_path, kind):
    during = outlived(victim, new_url(kind, migrated=False), tmp_path, 30.0)
    assert during.keys() == {503}
    print(f"{kind}: 30 s without a store, {during[503]} answers of 503", flush=True)
