"""The plugin against a real Airflow: `runlink serve` beside it, both killed in the middle, no difference in the end.

Airflow's own account comes from `airflow_engine.py`, which shares no code with the plugin: it reads Airflow's database.
Run by `make test-engines`; needs `scripts/setup airflow`.
"""

import contextlib
import gzip
import importlib.util
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import runlink.testing

pytestmark = pytest.mark.engine

PATIENCE_S = 180
STATUSES = {"queued": "PENDING", "running": "PROCESSING", "success": "COMPLETED", "failed": "FAILED"}
CONFIG = """\
[store]
url = "sqlite:///{folder}/runlink.db"

[engines.airflow]
type = "airflow"
url = "{url}"
user = "{user}"
password = {{ env = "LIVE_AIRFLOW_PASSWORD" }}
poll_interval_s = 1

[[links]]
engine = "airflow"
automation = "live"
run_key = "parameters.run_id"
create_run = true

[[links]]
engine = "airflow"
inherit = "parent"
"""


def load_engine():
    path = Path(__file__).with_name("airflow_engine.py")
    spec = importlib.util.spec_from_file_location("runlink_airflow_live_engine", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Lineage:
    """Takes what Airflow pushes, as an OpenLineage receiver would."""

    def __init__(self):
        self.bodies = []
        self._lock = threading.Lock()

    def __call__(self, method, path, headers, body):
        with self._lock:
            self.bodies.append(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        return 201, {}, b""


class Serving:
    """`runlink serve` in a process of its own, which may be killed and started again."""

    def __init__(self, folder, engine, user, password):
        self.folder = folder
        self.config = folder / "runlink.toml"
        self.config.write_text(CONFIG.format(folder=folder, url=engine.url, user=user), "utf-8")
        self._environment = {**os.environ, "NO_COLOR": "1", "LIVE_AIRFLOW_PASSWORD": password}
        self._process = None

    def start(self):
        with (self.folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("runlink")), "--config", str(self.config), "serve"],
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def kill(self, with_signal=signal.SIGKILL):
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait(20)
            self._process = None

    def log(self):
        return (self.folder / "serve.log").read_text("utf-8", "replace")

    def rows(self, statement):
        """What runlink's tables say."""
        path = self.folder / "runlink.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            with contextlib.suppress(sqlite3.OperationalError):  # before its first migration
                return [dict(row) for row in database.execute(statement)]
        return []

    def instances(self):
        return {row["external_id"]: row for row in self.rows("select * from orchestration_instances")}

    def wait(self, ready, what):
        deadline = time.monotonic() + PATIENCE_S
        while not ready(self.instances()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"runlink did not see {what}: {self.instances()}\n{self.log()[-3000:]}")
            time.sleep(0.2)


@pytest.fixture(scope="module")
def lineage():
    receiver = Lineage()
    with runlink.testing.serve_exchanges(receiver) as server:
        receiver.url = server.url
        yield receiver


@pytest.fixture(scope="module")
def live(tmp_path_factory, lineage):
    module = load_engine()
    settings = {
        "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME": "30",  # so that tokens have to be renewed
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "live",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "http", "url": lineage.url, "endpoint": "api/v1/lineage"}
        ),
    }
    with module.RealAirflow(tmp_path_factory.mktemp("airflow"), settings=settings) as engine:
        serving = Serving(tmp_path_factory.mktemp("runlink"), engine, module.USER, module.PASSWORD)
        try:
            yield module, engine, serving
        finally:
            serving.kill()
    assert engine.left() == []


def name_of(account):
    """The external id, from the database's own columns."""
    at = datetime.fromisoformat(account["run_after"]).replace(tzinfo=UTC)
    return f"{account['dag_id']}/{account['run_id']}@{int(at.timestamp())}.{at.microsecond:06}"


def moment(text):
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


def as_airflow_says(account, cancelled, parents):
    steps = {}
    for row in account["past"]:
        if row["try_number"]:  # 0: it ended without a try (upstream_failed), and was cleared
            steps[step_name(row), row["try_number"]] = row["state"]
    for row in account["tasks"]:
        number = max(1, row["try_number"])
        if row["state"] != "up_for_retry" and (step_name(row), number) in steps:
            number += 1  # ended without a try of its own after a clear
        steps[step_name(row), number] = row["state"] or "none"
    for task_id in {row["task_id"] for row in account["tasks"] if row["map_index"] >= 0}:
        steps[task_id, 1] = "mapped"
    run = (account["dag_id"], account["run_id"])
    return {
        "workflow": account["dag_id"],
        "native_status": account["state"],
        "status": "CANCELLED" if run in cancelled else STATUSES[account["state"]],
        "attempt": account["clear_number"] + 1,
        "queued_at": moment(account["queued_at"]),
        "started_at": moment(account["start_date"]),
        "finished_at": moment(account["end_date"]),
        "parent": parents.get(run),
        "vanished": False,
        "attempts": list(range(1, account["clear_number"] + 2)),
        "steps": steps,
    }


def step_name(row):
    return row["task_id"] if row["map_index"] < 0 else f"{row['task_id']}[{row['map_index']}]"


def as_runlink_says(serving):
    attempts, steps, told = {}, {}, {}
    for row in serving.rows("select * from instance_attempts order by number"):
        attempts.setdefault(row["instance_id"], []).append(row["number"])
    for row in serving.rows("select * from instance_steps"):
        steps.setdefault(row["instance_id"], {})[row["external_id"], row["attempt"]] = row["native_status"]
    for name, row in serving.instances().items():
        told[name] = {key: row[key] for key in ("workflow", "native_status", "status", "attempt")}
        told[name] |= {key: moment(row[key]) for key in ("queued_at", "started_at", "finished_at")}
        told[name] |= {"parent": row["parent_external_id"], "vanished": row["vanished_at"] is not None}
        told[name] |= {"attempts": attempts[row["id"]], "steps": steps.get(row["id"], {})}
    return told


def story_until_restart(engine, serving, module):
    """Every kind of run, undisturbed. Gives the runs by name, and the names of those that were cancelled."""
    runs = {name: engine.trigger(name, run_id=f"live-{name}") for name in ("ok", "fail", "retry", "mapped", "parent")}
    runs["long"] = engine.trigger("long", run_id="live-long", seconds=60)
    with module.paused(engine, "mapped"):
        deleted = engine.trigger("mapped", run_id="live-deleted")
        serving.wait(lambda seen: find(seen, deleted) is not None, "a run in the queue of a paused DAG")
        engine.delete(deleted)
        serving.wait(lambda seen: find(seen, deleted)["vanished_at"] is not None, "the run vanish")
    until(lambda: engine.task_state(runs["long"], "sleepy") == "running")
    serving.wait(lambda seen: (find(seen, runs["long"]) or {}).get("status") == "PROCESSING", "the long run running")
    engine.cancel(runs["long"])
    engine.wait(runs.values())
    serving.wait(lambda seen: find(seen, runs["fail"])["status"] == "FAILED", "the failure")
    engine.clear(runs["fail"])
    engine.wait([runs["fail"]])
    runs["again"] = engine.trigger("long", run_id="live-again", seconds=6)
    until(lambda: engine.task_state(runs["again"], "sleepy") == "running")
    serving.wait(lambda seen: (find(seen, runs["again"]) or {}).get("status") == "PROCESSING", "the run to be cleared")
    engine.clear_task(runs["again"], "sleepy")
    engine.wait([runs["again"]])
    return runs, deleted


def story_over_restarts(engine, serving, runs):
    """Much happens while runlink is dead, and a run is under way when Airflow is killed."""
    serving.wait(lambda seen: find(seen, runs["again"])["status"] == "COMPLETED", "the end of the first part")
    serving.kill()
    runs["unseen"] = engine.trigger("ok", run_id="live-unseen")
    runs["stopped"] = engine.trigger("long", run_id="live-stopped", seconds=60)
    engine.clear(runs["fail"])  # ended and known; ends again unseen
    until(lambda: engine.task_state(runs["stopped"], "sleepy") == "running")
    engine.cancel(runs["stopped"], note="no longer needed")
    engine.wait([runs["unseen"], runs["stopped"], runs["fail"]])
    serving.start()
    runs["orphan"] = engine.trigger("long", run_id="live-orphan", seconds=25)
    until(lambda: engine.task_state(runs["orphan"], "sleepy") == "running")
    serving.wait(lambda seen: find(seen, runs["orphan"]) is not None, "the run that will lose its engine")
    engine.stop(kill=True)
    time.sleep(3)
    engine.start()
    runs["late"] = engine.trigger("retry", run_id="live-late")
    engine.wait(runs.values(), timeout_s=PATIENCE_S)


def until(ready):
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def find(seen, run):
    """runlink's row of (dag_id, dag_run_id)."""
    return next((row for name, row in seen.items() if name.rpartition("@")[0] == "/".join(run)), None)


def test_no_difference(live, lineage, capsys):
    module, engine, serving = live
    first_start_s = engine.start_s
    serving.start()
    serving.wait(lambda _: bool(serving.rows("select 1 from feeds where baseline_at is not null")), "the first sync")
    runs, deleted = story_until_restart(engine, serving, module)
    undisturbed = {name.rpartition("@")[0] for name in serving.instances()}
    busy = requests_per_poll(engine, module, busy=True)
    story_over_restarts(engine, serving, runs)

    accounts = {name_of(account): account for account in engine.accounts()}
    serving.wait(lambda seen: accounts.keys() <= seen.keys() and all(ended(seen[name]) for name in accounts), "the end")
    time.sleep(3)  # two more polls
    cancelled = {runs["long"], runs["stopped"]}
    parent = next(name for name in accounts if name.startswith("parent/"))
    parents = {
        (account["dag_id"], account["run_id"]): parent
        for account in accounts.values()
        if account["triggered_by"].lower() == "operator"
    }
    assert len(parents) == 1
    said = {name: as_airflow_says(account, cancelled, parents) for name, account in accounts.items()}
    seen = as_runlink_says(serving)
    vanished = {name for name in seen if name.startswith("/".join(deleted) + "@")}
    assert len(vanished) == 1
    assert all(seen.pop(name)["vanished"] for name in vanished)
    assert differences(seen, said) == []
    assert [said[name_of_run(said, runs[each])]["attempt"] for each in ("fail", "again", "ok")] == [3, 2, 1]
    assert_linked(serving, runs)
    assert_pushes_agree(lineage, serving, vanished)
    assert "Traceback" not in serving.log()
    idle = requests_per_poll(engine, module, busy=False)
    tell(capsys, engine, first_start_s, idle, busy, lags(serving, undisturbed), len(said), len(lineage.bodies))


def differences(seen, said):
    """One line per fact that is not the same; empty when the two accounts are equal."""
    lines = [f"{name}: only one side has it" for name in seen.keys() ^ said.keys()]
    for name in seen.keys() & said.keys():
        facts = seen[name].keys() | said[name].keys()
        lines += [
            f"{name}: {fact} is {seen[name].get(fact)!r}, Airflow says {said[name].get(fact)!r}"
            for fact in sorted(facts)
            if seen[name].get(fact) != said[name].get(fact)
        ]
    return lines


def name_of_run(said, run):
    return next(name for name in said if name.rpartition("@")[0] == "/".join(run))


def ended(row):
    return row["status"] in ("COMPLETED", "FAILED", "CANCELLED")


def assert_linked(serving, runs):
    """Each run id that was passed on found its Run; the child of `parent` belongs to its parent's."""
    linked = serving.rows(
        "select i.external_id, r.correlation_id from run_orchestrations o join runs r on r.id = o.run_id "
        "join orchestration_instances i on i.id = o.orchestration_instance_id"
    )
    told = {row["external_id"].rpartition("@")[0]: row["correlation_id"] for row in linked}
    for run in runs.values():
        assert told["/".join(run)] == run[1]
    assert [key for name, key in told.items() if name.startswith("ok/manual__")] == ["live-parent"]


def assert_pushes_agree(lineage, serving, vanished):
    """Every event that Airflow pushed names an instance that the polls found, in a state that they found."""
    from runlink_airflow.lineage import read_event

    told = [event for body in lineage.bodies if (event := read_event(body)) is not None]
    seen = serving.instances()
    named = {event.name for event in told if event.name is not None}
    assert named == seen.keys() - vanished
    latest = {}
    for event in told:
        if event.observation is not None and event.observation.status.is_ended:
            latest[event.name] = event.observation
    for name, observation in latest.items():
        if str(observation.revision) == seen[name]["revision"]:
            assert str(observation.status) == seen[name]["status"]
            assert observation.finished_at == moment(seen[name]["finished_at"])


def requests_per_poll(engine, module, *, busy):
    """Requests of each turn of an adapter that has read everything before; busy: while two runs begin and end."""
    from runlink_airflow import AirflowAdapter

    since = datetime.now(UTC) - timedelta(hours=1)
    adapter = runlink.testing.build(
        AirflowAdapter, engine.url, config={"user": module.USER, "password": module.PASSWORD}, since=since
    )
    cursors = {}

    def turn():
        before = runlink.testing.requests_made(adapter)
        for page in adapter.poll(cursors):
            cursors.update(page.cursors)
        return runlink.testing.requests_made(adapter) - before

    try:
        for _ in range(3):  # the first look, and then the tasks of what has just ended
            turn()
        if not busy:
            return [turn() for _ in range(4)]
        runs = [engine.trigger("ok", run_id="busy-ok"), engine.trigger("long", run_id="busy-long", seconds=5)]
        counts = []
        while any(engine.run(run)["state"] in ("queued", "running") for run in runs):
            counts.append(turn())
            time.sleep(0.5)
        return [*counts, turn()]
    finally:
        runlink.testing.close(adapter)


def lags(serving, names):
    """Seconds from what happened, by the engine's clock, to the row that tells it; of starts and ends."""
    found = []
    for row in serving.rows(
        "select i.external_id, o.recorded_at, o.attempt, o.status, a.started_at, a.finished_at from observations o "
        "join orchestration_instances i on i.id = o.instance_id "
        "join instance_attempts a on a.instance_id = i.id and a.number = o.attempt order by o.id"
    ):
        if row["external_id"].rpartition("@")[0] not in names:
            continue
        key = (row["external_id"], row["attempt"], row["status"])
        at = {"PROCESSING": row["started_at"]}.get(row["status"]) or (ended(row) and row["finished_at"])
        if at and key not in {each[0] for each in found}:
            found.append((key, (moment(row["recorded_at"]) - moment(at)).total_seconds()))
    return [lag for (_, attempt, _), lag in found if attempt == 1]


def tell(capsys, engine, first_start_s, idle, busy, lag, count, pushed):
    version = engine.call("GET", "version")["version"]
    with capsys.disabled():
        print(
            f"\nAirflow {version}, Python {sys.version.split()[0]}: start {first_start_s:.1f} s, after kill "
            f"{engine.start_s:.1f} s; {count} runs compared, {pushed} OpenLineage events; requests per poll idle "
            f"{statistics.median(idle):.0f} (max {max(idle)}), busy {statistics.median(busy):.0f} (max {max(busy)}); "
            f"lag from event to row at poll_interval_s = 1: median {statistics.median(lag):.2f} s, max {max(lag):.2f} s"
        )
