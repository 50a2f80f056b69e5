"""The record from a program: `from runlink import connect`."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

import runlink
from runlink import ExecutionStatus, InvalidStateError, Missing, RunNotEnded, ValidationError, connect
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.bootstrap import Runlink
from runlink.domain import Batch, BatchExecution, Item, ItemExecution
from runlink.spi import Observation, Page

S = ExecutionStatus
CONFIG = """
[store]
url = "sqlite:///runlink.db"

[engines.ci]
type = "acme"
url = "http://127.0.0.1:1"

[[links]]
automation = "nightly"
run_key = "parameters.RUN_ID"

[automations.nightly]
expected = ["build"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "runlink.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def record(config):
    with connect(config, actor="program:test") as record:
        yield record


@pytest.fixture
def see(config):
    """see("1", "COMPLETED", key): what an engine shows, taken in as `runlink serve` would."""
    inside = Runlink.open_record(config)
    registered = inside.register()

    def see(name, status, key):
        now = datetime.now(UTC)
        told = Observation(external_id=name, workflow="build", status=S(status), native_status=status.lower(),
                           started_at=now, parameters={"RUN_ID": key})  # fmt: skip
        read = Read(feed="poll", began_at=now)
        page, engine = Page(observations=(told,)), registered.engines["ci"]
        inside.store.write(lambda uow: ingest(uow, registered.rules, engine, page, read, now), actor="engine:ci")

    yield see
    inside.close()


def test_a_run_is_made_followed_and_waited_for(record, see):
    run = record.create_run("nightly")
    assert (run.key, run.automation, run.status, run.is_ended) == (str(run.id), "nightly", S.PENDING, False)
    see("1", "PROCESSING", run.key)
    with pytest.raises(RunNotEnded, match="is PROCESSING after 0 s"):
        record.wait(run, timeout_s=0)
    ending = threading.Thread(target=see, args=("1", "COMPLETED", run.key))
    ending.start()
    ended = record.wait(run, timeout_s=60, look_every_s=0.01)
    ending.join()
    assert (ended.status, ended.is_ended, ended.reason) == (S.COMPLETED, True, None)
    (instance,) = record.instances(run)
    assert (instance.engine, instance.workflow, instance.external_id, instance.native_status) == (
        "ci", "build", "1", "completed",
    )  # fmt: skip
    assert record.explain(run)["statuses"][-1]["because"]["external_id"] == "1"


def test_a_key_of_ones_own_finds_the_run_and_what_was_seen_before_it(record, see):
    see("1", "FAILED", "2026-11-23")
    run = record.create_run("nightly", key="2026-11-23")
    assert (run.key, run.status, run.reason) == ("2026-11-23", S.FAILED, "ci build 1 failed")
    assert record.run("2026-11-23") == record.run(run.id) == record.run(str(run.id)) == run


@pytest.mark.parametrize(
    ("key", "reason"),
    [("  ", "must not be empty"), ("k" * 501, "has 501 characters"), ("a\0b", "no database keeps"),
     ("\ud800", "no database keeps"), (5, "must be text")],
)  # fmt: skip
def test_a_key_that_no_rule_could_find_is_refused(record, key, reason):
    with pytest.raises(ValidationError, match=reason):
        record.create_run("nightly", key=key)


def test_a_key_is_kept_as_rules_find_it(record, see):
    see("1", "COMPLETED", " k ")
    assert record.create_run("nightly", key="  k ").key == "k"
    assert [one.external_id for one in record.instances("k")] == ["1"]


def test_a_time_without_a_zone_is_refused(record):
    run = record.create_run("nightly")
    with pytest.raises(ValidationError, match="has no time zone"):
        record.explain(run, as_of=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_run_is_moved_by_hand(record):
    run = record.create_run("nightly", key="k")
    assert record.move_run(run, "start").status is S.PROCESSING
    assert record.move_run("k", "fail", reason="no paper").reason == "no paper"
    with pytest.raises(InvalidStateError, match="is FAILED"):
        record.move_run(run, "complete")
    with pytest.raises(ValueError, match="'explode' is not a valid Move"):
        record.move_run(run, "explode")
    assert record.explain(run)["statuses"][-1]["actor"] == "program:test"


def test_items_are_read_page_by_page(record, config):
    run = record.create_run("nightly")
    inside = Runlink.open_record(config)
    with inside.store.unit_of_work("program:test") as uow:
        owner = uow.runs.get(run.id).automation_id
        batch = Batch(automation_id=owner, name="may")
        execution = BatchExecution(run_id=run.id, batch_id=batch.id)
        uow.batches.add(batch)
        uow.batch_executions.add(execution)
        for number in range(1201):
            item = Item(batch_id=batch.id, sequence_number=number)
            mine = ItemExecution(run_id=run.id, batch_execution_id=execution.id, item_id=item.id, max_attempts=2)
            mine.start()
            if number % 3 == 0:
                mine.fail("no")
            uow.items.add(item)
            uow.item_executions.add(mine)
    inside.close()
    items = list(record.items(run))
    assert sorted(item.sequence_number for item in items) == list(range(1201))
    retrying = list(record.items(run, batch="may", status="RETRYING"))
    assert {(item.attempts, item.max_attempts, item.error) for item in retrying} == {(1, 2, "no")}
    assert len(retrying) == 401
    assert list(record.items(run, batch="june")) == []


def test_what_is_not_there_is_said(record, tmp_path):
    with pytest.raises(Missing, match="no automation is called 'nightley'; did you mean 'nightly'"):
        record.create_run("nightly") and record.create_run("nightley")
    with pytest.raises(Missing, match="no run has the id or correlation id 'k'"):
        record.run("k")
    record.create_run("nightly", key="twice")
    record.create_run("nightly", key="twice")
    with pytest.raises(ValidationError, match="more than one run"):
        record.run("twice")
    with pytest.raises(Exception, match="there is no such file"):
        connect(tmp_path / "nothing.toml")


def test_everything_public_is_there_and_nothing_is_loaded_before_it_is_asked_for():
    assert {name for name in runlink.__all__ if getattr(runlink, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = runlink.nothing
    loaded = "import sys, runlink.spi; print('sqlalchemy' in sys.modules, 'runlink.record' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False False"
