"""A Run's status follows its instances, in the transaction of the observation that caused it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runlink.domain import (
    Batch,
    BatchExecution,
    ExecutionStatus,
    Item,
    ItemExecution,
)
from runlink.store import tables

S = ExecutionStatus


@pytest.fixture
def run_of(world):
    return lambda key: world.runs()[key]


def test_a_run_starts_with_its_first_instance_and_completes_when_it_was_quiet(world, build, by_key, run_of, minute):
    by_key(create_run=True, policy={"quiet_s": 120})
    world.see(build("1", "PENDING", run="r", queued=0))
    assert run_of("r").status is S.PENDING
    world.see(build("1", "PROCESSING", run="r", queued=0, start=1))
    assert (run_of("r").status, run_of("r").started_at) == (S.PROCESSING, minute(1))
    world.see(build("1", "COMPLETED", run="r", queued=0, start=1, end=4))
    assert run_of("r").status is S.PROCESSING
    assert world.quiet(minutes=1) == 0
    assert world.quiet(minutes=1) == 1
    assert (run_of("r").status, run_of("r").finished_at) == (S.COMPLETED, minute(4))
    assert world.quiet() == 0
    assert world.events("run.") == ["run.started", "run.completed"]
    assert run_of("r").updated_by == "rule:roll-up"


def test_a_run_of_which_only_an_end_was_told_starts_no_later_than_it_ends(world, build, by_key, run_of, minute):
    by_key(create_run=True, policy={"quiet_s": 60})
    world.now = minute(50)
    world.see(build("1", "COMPLETED", run="r", end=4))
    world.quiet()
    assert (run_of("r").status, run_of("r").started_at, run_of("r").finished_at) == (S.COMPLETED, minute(4), minute(4))


@pytest.mark.parametrize("first", ["cancelled", "waiting"])
def test_a_run_that_was_cancelled_before_it_began_waits_for_what_waits(world, build, by_key, run_of, first):
    by_key(create_run=True)
    cancelled = build("1", "CANCELLED", run="r", end=1)
    waiting = build("2", "PENDING", run="r", workflow="other", queued=1)
    for one in (cancelled, waiting) if first == "cancelled" else (waiting, cancelled):
        world.see(one)
    assert (run_of("r").status, run_of("r").finished_at, run_of("r").cancellation_reason) == (S.PENDING, None, None)


def test_a_later_instance_begins_the_quiet_time_anew(world, build, by_key, run_of):
    by_key(create_run=True, policy={"quiet_s": 120})
    world.see(build("1", "COMPLETED", run="r", end=1))
    world.see(build("2", "COMPLETED", run="r", end=2))
    assert world.quiet(minutes=1.5) == 0
    assert world.quiet(minutes=0.5) == 1
    assert run_of("r").status is S.COMPLETED


def test_with_expected_it_completes_when_all_of_them_have(world, build, by_key, run_of):
    by_key(create_run=True, policy={"expected": ("build", "deploy/*")})
    world.see(build("1", "COMPLETED", run="r", workflow="build"))
    assert world.quiet() == 0
    assert run_of("r").status is S.PROCESSING, "the gap between two engines is no success"
    world.see(build("2", "PROCESSING", run="r", workflow="deploy/eu"))
    world.see(build("2", "COMPLETED", run="r", workflow="deploy/eu"))
    assert run_of("r").status is S.COMPLETED


def test_a_failure_waits_for_what_is_still_running(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", end=3, message="exit 1"), build("2", "PROCESSING", run="r", workflow="b"))
    assert run_of("r").status is S.PROCESSING
    world.see(build("2", "COMPLETED", run="r", workflow="b", end=5))
    assert (run_of("r").status, run_of("r").error_summary) == (S.FAILED, "ci app 1 failed: exit 1")


def test_a_vanished_instance_fails_its_run_and_a_sighting_takes_it_back(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r", start=0))
    world.gone("1")
    world.gone("1")
    assert (run_of("r").status, run_of("r").error_summary) == (
        S.FAILED,
        "ci app 1 vanished; last seen processing",
    )
    world.see(build("1", "PROCESSING", run="r", start=0))
    assert (run_of("r").status, run_of("r").attempt) == (S.PROCESSING, 2)


def test_a_run_again_in_place_reopens_the_run(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", start=0, end=3))
    world.see(build("1", "PROCESSING", run="r", start=5))
    assert (run_of("r").status, run_of("r").attempt, run_of("r").error_summary) == (S.PROCESSING, 2, None)
    world.see(build("1", "COMPLETED", run="r", start=5, end=6))
    world.quiet()
    assert run_of("r").status is S.COMPLETED
    assert world.events("run.") == ["run.started", "run.failed", "run.reopened", "run.completed"]


def test_a_run_again_as_another_instance_replaces_the_first(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", queued=0, end=3))
    world.see(build("2", "PENDING", run="r", queued=5))
    assert (run_of("r").status, run_of("r").attempt) == (S.PROCESSING, 2)
    world.see(build("2", "COMPLETED", run="r", queued=5, end=7))
    world.quiet()
    assert run_of("r").status is S.COMPLETED


def test_what_had_ended_well_does_not_reopen_a_completed_run(world, build, by_key, run_of, minute):
    by_key(create_run=True)
    world.see(build("1", "COMPLETED", run="r", end=3))
    world.quiet()
    version = run_of("r").version
    world.see(build("1", "COMPLETED", run="r", end=3, message="kept for ever"))
    assert (run_of("r").status, run_of("r").version) == (S.COMPLETED, version)
    world.see(build("2", "COMPLETED", run="r", workflow="late", start=1, end=4))
    assert (run_of("r").status, run_of("r").started_at, run_of("r").finished_at) == (S.COMPLETED, minute(1), minute(4))
    assert world.events("run.") == ["run.started", "run.completed"]
    assert world.quiet() == 0
    world.see(build("3", "PROCESSING", run="r", workflow="later", start=9))
    assert run_of("r").status is S.PROCESSING


def test_a_second_failure_is_told_in_the_summary_without_an_event(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", end=3))
    world.see(build("2", "FAILED", run="r", workflow="b", end=2))
    assert run_of("r").error_summary == "ci b 2 failed (and 1 more)"
    assert world.events("run.") == ["run.started", "run.failed"]


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_a_run_that_was_ended_by_hand_is_left_alone(world, build, by_key, run_of, end):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r", start=0))
    run = run_of("r")
    getattr(run, end)()
    world.store.write(lambda uow: uow.runs.update(run), actor="cli:me")
    world.see(build("1", "FAILED", run="r", start=0, end=3))
    world.see(build("2", "PROCESSING", run="r", workflow="b"))
    assert (run_of("r").status, run_of("r").version) == (run.status, run.version)


def test_a_run_that_was_ended_by_hand_while_it_waited_waits_no_more(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "COMPLETED", run="r", end=3))
    run = run_of("r")
    run.cancel("no need")
    world.store.write(lambda uow: uow.runs.update(run), actor="cli:me")
    assert world.quiet() == 1
    assert world.quiet() == 0, "else those would fill every turn"
    assert run_of("r").status is S.CANCELLED


def test_a_run_without_any_link_left_stays_as_it_was(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "COMPLETED", run="r", end=3))
    world.unlink(run_of("r"), "1")
    assert world.quiet() == 0
    assert run_of("r").status is S.PROCESSING


def test_taking_the_failed_one_off_changes_the_end(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", end=3), build("2", "COMPLETED", run="r", workflow="b", end=4))
    assert run_of("r").status is S.FAILED
    world.unlink(run_of("r"), "1")
    assert run_of("r").status is S.PROCESSING
    world.quiet()
    assert (run_of("r").status, run_of("r").error_summary) == (S.COMPLETED, None)


def test_an_ended_run_settles_its_open_executions_with_their_history(world, build, by_key, run_of):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r", start=0))
    run = run_of("r")
    batch = Batch(automation_id=run.automation_id, name="b")
    batch_execution = BatchExecution(run_id=run.id, batch_id=batch.id)
    batch_execution.start()
    items = [Item(batch_id=batch.id, sequence_number=n) for n in range(3)]
    executions = [
        ItemExecution(run_id=run.id, batch_execution_id=batch_execution.id, item_id=item.id) for item in items
    ]
    executions[1].start()
    executions[2].start()
    executions[2].complete()

    def store(uow):
        uow.batches.add(batch)
        uow.batch_executions.add(batch_execution)
        for item, execution in zip(items, executions, strict=True):
            uow.items.add(item)
            uow.item_executions.add(execution)

    world.store.write(store, actor="cli:me")
    world.see(build("1", "FAILED", run="r", start=0, end=2, message="boom"))
    with world.store.reading() as uow:
        found = [uow.item_executions.get(one.id) for one in executions]
        assert uow.batch_executions.get(batch_execution.id).status is S.FAILED
        last = uow.item_state_history.list(item_execution_id=executions[1].id)[-1]
    assert [one.status for one in found] == [S.CANCELLED, S.FAILED, S.COMPLETED]
    assert found[1].error_message == "run failed: ci app 1 failed: boom"
    assert (last.previous_status, last.new_status) == (S.PROCESSING, S.FAILED)
    assert world.events("batch", "item") == ["item_execution.failed", "batch_execution.failed"]


def test_feeds_of_one_run_at_once_lose_no_update(world, build, by_key, run_of):
    """Each engine ends its part in its own thread: whoever is last must see the others' ends."""
    engines = tuple(f"e{n}" for n in range(5))
    by_key(create_run=True, engines=engines, policy={"expected": tuple(f"w{n}" for n in range(5))})
    for turn in range(5):
        key = f"r{turn}"
        world.see(build(key, "PENDING", run=key, workflow="w0"), engine="e0")
        together = threading.Barrier(len(engines))

        def feed(number, key=key, together=together):
            together.wait()
            for status in ("PROCESSING", "COMPLETED"):
                world.see(build(key, status, run=key, workflow=f"w{number}"), engine=f"e{number}")

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(feed, range(5)))
        assert run_of(key).status is S.COMPLETED
    assert len(world.rows(tables.runs)) == 5
    assert world.events("run.").count("run.completed") == 5


def test_a_link_by_hand_while_the_instance_ends_sees_the_end(world, build, by_key):
    by_key(policy={"expected": ("app",)})
    for turn in range(6):
        run = world.run()
        name = f"{turn}"
        world.see(build(name, start=0))
        together = threading.Barrier(2)

        def end(name=name, together=together):
            together.wait()
            world.see(build(name, "COMPLETED", start=0, end=2))

        def link(name=name, together=together, run=run):
            together.wait()
            world.link(run, name)

        with ThreadPoolExecutor(2) as pool:
            for job in (pool.submit(end), pool.submit(link)):
                job.result()
        assert world.fetch(run).status is S.COMPLETED


def test_the_summary_names_the_step_that_failed_first_and_was_not_tried_again(world, build, step, by_key):
    by_key(create_run=True)
    steps = (
        step("flaky", "FAILED", 1, start=0, end=1),
        step("flaky", "COMPLETED", 2, start=1, end=2),
        step("whole", "FAILED", start=1, end=4),
        step("part", "FAILED", start=2, end=4, parent="whole"),
        step("behind", "FAILED", start=5, end=5),
    )
    world.see(build("1", "FAILED", start=0, end=6, run="r", steps=steps, message="exit 1"))
    assert world.runs()["r"].error_summary == "ci app 1 failed in step 'part': exit 1"
