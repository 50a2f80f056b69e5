"""The plugin against a real Prefect, in a real `runlink serve`: flows succeed, fail, retry, fan out, run long, are
cancelled, run again in place, are marked by hand and deleted, while runlink is killed and Prefect is restarted.

In the end Prefect's own account and runlink's tables say the same, run by run, try by try. Run by `make test-engines`;
needs `scripts/setup prefect`. The expectations are written out here, not taken from the plugin that is being judged.
"""

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from real_prefect import ENDED, RealPrefect

import runlink.testing
from runlink.spi import CredentialsRejected, Page
from runlink_prefect import PrefectAdapter

pytestmark = pytest.mark.engine

CONFIG = """\
[store]
url = "sqlite:///runlink.db"

[engines.flows]
type = "prefect"
url = "{url}"
poll_interval_s = 1
max_requests_per_minute = 3000

[automations.orders]
quiet_s = 2

[[links]]
engine = "flows"
automation = "orders"
run_key = "parameters.run_id"
create_run = true

[[links]]
engine = "flows"
inherit = "parent"
"""
STATUS = {"COMPLETED": "COMPLETED", "FAILED": "FAILED", "CRASHED": "FAILED", "CANCELLED": "CANCELLED"}
SETTLED_S = 22.0
"""What was read within 15 s of a flow run's end is read once more after that."""


class Serve:
    """`runlink serve` in a process of its own, on a configuration in a folder."""

    def __init__(self, folder, url):
        self.folder, self.database = folder, folder / "runlink.db"
        self.config = folder / "runlink.toml"
        self.config.write_text(CONFIG.format(url=url), "utf-8")
        self.process = None
        self.down = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def command(self, *arguments):
        return [str(Path(sys.executable).with_name("runlink")), "--config", str(self.config), *arguments]

    def start(self):
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("serve"), stdout=log, stderr=log, cwd=self.folder, env={**os.environ, "NO_COLOR": "1"}
            )

    def kill(self):
        """SIGKILL, and a while without it."""
        self.process.kill()
        self.process.wait()
        began = datetime.now(UTC)
        time.sleep(3)
        self.start()
        self.down.append((began, None))

    def rows(self, query, *values):
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, values)]

    def status(self):
        answer = subprocess.run(self.command("status", "-o", "json"), capture_output=True, check=True, cwd=self.folder)
        (engine,) = json.loads(answer.stdout)
        return engine

    def await_sync(self):
        """Returns once a poll that began after now has ended well, and the stream is up."""
        asked, deadline = datetime.now(UTC), time.monotonic() + 90
        while time.monotonic() < deadline:
            if self.database.exists():
                engine = self.status()
                if _later(engine["last_success_at"], asked) and (engine["watch"] or {}).get("state") == "ok":
                    self.down = [(began, ended or datetime.now(UTC)) for began, ended in self.down]
                    return
            time.sleep(0.5)
        raise TimeoutError((self.folder / "serve.log").read_text())


def _time(text):
    return None if text is None else datetime.fromisoformat(text)


def _later(text, moment):
    return text is not None and datetime.fromisoformat(text) > moment


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with RealPrefect(tmp_path_factory.mktemp("prefect")) as running:
        yield running
    assert running.processes() == []


@pytest.fixture
def serve(engine, tmp_path):
    with Serve(tmp_path, engine.url) as running:
        running.await_sync()
        yield running


def requests_per_poll(serve, seconds):
    """Requests per second while polls come once a second (and the watch reads what it is told of)."""
    before, began = serve.status()["requests"], time.monotonic()
    time.sleep(seconds)
    after = serve.status()["requests"]
    return (after - before) / (time.monotonic() - began)


# --- what Prefect says, in runlink's words ---------------------------------------------------------------------------


def tries_of(states):
    """(status, native, started, finished) of each: an end closes one, and so does a new start of what has run."""
    cut, found = [], []
    for state in states:
        has_run = any(kind == "RUNNING" for kind, _, _ in cut)
        if cut and (cut[-1][0] in ENDED or (state[0] == "RUNNING" and has_run)):
            found.append(cut)
            cut = []
        cut.append(state)
    return [
        (
            STATUS.get(one[-1][0], "FAILED"),
            one[-1][1],
            next((_time(at) for kind, _, at in one if kind == "RUNNING"), None),
            _time(one[-1][2]),
        )
        for one in (*found, cut)
    ]


def as_prefect_says(account):
    tries = tries_of(account.states)
    return {
        "workflow": account.workflow,
        "status": STATUS[account.state[0]],
        "native_status": account.state[1],
        "attempt": len(tries),
        "parent": account.parent,
        "parameters": dict(account.parameters),
        "tries": [(n, *one) for n, one in enumerate(tries, 1)],
        "steps": sorted(
            (task, n, status, native)
            for task, (_, states) in account.tasks.items()
            for n, (status, native, *_) in enumerate(tries_of(states), 1)
        ),
    }


def as_runlink_says(serve, row):
    tries = serve.rows("SELECT * FROM instance_attempts WHERE instance_id = ? ORDER BY number", row["id"])
    steps = serve.rows("SELECT * FROM instance_steps WHERE instance_id = ?", row["id"])
    return {
        "workflow": row["workflow"],
        "status": row["status"],
        "native_status": row["native_status"],
        "attempt": row["attempt"],
        "parent": row["parent_external_id"],
        "parameters": json.loads(row["parameters"]),
        "tries": [
            (one["number"], one["status"], one["native_status"], _time(one["started_at"]), _time(one["finished_at"]))
            for one in tries
        ],
        "steps": sorted((one["external_id"], one["attempt"], one["status"], one["native_status"]) for one in steps),
    }


def differences(theirs, ours):
    for run in theirs.keys() | ours.keys():
        one, other = theirs.get(run, {}), ours.get(run, {})
        for fact in sorted(one.keys() | other.keys()):
            if one.get(fact) != other.get(fact):
                yield f"{run} {one.get('workflow')}: {fact}: Prefect {one.get(fact)!r}, runlink {other.get(fact)!r}"


def instances(serve):
    return {row["external_id"]: row for row in serve.rows("SELECT * FROM orchestration_instances")}


def lags_s(serve, accounts):
    """Seconds from each state's own time to the row that tells of it, and which; but for what came while runlink was
    down."""
    found = []
    for name, row in instances(serve).items():
        seen = {}
        for one in serve.rows("SELECT * FROM observations WHERE instance_id = ? ORDER BY id", row["id"]):
            seen.setdefault((one["attempt"], one["native_status"]), datetime.fromisoformat(one["recorded_at"]))
        number, states = 0, accounts[name].states if name in accounts else ()
        for place, (_, native, at) in enumerate(states, 1):
            number, moment = len(tries_of(states[:place])), _time(at)
            if (number, native) in seen and not any(began <= moment <= ended for began, ended in serve.down):
                found.append(((seen[number, native] - moment).total_seconds(), f"{native} of {row['workflow']}"))
    return found


# --- the story -------------------------------------------------------------------------------------------------------


def test_every_kind_of_run(engine, serve, capsys):
    idle = requests_per_poll(serve, 10)
    names = ("ok", "fail", "retry", "flowretry", "mapped", "parent", "long")
    runs = {name: engine.trigger(name, f"order-{name}") for name in names}
    later = engine.trigger("ok", "order-later", in_s=3600)
    engine.wait([runs["ok"]], states=("RUNNING", *ENDED))
    busy = requests_per_poll(serve, 8)
    serve.kill()  # while flows run
    engine.wait([runs[name] for name in names if name != "long"])
    serve.await_sync()

    engine.wait([runs["long"]], states=("RUNNING",))
    engine.set_state(runs["long"], "CANCELLING")
    engine.wait([runs["long"]])
    accounts = {runs["ok"]: engine.account(runs["ok"])}
    engine.kill_server()
    time.sleep(3)
    engine.start_server()
    serve.await_sync()

    engine.set_state(runs["fail"], "SCHEDULED", "AwaitingRetry")
    engine.set_state(runs["mapped"], "COMPLETED", force=True)
    engine.delete(later)
    engine.delete(runs["ok"])
    again = {name: engine.trigger(name, f"again-{name}") for name in ("ok", "retry", "long")}
    engine.wait([runs["fail"]], states=("RUNNING",))
    serve.kill()
    engine.wait([again["long"]], states=("RUNNING",))
    engine.set_state(again["long"], "CANCELLED", force=True)
    engine.wait([runs["fail"], *again.values()])
    serve.await_sync()
    time.sleep(SETTLED_S)
    serve.await_sync()

    accounts |= {run: engine.account(run) for run in engine.runs()}
    rows = instances(serve)
    vanished = rows.pop(later)
    assert (vanished["status"], vanished["vanished_at"] is not None) == ("PENDING", True)
    said = {run: as_prefect_says(account) for run, account in accounts.items()}
    assert list(differences(said, {run: as_runlink_says(serve, row) for run, row in rows.items()})) == []
    assert sorted(row["workflow"] for row in rows.values()) == sorted(
        ["child", "child", *(f"{name}/live" for name in (*names, *again))]
    )
    assert [said[runs[name]]["attempt"] for name in ("fail", "flowretry", "mapped")] == [2, 2, 2]
    assert len(said[runs["retry"]]["steps"]) == 3
    linked = serve.rows(
        "SELECT r.correlation_id, r.status FROM runs r JOIN run_orchestrations o ON o.run_id = r.id GROUP BY r.id"
    )
    ends = {row["correlation_id"]: row["status"] for row in linked}
    assert ends | {"order-mapped": None} == {
        **{f"order-{name}": "COMPLETED" for name in ("ok", "retry", "flowretry", "parent")},
        "order-fail": "FAILED",
        "order-long": "CANCELLED",
        "order-mapped": None,
        "order-later": "FAILED",
        "again-ok": "COMPLETED",
        "again-retry": "COMPLETED",
        "again-long": "CANCELLED",
    }
    lags = lags_s(serve, accounts)
    worst, slowest = max(lags)
    with capsys.disabled():
        print(
            f"\nPrefect {serve.status()['product_version']}: started in {engine.started_in_s:.1f} s; requests a second "
            f"at one poll a second: {idle:.1f} idle, {busy:.1f} busy; lag from the state's time to the row: median "
            f"{statistics.median(lag for lag, _ in lags) * 1000:.0f} ms, max {worst * 1000:.0f} ms ({slowest}) of "
            f"{len(lags)}; "
            f"{len(rows)} flow runs, {sum(len(one['tries']) for one in said.values())} tries, "
            f"{sum(len(one['steps']) for one in said.values())} tries of task runs agree"
        )


def test_a_server_that_wants_to_know_who_asks(tmp_path):
    """An auth string and CSRF protection: questions, and the websocket."""
    settings = {"PREFECT_SERVER_API_AUTH_STRING": "admin:s3cret", "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"}
    with RealPrefect(tmp_path / "prefect", settings=settings) as engine:
        url = engine.url
        adapter = runlink.testing.build(PrefectAdapter, url, config={"auth_string": "admin:s3cret"})
        info = adapter.check()
        assert (info.product, info.warnings) == ("Prefect", ())
        (page,) = adapter.poll({})
        assert page.observations == []
        stream = adapter.watch(page.cursors)
        assert next(stream) == Page()
        stream.close()
        runlink.testing.close(adapter)

        wrong = runlink.testing.build(PrefectAdapter, url, config={"auth_string": "admin:wrong"})
        with pytest.raises(CredentialsRejected):
            wrong.check()
        with pytest.raises(CredentialsRejected):
            list(wrong.watch(page.cursors))
        runlink.testing.close(wrong)
    assert engine.processes() == []
