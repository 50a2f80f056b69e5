"""Policies in a store: the time a failure is given, Runs by hand, Runs that nobody hears of."""

from __future__ import annotations

import pytest

from runlink.application.errors import Missing
from runlink.domain import (
    Batch,
    BatchExecution,
    ExecutionStatus,
    InvalidStateError,
    Item,
    ItemExecution,
    Run,
    ValidationError,
)

S = ExecutionStatus


@pytest.fixture
def run_of(world):
    return lambda key: world.runs()[key]


def test_a_failure_is_given_time_for_another_try(world, build, by_key, run_of):
    by_key(create_run=True, policy={"retry_grace_s": 600, "expected": ("app",)})
    world.see(build("1", "FAILED", run="r", queued=0, start=0, end=1))
    assert run_of("r").status is S.PROCESSING
    assert world.quiet(minutes=5) == 0
    world.see(build("2", "PROCESSING", run="r", queued=6, start=6))
    assert world.quiet(minutes=30) == 0, "it is being tried again"
    world.see(build("2", "FAILED", run="r", queued=6, start=6, end=9, message="again"))
    assert world.quiet(minutes=9) == 0
    assert world.quiet(minutes=1) == 1
    assert (run_of("r").status, run_of("r").attempt) == (S.FAILED, 1)
    assert run_of("r").error_summary == "ci app 2 failed: again"
    assert world.events("run.") == ["run.started", "run.failed"]


def test_a_run_fails_fast_and_begins_again_when_the_failure_is_run_again(world, build, by_key, run_of, minute):
    by_key(create_run=True, policy={"on_failure": "fail-fast", "expected": ("app", "long")})
    world.see(
        build("1", "FAILED", run="r", start=0, end=2), build("2", "PROCESSING", run="r", workflow="long", start=1)
    )
    assert (run_of("r").status, run_of("r").finished_at) == (S.FAILED, minute(2))
    world.see(build("3", "COMPLETED", run="r", queued=4, start=4, end=5))
    assert (run_of("r").status, run_of("r").attempt) == (S.PROCESSING, 2)
    world.see(build("2", "COMPLETED", run="r", workflow="long", start=1, end=9))
    assert run_of("r").status is S.COMPLETED


def test_an_end_that_is_kept_stays_whatever_comes(world, build, by_key, run_of):
    by_key(create_run=True, policy={"on_reopen": "keep", "expected": ("app",)})
    world.see(build("1", "COMPLETED", run="r", start=0, end=2))
    version = run_of("r").version
    world.see(build("1", "PROCESSING", run="r", start=5))
    world.see(build("1", "FAILED", run="r", start=5, end=7))
    assert (run_of("r").status, run_of("r").version) == (S.COMPLETED, version)


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_run_is_completed_by_hand_and_by_nothing_else(world, build, by_key, run_of):
    by_key(create_run=True, policy={"complete": "by-hand"})
    world.see(build("1", "COMPLETED", run="r", start=0, end=2))
    assert world.quiet(minutes=10_000) == 0
    world.move(run_of("r"), "complete")
    assert (run_of("r").status, run_of("r").updated_by) == (S.COMPLETED, "cli:me")
    world.see(build("2", "FAILED", run="r", workflow="late", start=0, end=2))
    assert run_of("r").status is S.COMPLETED


def test_reopening_by_hand_gives_a_run_back_to_its_instances(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", start=0, end=2))
    world.move(run_of("r"), "reopen")
    assert (run_of("r").status, run_of("r").attempt) == (S.FAILED, 2), "they say the same at once"
    run = world.run("other")
    world.move(run, "cancel", reason="no need")
    assert (run_of("other").status, run_of("other").cancellation_reason) == (S.CANCELLED, "no need")
    world.see(build("2", "PROCESSING", run="other", start=3))
    assert run_of("other").status is S.CANCELLED
    world.move(run, "reopen")
    assert (run_of("other").status, run_of("other").attempt) == (S.PROCESSING, 2)


def test_a_run_that_is_ended_by_hand_settles_its_executions(world, by_key, run_of):
    by_key()
    run = world.run("r")
    batch = Batch(automation_id=run.automation_id, name="b")
    batch_execution = BatchExecution(run_id=run.id, batch_id=batch.id)
    item = Item(batch_id=batch.id, sequence_number=0)
    execution = ItemExecution(run_id=run.id, batch_execution_id=batch_execution.id, item_id=item.id)

    def store(uow):
        uow.batches.add(batch)
        uow.batch_executions.add(batch_execution)
        uow.items.add(item)
        uow.item_executions.add(execution)

    world.store.write(store, actor="cli:me")
    world.move(run, "cancel")
    with world.store.reading() as uow:
        assert uow.item_executions.get(execution.id).status is S.CANCELLED
        assert uow.batch_executions.get(batch_execution.id).status is S.CANCELLED


def test_what_cannot_be_done_by_hand_is_refused_and_changes_nothing(world, by_key, run_of):
    by_key()
    run = world.run("r")
    with pytest.raises(InvalidStateError, match="is PENDING and cannot become COMPLETED"):
        world.move(run, "complete")
    with pytest.raises(ValidationError, match="a reason goes with fail and cancel"):
        world.move(run, "start", reason="why not")
    with pytest.raises(InvalidStateError, match="not ended"):
        world.move(run, "reopen")
    with pytest.raises(Missing, match="no run has the id"):
        world.move(Run(automation_id=run.automation_id), "start")
    assert run_of("r").version == 1


# --- silence ------------------------------------------------------------------------------------------------------


def test_a_run_without_news_is_flagged_once_and_news_takes_the_flag_back(world, build, by_key, run_of):
    by_key(create_run=True, policy={"silent_after_s": 3600})
    world.see(build("1", "PROCESSING", run="r", start=0))
    told_at = run_of("r").updated_at
    assert world.silence(minutes=59) == 0
    world.see(build("1", "PROCESSING", run="r", start=0, message="still at it"))
    heard_at = world.instance("1").updated_at
    assert world.silence(minutes=59) == 0, "something was learnt of its instance"
    assert world.silence(minutes=2) == 1
    assert world.silence(minutes=99) == 0
    assert run_of("r").silent_since == heard_at > told_at
    assert run_of("r").status is S.PROCESSING
    world.see(build("1", "PROCESSING", run="r", start=0, message="still at it"))
    assert run_of("r").silent_since == heard_at, "the same again is no news"
    world.see(build("1", "PROCESSING", run="r", start=0, message="back"))
    assert run_of("r").silent_since is None
    assert world.events("run.") == ["run.started", "run.silent"]


def test_a_run_that_never_got_an_instance_is_flagged_too(world, by_key, run_of):
    by_key(policy={"silent_after_s": 3600})
    world.run("waits")
    world.move(world.run("done"), "cancel")
    assert world.silence(minutes=61) == 1
    assert run_of("waits").silent_since is not None
    assert run_of("done").silent_since is None


def test_without_a_limit_nothing_is_flagged(world, by_key):
    by_key()
    world.run("r")
    assert world.silence(minutes=1_000_000) == 0
