"""The plugin against a real Buildbot: success, failure, retries, a fan-out and a stopped build, told as they are.

Buildbot's own account comes from `demo/buildbot_engine.py`, which shares no code with the plugin. Run by
`make test-engines`; needs `scripts/setup buildbot`.
"""

import importlib.util
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import runlink.testing
from runlink_buildbot import BuildbotAdapter

pytestmark = pytest.mark.engine

ENGINE = Path(__file__).resolve().parents[3] / "demo" / "buildbot_engine.py"
WORDS = ("SUCCESS", "WARNINGS", "FAILURE", "SKIPPED", "EXCEPTION", "RETRY", "CANCELLED")
STATUSES = ("COMPLETED", "COMPLETED", "FAILED", "COMPLETED", "FAILED", "FAILED", "CANCELLED")
PATIENCE_S = 90


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("runlink_demo_buildbot_engine", ENGINE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.RealBuildbot(tmp_path_factory.mktemp("buildbot")) as running:
        yield running


def open_host(make_host, engine):
    return make_host(url=engine.url, since=datetime.now(UTC) - timedelta(hours=1))


def follow(host, engine, requests, stop=None):
    """Turns of the host until all has ended; the build of `stop` is stopped once runlink sees it running."""
    deadline, way = time.monotonic() + PATIENCE_S, {}
    while time.monotonic() < deadline:
        host.turn()
        for name, row in host.table.items():
            seen = (str(row["status"]), row["attempt"])
            if way.setdefault(name, [seen])[-1] != seen:
                way[name].append(seen)
        if stop is not None and (builds := engine.builds(stop)):
            engine.stop(builds[-1]["buildid"])
            stop = None
        ids = {int(name.split(":")[1].split("@")[0]) for name, row in host.table.items() if row["finished_at"]}
        if ids >= set(requests) and len(ids) == len(host.table):
            return way
        time.sleep(0.2)
    raise TimeoutError(f"not all of {requests} ended: {host.table}")


def as_buildbot_says(account, identity):
    steps = [
        (f"{number}:{name}", attempt, WORDS[results])
        for attempt, each in enumerate(account.tries, 1)
        for number, (name, results) in enumerate(each.steps)
    ]
    return {
        "workflow": account.builder,
        "status": STATUSES[account.results],
        "native_status": WORDS[account.results],
        "attempt": max(1, len(account.tries)),
        "earlier": [(n, WORDS[each.results]) for n, each in enumerate(account.tries[:-1], 1)],
        "parameters": dict(account.properties),
        "parent": None if account.parent is None else identity[account.parent],
        "steps": steps,
        "numbers": [(each.build, each.number) for each in account.tries],
    }


def as_runlink_says(row):
    return {
        **{name: row[name] for name in ("workflow", "native_status", "attempt", "parameters", "parent")},
        "status": str(row["status"]),
        "earlier": [(number, attempt.native_status) for number, attempt in sorted(row["tries"].items())],
        "steps": [(step.external_id, step.attempt, step.native_status) for step in row["steps"]],
        "numbers": [(build["id"], build["number"]) for build in row["metadata"].get("builds", ())],
    }


def compare(host, engine):
    accounts = engine.results()
    identity = {each.id: f"buildrequest:{each.id}@{each.submitted_at}" for each in accounts}
    said = {identity[each.id]: as_buildbot_says(each, identity) for each in accounts}
    assert {name: as_runlink_says(row) for name, row in host.table.items()} == said


def test_every_kind_of_run(engine, make_host):
    host = open_host(make_host, engine)
    info = host.adapter.check()
    assert (info.product, info.warnings) == ("Buildbot", ())
    assert info.version.startswith("4.")
    assert host.turn()[0].observations == []

    forced = {name: engine.force(f"force-{name}", run_id=f"run-{name}")[1][0] for name in ("ok", "fail", "retry")}
    forced["parent"] = engine.force("force-parent", run_id="run-parent")[1][0]
    forced["long"] = engine.force("force-long", run_id="run-long", seconds="60")[1][0]
    way = follow(host, engine, forced.values(), stop=forced["long"])

    compare(host, engine)
    by_workflow = {row["workflow"]: row for row in host.table.values()}
    assert sorted(by_workflow) == ["child1", "child2", "fail", "long", "ok", "parent", "retry"]
    assert by_workflow["retry"]["attempt"] == 3
    assert by_workflow["child2"]["parent"] == by_workflow["parent"]["external_id"]
    assert "failed" in by_workflow["fail"]["message"]
    assert by_workflow["long"]["native_status"] == "CANCELLED"
    attempts = [attempt for _, attempt in way[by_workflow["retry"]["external_id"]]]
    assert attempts == sorted(attempts)

    before = runlink.testing.requests_made(host.adapter)
    assert list(host.adapter.poll(host.cursors)) == []
    assert runlink.testing.requests_made(host.adapter) - before == 3

    late = open_host(make_host, engine)
    late.turn()
    assert late.table == host.table


def test_a_request_cancelled_in_the_queue(engine, make_host):
    """A builder has one build at a time on a worker: the second request waits, and is cancelled unbuilt."""
    host = open_host(make_host, engine)
    forced = [engine.force("force-long", run_id=f"queue-{n}", seconds="3")[1][0] for n in range(2)]
    deadline = time.monotonic() + PATIENCE_S
    while not engine.builds(forced[0]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    host.turn()
    assert [str(row["status"]) for row in host.table.values() if not row["finished_at"]] == ["PROCESSING", "PENDING"]
    engine.cancel(forced[1])
    follow(host, engine, forced)
    compare(host, engine)
    cancelled = next(row for row in host.table.values() if row["parameters"].get("run_id") == "queue-1")
    assert (cancelled["native_status"], cancelled["started_at"]) == ("CANCELLED", None)


def test_a_deleted_instance_is_gone_and_the_others_are_not(engine, make_host):
    host = open_host(make_host, engine)
    host.turn()
    known = next(iter(host.table))
    (page,) = host.adapter.refetch(["buildrequest:99999@1795445389", known])
    assert page.gone == ("buildrequest:99999@1795445389",)
    assert [each.external_id for each in page.observations] == [known]


def test_a_recording_makes_the_same_tables(engine, tmp_path):
    settings = runlink.testing.EngineSettings(name="ci", type="buildbot", url=engine.url)
    since = datetime.now(UTC) - timedelta(hours=1)
    live = runlink.testing.record(BuildbotAdapter, settings, tmp_path / "recording", since=since)
    assert live.error is None
    assert live.instances == len(engine.results())
    again = runlink.testing.replay(BuildbotAdapter, tmp_path / "recording")
    assert again.is_same, (again.differences, again.missing, again.unused)
    assert again.tables == live.tables
