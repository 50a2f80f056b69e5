"""kill -9 between 202 and processing, and at any other moment: what was answered 202 is never lost, nor doubled.

A sender posts deliveries, each until it is answered 202 and then never again, while the server that takes them kills
itself at random points and is started anew on the same store. In the end each is there once, and was taken in.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter

import httpx
import pytest
import sqlalchemy as sa
from tests.acceptance.crash.test_kill import Victim
from tests.engines.puppets import until

from runlink.store import open_store, tables


@pytest.fixture(scope="module")
def victim():
    victim = Victim("tests.acceptance.crash.receiving_victim")
    yield victim
    victim.close()


class Sender:
    """Posts numbered deliveries from a few threads, as fast as they are taken."""

    def __init__(self, port, threads=4):
        self.url = f"http://127.0.0.1:{port}/hooks/pushed"
        self.taken = set()
        self.answers = Counter()
        self._taken_at = time.monotonic()
        self._next = iter(range(10**9))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        with httpx.Client(headers={"Authorization": "Bearer token"}, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                with self._lock:
                    name = f"d-{next(self._next)}"
                body = json.dumps({"id": name, "status": "COMPLETED"})
                while True:
                    try:
                        code = client.post(self.url, content=body, headers={"webhook-id": name}).status_code
                    except httpx.HTTPError:
                        code = None
                    with self._lock:
                        self.answers[code] += 1
                        if code == 202:
                            self.taken.add(name)
                            self._taken_at = time.monotonic()
                    if code == 202 or (code is None and self._stop.is_set()):
                        break
                    self._stop.wait(0.02)

    def idle_s(self):
        """For how long nothing was taken."""
        return time.monotonic() - self._taken_at

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def a_kill(chance):
    at = chance.choice(["execute", "execute", "before commit", "after commit", "time"])
    most = {"execute": 250, "before commit": 40, "after commit": 60, "time": 500}[at]
    return {"at": at, "after": 1 + int(most ** chance.random()), "latest_s": 1.5}


def killed(victim, url, folder, kills, chance):
    """Kills a server so many times while deliveries come; gives what was answered and what is stored."""
    folder.mkdir()
    order = {"store": url, "port": free_port(), "log": str(folder / "log.txt")}
    open_store(url).close()
    sender = Sender(order["port"])
    try:
        for _ in range(kills):
            ended, codes = victim.start({**order, "kill": a_kill(chance)})
            assert ended.wait(60), "it did not die"
            assert codes == [-signal.SIGKILL], (folder / "log.txt").read_text("utf-8")[-4000:]
        ended, codes = victim.start(order)
        before = len(sender.taken)
        until(lambda: len(sender.taken) > before + 20, "more deliveries")
    finally:
        sender.stop()
    store = open_store(url, migrate=False)
    try:
        until(lambda: not waiting(store), "the end of the work", within_s=60)
        os.kill(victim.pid, signal.SIGTERM)
        assert ended.wait(60)
        assert codes == [0], (folder / "log.txt").read_text("utf-8")[-4000:]
        return sender, *stored(store)
    finally:
        store.close()


def stored(store):
    """What is stored of deliveries, and what they told."""
    with store.reading() as uow:
        rows = uow.connection.execute(sa.select(tables.deliveries.c.delivery_id, tables.deliveries.c.state)).all()
        return rows, uow.reports.instances(limit=1_000_000)


def waiting(store):
    with store.reading() as uow:
        return uow.connection.execute(sa.select(tables.deliveries.c.id).where(tables.IS_WAITING).limit(1)).first()


def check(sender, rows, instances, kills):
    stored = Counter(row.delivery_id for row in rows)
    assert sender.taken <= stored.keys(), "what was answered 202 is there"
    assert set(stored.values()) == {1}, "once"
    assert {row.state for row in rows} == {"done"}
    assert {row["external_id"] for row in instances} == stored.keys()
    assert {str(row["status"]) for row in instances} == {"COMPLETED"}
    assert {row["attempt"] for row in instances} == {1}
    assert sender.answers.keys() <= {202, 503, None}
    print(f"{kills} kills, {len(sender.taken)} answered 202, {dict(sender.answers)}", flush=True)


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 12), ("postgresql", 4)])
def test_what_was_answered_202_survives_kill(victim, new_url, tmp_path, kind, kills):
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    check(*killed(victim, new_url(kind, migrated=False), tmp_path / "trial", kills, random.Random(seed)), kills)


def test_what_was_answered_before_a_kill_needs_no_second_sending(victim, new_url, tmp_path):
    """Nobody sends anything after the kill: what is in the store is worked off all the same."""
    url = new_url("sqlite", migrated=False)
    open_store(url).close()
    order = {"store": url, "port": free_port(), "log": str(tmp_path / "log.txt")}
    ended, codes = victim.start({**order, "kill": {"at": "time", "after": 700, "latest_s": 5}})
    sender = Sender(order["port"], threads=2)
    until(lambda: len(sender.taken) > 5)
    sender._stop.set()
    assert ended.wait(60)
    assert codes == [-signal.SIGKILL]
    sender.stop()
    ended, codes = victim.start(order)
    store = open_store(url, migrate=False)
    until(lambda: not waiting(store))
    with store.reading() as uow:
        assert {row["external_id"] for row in uow.reports.instances(limit=100_000)} >= sender.taken
    store.close()
    os.kill(victim.pid, signal.SIGTERM)
    assert ended.wait(60)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 200), ("postgresql", 60)])
def test_two_hundred_kills_while_receiving(victim, new_url, tmp_path, kind, kills):
    done = 0
    while done < kills:
        seed = random.SystemRandom().randrange(10**9)
        print(f"seed {seed}")
        url = new_url(kind, migrated=False)
        check(*killed(victim, url, tmp_path / f"{done}", 20, random.Random(seed)), 20)
        done += 20
