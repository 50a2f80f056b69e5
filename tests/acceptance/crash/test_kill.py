"""kill -9 at any moment: started again, nothing is lost and nothing doubled.

A daemon follows an engine whose life is written down, and kills itself at random points: before the nth statement,
before or after the nth commit, after some milliseconds. It is started again until life is over. What is stored then,
and what a subscriber that knows event ids has seen, is what an undisturbed daemon leaves behind.

The engine's clock waits until the store shows what the engine shows, so that every state could be seen: a daemon cannot
see what came and went while it was dead.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.engines.puppets import until
from tests.engines.scripted import ScriptedEngine, a_life

from runlink.store import open_store, tables
from runlink.testing import serve_exchanges

ROOT = Path(__file__).parents[3]


class Victim:
    """The process that forks daemons."""

    def __init__(self, module="tests.acceptance.crash.victim"):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = 0

    def start(self, order):
        """Starts a daemon; gives an event that is set when it has ended, and the list that then holds its exit code."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.pid = json.loads(self._process.stdout.readline())["pid"]
        ended, codes = threading.Event(), []

        def wait():
            codes.append(json.loads(self._process.stdout.readline())["ended"])
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        return ended, codes

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def victim():
    victim = Victim()
    yield victim
    victim.close()


class Trial:
    """One life of the engine, followed by one daemon after another."""

    def __init__(self, victim, url, folder, engine, engine_url):
        self.victim, self.engine = victim, engine
        self.kills = 0
        self.events = folder / "events.jsonl"
        self.order = {"store": url, "engine": engine_url, "events": str(self.events), "log": str(folder / "log.txt")}
        self.log = folder / "log.txt"
        self.url = url
        self._store = None
        self._ended = None

    def start(self, **more):
        self._ended, codes = self.victim.start({**self.order, **more})
        return self._ended, codes

    @property
    def store(self):
        """Our own view of what the daemons store. None before the first of them has made it."""
        if self._store is None:
            try:
                self._store = open_store(self.url, migrate=False)
            except Exception:
                return None
        return self._store

    def live(self, ended, last_tick):
        """Lets the engine's clock go on, tick by tick as the store follows, until the daemon dies or `last_tick`."""
        deadline = time.monotonic() + 60
        while not ended.wait(0.005):
            assert time.monotonic() < deadline, self.story()
            if self.engine.tick < last_tick and self.caught_up():
                with self.engine.lock:
                    self.engine.tick += 1
            elif self.engine.tick >= last_tick and last_tick == self.engine.life.end and self.caught_up():
                return

    def caught_up(self):
        """Whether the store shows what the engine shows, and nothing waits."""
        store = self.store
        if store is None:
            return False
        shown = self.engine.life.all_at(self.engine.tick)
        instance, run = tables.orchestration_instances, tables.runs
        with store.reading() as uow:
            rows = uow.connection.execute(
                sa.select(
                    instance.c.external_id, instance.c.native_status, instance.c.started_at, instance.c.vanished_at
                )
            ).all()
            quiet = uow.connection.execute(sa.select(run.c.id).where(run.c.quiet_until.is_not(None))).first()
            baseline = uow.connection.execute(sa.select(tables.feeds.c.baseline_at)).scalar()
        there = {row.external_id: row for row in rows}
        if baseline is None or quiet is not None or not shown.keys() <= there.keys():
            return False
        for name, row in there.items():
            state = shown.get(name)
            if state is None:
                if row.native_status in ("queued", "running") and row.vanished_at is None:
                    return False
            elif row.native_status != state["status"] or _text(row.started_at) != state.get("started"):
                return False
        return True

    def kill_once(self, how, last_tick):
        ended, codes = self.start(kill=how)
        self.live(ended, last_tick)
        until(ended.is_set, f"the death by {how}", within_s=60)
        assert codes == [-signal.SIGKILL], (codes, how, self.story())
        self.kills += 1

    def finish(self):
        """Undisturbed to the end; the daemon is then ended by SIGTERM."""
        ended, codes = self.start()
        self.live(ended, self.engine.life.end)
        assert not ended.is_set(), (codes, self.story())
        until(self.delivered, "the last event")
        os.kill(self.victim.pid, signal.SIGTERM)
        until(ended.is_set, "the end")
        assert codes == [0], self.story()

    def delivered(self):
        with self.store.reading() as uow:
            ids = set(map(str, uow.connection.execute(sa.select(tables.outbox.c.sequence)).scalars()))
        return ids == {event["id"] for event in self.seen()}

    def seen(self):
        """The events as the subscriber got them, without doubles by id. A line that a kill has cut was not taken."""
        got = {}
        for line in self.events.read_text("utf-8").splitlines() if self.events.exists() else ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            got.setdefault(event["id"], event)
        return list(got.values())

    def story(self):
        return self.log.read_text("utf-8")[-6000:] if self.log.exists() else "no log"

    def deaths(self):
        """What the daemons died of: the points of `a_kill`, or "too late" where that point was not reached."""
        return Counter(
            line.split("dies: ")[1] for line in self.log.read_text("utf-8").splitlines() if " dies: " in line
        )

    def close(self):
        if self._ended is not None and not self._ended.is_set():
            os.kill(self.victim.pid, signal.SIGKILL)
            self._ended.wait(10)
        if self._store is not None:
            self._store.close()


def _text(moment):
    return None if moment is None else moment.isoformat()


@contextmanager
def a_trial(victim, url, folder):
    folder.mkdir()
    engine = ScriptedEngine(a_life())
    with serve_exchanges(engine) as server:
        trial = Trial(victim, url, folder, engine, server.url)
        try:
            yield trial
        finally:
            trial.close()


def a_kill(chance):
    at = chance.choice(["execute", "execute", "before commit", "after commit", "time"])
    most = {"execute": 400, "before commit": 40, "after commit": 120, "time": 700}[at]
    return {"at": at, "after": int(most ** chance.random()), "latest_s": 2.0}


def what_is_left(trial):
    """Everything that must not depend on when the daemon died."""
    with trial.store.reading() as uow:
        c = uow.connection
        instances = {row["external_id"]: row for row in uow.reports.instances(limit=1000)}
        names = {row["id"]: name for name, row in instances.items()}
        runs = {run.id: run for run in uow.runs.list(limit=1000)}
        keys = {str(run_id): run.correlation_id for run_id, run in runs.items()}
        attempts = [dict(row) for row in c.execute(sa.select(tables.instance_attempts)).mappings()]
        steps = [dict(row) for row in c.execute(sa.select(tables.instance_steps)).mappings()]
        links = [dict(row) for row in c.execute(sa.select(tables.run_orchestrations)).mappings()]
        quarantined = c.execute(sa.select(tables.quarantine)).all()
    facts = (
        "workflow", "status", "native_status", "attempt", "queued_at", "started_at", "finished_at", "duration_seconds",
        "message", "parent_external_id", "parameters",
    )  # fmt: skip
    by_run = defaultdict(list)
    for event in trial.seen():
        if event["type"].startswith("run.") and event["run_id"]:
            by_run[keys[event["run_id"]]].append((event["type"], event["data"].get("error_summary")))
    positions = [event["position"] for event in trial.seen()]
    assert positions == sorted(positions), "in order, also over restarts"
    assert quarantined == []
    return {
        "instances": {
            name: {k: row.get(k) for k in facts} | {"vanished": row["vanished_at"] is not None}
            for name, row in instances.items()
        },
        "attempts": sorted(
            (
                names[a["instance_id"]],
                a["number"],
                a["status"],
                _text(a["started_at"]),
                _text(a["finished_at"]),
                a["message"],
            )
            for a in attempts
        ),
        "steps": sorted(
            (
                names[s["instance_id"]],
                s["external_id"],
                s["attempt"],
                s["status"],
                str(s["final"]),
                _text(s["finished_at"]) or "",
            )
            for s in steps
        ),
        "links": sorted((names[k["orchestration_instance_id"]], keys[str(k["run_id"])], k["is_active"]) for k in links),
        "runs": {
            run.correlation_id: (str(run.status), run.error_summary, run.cancellation_reason, _text(run.started_at))
            for run in runs.values()
        },
        "events": dict(by_run),
    }


@pytest.fixture(scope="module")
def undisturbed(victim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with a_trial(victim, f"sqlite:///{folder}/runlink.db", folder / "trial") as trial:
        trial.finish()
        return what_is_left(trial)


def test_the_undisturbed_daemon_leaves_what_the_life_tells(undisturbed):
    """So that the comparison compares something."""
    instances, runs = undisturbed["instances"], undisturbed["runs"]
    life = a_life()
    shown = life.all_at(life.end)
    assert {name: row["native_status"] for name, row in instances.items() if not row["vanished"]} == {
        name: state["status"] for name, state in shown.items()
    }
    assert {name for name, row in instances.items() if row["vanished"]} == {"vanishing", "lost-child/1"}
    assert [a[:3] for a in undisturbed["attempts"] if a[0] in ("again", "retried")] == [
        ("again", 1, "FAILED"),
        ("again", 2, "COMPLETED"),
        ("retried", 1, "FAILED"),
        ("retried", 2, "COMPLETED"),
    ]
    assert ("fan/1", "run-fan", True) in undisturbed["links"]
    assert "run-old1" not in runs, "the baseline makes no Runs"
    assert {runs[f"run-{name}"][0] for name in ("queued0", "retried", "again", "quiet", "last")} == {"COMPLETED"}
    assert {runs[f"run-{name}"][0] for name in ("queued1", "fan", "lost-child", "vanishing")} == {"FAILED"}
    assert [kind for kind, _ in undisturbed["events"]["run-retried"]] == [
        "run.started",
        "run.failed",
        "run.reopened",
        "run.completed",
    ]


def killed(victim, url, folder, kills, chance):
    with a_trial(victim, url, folder) as trial:
        for n in range(kills):
            trial.kill_once(a_kill(chance), last_tick=(n + 1) * trial.engine.life.end // (kills + 1))
        trial.finish()
        print(f"{kills} kills: {dict(trial.deaths())}", flush=True)
        assert trial.deaths()["too late"] < kills, "they died where they were meant to"
        return what_is_left(trial)


def same(left, undisturbed, seed):
    for part, expected in undisturbed.items():
        assert left[part] == expected, f"{part} differ (seed {seed})"


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 10), ("postgresql", 3)])
def test_kill_at_random_points(victim, undisturbed, new_url, tmp_path, kind, kills):
    seed = random.SystemRandom().randrange(10**9)
    left = killed(victim, new_url(kind, migrated=False), tmp_path / "trial", kills, random.Random(seed))
    same(left, undisturbed, seed)


@pytest.mark.parametrize("at", ["execute", "before commit", "after commit"])
def test_kill_at_the_very_first_moments(victim, undisturbed, new_url, tmp_path, at):
    """While the store is made, the engine registered, and the baseline read."""
    with a_trial(victim, new_url("sqlite", migrated=False), tmp_path / "trial") as trial:
        for after in (1, 4, 13, 34):
            trial.kill_once({"at": at, "after": after, "latest_s": 1.5}, last_tick=0)
        trial.finish()
        same(what_is_left(trial), undisturbed, None)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_five_hundred_kills(victim, undisturbed, new_url, tmp_path, kind):
    kills = 0
    while kills < {"sqlite": 500, "postgresql": 100}[kind]:
        seed = random.SystemRandom().randrange(10**9)
        chance = random.Random(seed)
        this_life = chance.choice([5, 10, 20, 40])
        left = killed(victim, new_url(kind, migrated=False), tmp_path / f"{kills}", this_life, chance)
        same(left, undisturbed, seed)
        kills += this_life
