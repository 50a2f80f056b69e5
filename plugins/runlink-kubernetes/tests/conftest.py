"""A cluster, an adapter upon it, and a small host that does with its pages what the daemon does."""

import contextlib
import json
import shutil
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import runlink.testing
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.application.rules.rules import Rules
from runlink.domain import Engine
from runlink.spi import CursorExpired, TransientError
from runlink.store import open_store
from runlink_kubernetes import ArgoAdapter

sys.path.insert(0, str(Path(__file__).parent))

from fake_cluster import FakeCluster, recorded_items

SINCE = datetime(2019, 1, 1, tzinfo=UTC)
FACTS = (
    "workflow", "status", "native_status", "attempt", "started_at", "finished_at", "message", "url",
    "parent_external_id", "parameters", "labels", "instance_metadata", "queued_at",
)  # fmt: skip
T0 = datetime(2026, 11, 23, 15, tzinfo=UTC)


def new_adapter(cluster, adapter_class=ArgoAdapter, **options):
    config = {"token": "test-token", "silence_s": 0.2} | options.pop("config", {})
    return runlink.testing.build(adapter_class, cluster.url, config=config, **({"since": SINCE} | options))


class Host:
    """Polls, refetches what is open and was not shown, and watches, into a SQLite file."""

    def __init__(self, path, adapter):
        self.adapter = adapter
        self.path = path
        self.store = open_store(f"sqlite:///{path}")
        self.engine = Engine(name="argo", type="argo", url="https://kubernetes.test")
        with self.store.unit_of_work("test") as uow:
            uow.engines.add(self.engine)
        self.rules = Rules(())
        self.clock = T0
        self.pages = []

    def now(self):
        self.clock += timedelta(seconds=1)
        return self.clock

    def cursors(self):
        with self.store.reading() as uow:
            return uow.ledger.cursors(self.engine.id, "poll")

    def take(self, page, began_at, extra=None):
        self.pages.append(page)
        read = Read(feed="watch", began_at=began_at, baseline=False)
        return self.store.write(
            lambda uow: ingest(uow, self.rules, self.engine, page, read, self.now()), actor="engine:argo"
        )

    def poll(self, cursors=None):
        """A poll turn; True when it went through."""
        began_at, seen = self.now(), set()
        try:
            for page in self.adapter.poll(self.cursors() if cursors is None else cursors):
                seen |= self.take(page, began_at).seen
            with self.store.reading() as uow:
                unseen = [name for name in uow.ledger.open_instances(self.engine.id) if name not in seen]
            began_at = self.now()
            for page in self.adapter.refetch(unseen):
                self.take(page, began_at)
        except TransientError:
            return False
        return True

    def watch(self, pages=None):
        """A watch until it ends; the exception that ended it, or None."""
        try:
            for number, page in enumerate(self.adapter.watch(self.cursors()), 1):
                self.take(page, self.now())
                if number == pages:
                    return None
        except (TransientError, CursorExpired) as error:
            return error
        return None

    def settle(self, cluster, turns=60):
        """Watches until no fault is left, lists where the place was lost, then until what is gone is known to be."""
        for _ in range(turns):
            if isinstance(self.watch(), CursorExpired):
                self.poll()
            elif not cluster.faults["watch"]:
                break
        cluster.faults["list"].clear()
        for _ in range(3):
            assert self.poll()
            self.watch()

    def table(self):
        """All that is known, by external id, with attempts and steps."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("select * from orchestration_instances").fetchall()
            attempts = connection.execute("select * from instance_attempts order by number").fetchall()
            steps = connection.execute("select * from instance_steps order by external_id, attempt").fetchall()
        told = {}
        for row in rows:
            own = {name: row[name] for name in FACTS} | {"vanished": row["vanished_at"] is not None}
            own["attempts"] = [tuple(a)[1:] for a in attempts if a["instance_id"] == row["id"]]
            own["steps"] = [tuple(s)[1:-1] for s in steps if s["instance_id"] == row["id"]]
            told[row["external_id"]] = own
        return told

    def status(self, name):
        (row,) = [row for key, row in self.table().items() if key.partition("@")[0].endswith(name)]
        return row["status"], row["native_status"]


@pytest.fixture
def cluster():
    with FakeCluster() as fake:
        fake.load(recorded_items(), 282)
        yield fake


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def make_adapter():
    made = []

    def make(cluster, *args, **options):
        made.append(new_adapter(cluster, *args, **options))
        return made[-1]

    yield make
    for each in made:
        runlink.testing.close(each)


@pytest.fixture
def make_host(tmp_path, template, make_adapter):
    made = []

    def make(cluster, *args, **options):
        path = tmp_path / f"{len(made)}.db"
        shutil.copyfile(template, path)
        made.append(Host(path, make_adapter(cluster, *args, **options)))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def told(pages):
    return [each for page in pages for each in page.observations]


def as_json(value):
    return json.loads(json.dumps(value, default=str))
