"""The plugin against a real Dagster, with `runlink serve` beside it: every kind of run, told as it is.

Both sides are killed in the middle. Dagster's own account comes from `engine/dagster_engine.py` and
`engine/agreement.py`, which share no code with the plugin. Run by `make test-engines`; needs `scripts/setup dagster`.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import graphql
import pytest
from fake_dagster import SCHEMA

sys.path.insert(0, str(Path(__file__).with_name("engine")))

import agreement
from dagster_engine import RealDagster

from runlink.bootstrap import Runlink
from runlink.testing import Host
from runlink_dagster import DagsterAdapter

pytestmark = [pytest.mark.engine, pytest.mark.timeout(580)]

PATIENCE_S = 240.0
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
CONFIG = """\
[store]
url = "sqlite:///runlink.db"

[engines.data]
type = "dagster"
url = "{url}"
poll_interval_s = 1

[automations.orders]
quiet_s = 1

[[links]]
engine = "data"
automation = "orders"
run_key = "labels.run_id"
create_run = true
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with RealDagster(tmp_path_factory.mktemp("dagster")) as running:
        yield running


class Serving:
    """`runlink serve` in a process of its own, and what it has stored."""

    def __init__(self, folder: Path, url: str) -> None:
        self.config = folder / "runlink.toml"
        self.config.write_text(CONFIG.format(url=url), "utf-8")
        self.log = folder / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("runlink")), "--config", str(self.config), "serve"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"})

    def end(self, name: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(name)
            self._process.wait(20)
            self._process = None

    def rows(self) -> dict[str, dict]:
        with self.opened() as store, store.store.reading() as uow:
            return {row["external_id"]: row for row in uow.reports.instances(limit=10_000)}

    def run_states(self) -> dict[str, str]:
        with self.opened() as store, store.store.reading() as uow:
            return {row["correlation_id"]: row["status"] for row in uow.reports.runs(limit=10_000)}

    @contextmanager
    def opened(self):
        store = Runlink.open(self.config)
        try:
            yield store
        finally:
            store.close()


def wait(what: str, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {PATIENCE_S:.0f} s")
        time.sleep(0.25)


@pytest.fixture
def serving(engine, tmp_path):
    daemon = Serving(tmp_path, engine.url)
    daemon.start()
    try:
        wait("the first sync", lambda: daemon.config.with_name("runlink.db").exists() and _baseline(daemon))
        yield daemon
    finally:
        daemon.end()


def _baseline(daemon: Serving) -> bool:
    with daemon.opened() as store, store.store.reading() as uow:
        return any(row["baseline_at"] is not None for row in uow.feed_health.list())


def sleeping(seconds: float = 600.0) -> dict:
    return {"ops": {"sleepy": {"config": {"seconds": seconds}}}}


def test_every_kind_of_run(engine, serving):
    def status(*runs):
        return [engine.status(run) for run in runs]

    def ended(*runs):
        return all(each in ENDED for each in status(*runs))

    # undisturbed: success, failure, a step tried again, a fan-out, a long one, one that Dagster itself runs again
    names = ("ok", "fail", "retry", "mapped", "long", "auto_retried")
    first = {name: engine.launch(f"{name}_job", run_id=f"order-{name}") for name in names}
    wait("the first runs", lambda: ended(*(first[name] for name in names if name != "long")))
    wait("the long one", lambda: status(first["long"]) == ["STARTED"])
    again = engine.reexecute(first["fail"], "FROM_FAILURE")
    wait("the automatic retry", lambda: len(engine.accounts()) == 8 and ended(again, engine.accounts()[-2].id))
    engine.terminate(first["long"])
    wait("the cancelled one", lambda: ended(first["long"]))
    wait("agreement", lambda: not disagreements(engine, serving))
    with serving.opened() as store:
        quiet_lags = agreement.lags(engine.accounts(), store)

    # runlink is killed, and runs begin, end, are repeated and are deleted meanwhile
    going = engine.launch("long_job", run_id="order-going", config=sleeping())
    wait("runlink to see it", lambda: serving.rows().get(going, {}).get("status") == "PROCESSING")
    doomed = engine.launch("long_job", run_id="order-doomed", config=sleeping())
    wait("runlink to see the doomed one", lambda: serving.rows().get(doomed, {}).get("status") == "PROCESSING")
    serving.end(signal.SIGKILL)
    unseen = [engine.launch("ok_job", run_id=f"order-unseen-{n}") for n in range(2)]
    repeated = engine.reexecute(first["fail"])
    engine.delete(doomed)
    engine.delete(first["ok"])
    wait("runs that runlink did not see", lambda: ended(*unseen, repeated))
    serving.start()

    # the engine is killed while runs go on, and while others wait
    engine.kill("webserver", "daemon")
    time.sleep(3)
    engine.start()
    restarted_s = engine.started_s
    late = engine.launch("mapped_job", run_id="order-late")
    wait("the late one", lambda: ended(late))

    # the queue is full, and one that waits in it is cancelled
    fillers = [engine.launch("long_job", run_id=f"order-full-{n}", config=sleeping()) for n in range(2)]
    wait("a full queue", lambda: status(*fillers) == ["STARTED", "STARTED"])
    waiting = engine.launch("ok_job", run_id="order-waiting")
    wait("runlink to see it wait", lambda: serving.rows().get(waiting, {}).get("status") == "PENDING")
    engine.terminate(waiting)

    # the workers themselves are killed, and an operator marks their runs as cancelled
    engine.kill("code-server")
    engine.start()
    for orphan in (going, *fillers):
        engine.terminate(orphan, force=True)
    wait("the end of all", lambda: ended(waiting, going, *fillers))

    forgotten = {doomed, first["ok"]}
    wait("agreement at the end", lambda: not disagreements(engine, serving, forgotten))
    assert disagreements(engine, serving, forgotten) == []
    rows = serving.rows()
    assert (rows[doomed]["status"], rows[doomed]["vanished_at"] is not None) == ("PROCESSING", True)
    assert (rows[first["ok"]]["status"], rows[first["ok"]]["vanished_at"]) == ("COMPLETED", None)
    assert rows[again]["parent_external_id"] == rows[repeated]["parent_external_id"] == first["fail"]
    assert rows[first["fail"]]["message"] == "ValueError: no such table: orders — Zürich"
    assert rows[going]["native_status"] == "CANCELED"
    wait("the Runs", lambda: "PROCESSING" not in serving.run_states().values())
    states = serving.run_states()
    assert {
        key: states[f"order-{key}"] for key in ("ok", "fail", "retry", "mapped", "long", "auto_retried", "doomed")
    } == {
        "ok": "COMPLETED",
        "fail": "FAILED",
        "retry": "COMPLETED",
        "mapped": "COMPLETED",
        "long": "CANCELLED",
        "auto_retried": "COMPLETED",  # Dagster's retry replaces the run that failed
        "doomed": "FAILED",
    }
    with serving.opened() as store:
        every_lag = agreement.lags(engine.accounts(), store)
    print(
        f"\nDagster started in {engine.first_started_s:.1f} s, again in {restarted_s:.1f} s; {len(rows)} runs agree\n"
        f"lag undisturbed: median {statistics.median(quiet_lags):.2f} s, max {max(quiet_lags):.2f} s"
        f" ({len(quiet_lags)} events); with both sides killed: median {statistics.median(every_lag):.2f} s,"
        f" max {max(every_lag):.2f} s ({len(every_lag)} events)"
    )


def disagreements(engine, serving, forgotten=()):
    with serving.opened() as store:
        return agreement.differences(engine.accounts(), store, ignored=forgotten)


def test_what_a_turn_costs(engine):
    """Counted by the host's guard: an idle poll, and a turn while one run is at work."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with Host(DagsterAdapter, engine.url, now=lambda: datetime.now(UTC), since=since) as host:
        info = host.check()
        assert (info.product, info.warnings) == ("Dagster", ())
        host.turn()
        host.read_steps()

        def spent():
            before = host.requests
            host.turn()
            return host.requests - before

        idle = [spent() for _ in range(3)]
        run = engine.launch("long_job", config=sleeping())
        wait("it", lambda: engine.status(run) == "STARTED")
        host.turn()
        busy = [spent() for _ in range(3)]
        engine.terminate(run)
        wait("its end", lambda: engine.status(run) in ENDED)
        host.turn()
        assert host.table()[run]["native_status"] == "CANCELED"
    print(f"\nDagster {info.version}: requests per idle turn {idle}, per turn with a run at work {busy}")
    assert (idle, busy) == ([1, 1, 1], [3, 3, 3])


def test_the_schema_of_the_fake_is_dagsters(engine):
    """Each field, argument and value that the tests' schema names is in the real one, of the same type."""
    real = graphql.build_client_schema(engine.ask(graphql.get_introspection_query(descriptions=False)))
    for name, mine in SCHEMA.type_map.items():
        theirs = real.type_map.get(name)
        assert theirs is not None, name
        assert type(mine) is type(theirs), name
        for field, about in getattr(mine, "fields", {}).items():
            assert str(about.type) == str(theirs.fields[field].type), f"{name}.{field}"
            for argument, its in getattr(about, "args", {}).items():
                assert str(its.type) == str(theirs.fields[field].args[argument].type), f"{name}.{field}({argument})"
        if isinstance(mine, graphql.GraphQLUnionType):
            assert {one.name for one in mine.types} <= {one.name for one in theirs.types}, name
        if isinstance(mine, graphql.GraphQLEnumType) and not name.startswith("__"):
            assert set(mine.values) == set(theirs.values), name
