"""Batch and item executions: transitions, the retry rule, history, and what an ended Run does to them."""

import pytest

from runlink.domain import (
    RUN_END_EFFECT,
    BatchExecutionFailed,
    ExecutionStatus,
    InvalidStateError,
    ItemExecutionFailed,
    Run,
    ValidationError,
    new_id,
    settle_executions,
)

S = ExecutionStatus
TRANSITION_OF = {"start": S.PROCESSING, "complete": S.COMPLETED, "fail": S.FAILED, "cancel": S.CANCELLED}


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("call", TRANSITION_OF)
@pytest.mark.parametrize("kind", ["batch", "item"])
def test_each_transition_asks_the_table(kind, status, call, minutes, make_batch_execution, make_item_execution):
    execution = (make_batch_execution if kind == "batch" else make_item_execution)(status=status)
    target = TRANSITION_OF[call]
    if status.can_transition_to(target):
        getattr(execution, call)(at=minutes(1))
        assert (execution.status, execution.version) == (target, 2)
        assert execution.finished_at == (minutes(1) if target.is_ended else None)
    else:
        with pytest.raises(InvalidStateError, match=f"is {status} and cannot become {target}"):
            getattr(execution, call)(at=minutes(1))
        assert (execution.status, execution.version, execution.finished_at) == (status, 1, None)


def test_batch_failure_is_told(make_batch_execution, minutes):
    execution = make_batch_execution()
    execution.start(minutes(1))
    execution.fail(minutes(2))
    assert execution.pull_events() == [
        BatchExecutionFailed(
            occurred_at=minutes(2),
            batch_execution_id=execution.id,
            run_id=execution.run_id,
            batch_id=execution.batch_id,
        )
    ]


def test_retries_until_max_attempts(make_item_execution, minutes):
    item = make_item_execution(max_attempts=2)
    item.start(minutes(1))
    assert item.can_retry()
    item.fail("Timeout", minutes(2))
    assert (item.status, item.attempt_count, item.finished_at) == (S.RETRYING, 1, None)
    item.start(minutes(3))
    assert (item.status, item.attempt_count, item.started_at) == (S.PROCESSING, 2, minutes(1))
    assert not item.can_retry()
    item.fail("Timeout again", at=minutes(4))
    assert (item.status, item.finished_at, item.error_message) == (S.FAILED, minutes(4), "Timeout again")
    events = item.pull_events()
    assert all(isinstance(event, ItemExecutionFailed) for event in events)
    assert [(event.status, event.attempt, event.error_message) for event in events] == [
        (S.RETRYING, 1, "Timeout"),
        (S.FAILED, 2, "Timeout again"),
    ]


def test_without_max_attempts_there_is_no_retry(make_item_execution):
    item = make_item_execution()
    item.start()
    assert not item.can_retry()
    item.fail("Timeout")
    assert item.status is S.FAILED


def test_start_guards_max_attempts(make_item_execution):
    item = make_item_execution(max_attempts=1, attempt_count=1, status=S.RETRYING)
    with pytest.raises(InvalidStateError, match="1 of 1 attempts"):
        item.start()
    assert (item.attempt_count, item.version, item.pull_history()) == (1, 1, [])
    item.fail("out of attempts")
    assert item.status is S.FAILED


def test_more_attempts_than_allowed_cannot_be_built(make_item_execution):
    with pytest.raises(ValidationError, match="attempt_count: 3 is more than max_attempts, 2"):
        make_item_execution(attempt_count=3, max_attempts=2)


def test_expected_attempts_come_from_evidence(make_item_execution):
    item = make_item_execution()
    item.start()
    item.expect_attempts(2)
    item.fail("the engine will try again")
    assert (item.status, item.max_attempts) == (S.RETRYING, 2)
    item.start()
    item.expect_attempts(1)  # two were made, whatever is expected
    assert (item.max_attempts, item.version) == (2, 5)
    item.expect_attempts(3)
    item.fail("and again")
    assert item.status is S.RETRYING
    with pytest.raises(ValidationError, match="max_attempts"):
        item.expect_attempts(-1)


def test_giving_up_ends_also_between_attempts(make_item_execution):
    item = make_item_execution(max_attempts=9)
    item.start()
    item.fail("Timeout")
    with pytest.raises(InvalidStateError, match="is RETRYING and cannot become RETRYING"):
        item.fail("Timeout")
    item.give_up("nobody waits any more")
    assert (item.status, item.error_message, item.can_retry()) == (S.FAILED, "nobody waits any more", False)


def test_result_is_json_or_refused(make_item_execution):
    item = make_item_execution()
    item.start()
    with pytest.raises(ValidationError, match="result_payload"):
        item.complete({"rows": object()})
    assert (item.status, item.version) == (S.PROCESSING, 2)
    item.complete({"rows": 3})
    assert item.result_payload == {"rows": 3}


def test_every_status_change_leaves_history(make_item_execution, minutes):
    item = make_item_execution(max_attempts=3)
    item.start(minutes(1))
    item.fail("x", minutes(2))
    item.start(minutes(3))
    item.expect_attempts(4)
    item.complete(None, minutes(4))
    history = item.pull_history()
    assert [(one.previous_status, one.new_status, one.changed_at) for one in history] == [
        (S.PENDING, S.PROCESSING, minutes(1)),
        (S.PROCESSING, S.RETRYING, minutes(2)),
        (S.RETRYING, S.PROCESSING, minutes(3)),
        (S.PROCESSING, S.COMPLETED, minutes(4)),
    ]
    assert {one.item_execution_id for one in history} == {item.id}
    assert all(one.created_at > minutes(4) for one in history)
    assert item.pull_history() == []


SETTLED = {
    S.COMPLETED: dict(zip(S, S, strict=True)),
    S.CANCELLED: dict(zip(S, S, strict=True))
    | {S.PENDING: S.CANCELLED, S.PROCESSING: S.CANCELLED, S.RETRYING: S.CANCELLED},
    S.FAILED: dict(zip(S, S, strict=True)) | {S.PENDING: S.CANCELLED, S.PROCESSING: S.FAILED, S.RETRYING: S.FAILED},
}


@pytest.mark.parametrize("run_status", SETTLED)
@pytest.mark.parametrize("status", S)
def test_an_ended_run_settles_its_executions(run_status, status, make_batch_execution, make_item_execution, minutes):
    run = Run(automation_id=new_id(), status=run_status, error_summary="disk full")
    batch = make_batch_execution(run_id=run.id, status=status)
    item = make_item_execution(run_id=run.id, status=status, attempt_count=1, max_attempts=5)
    changed = settle_executions(run, [batch], iter([item]), minutes(9))
    expected = SETTLED[run_status][status]
    assert (batch.status, item.status) == (expected, expected)
    assert changed == ([] if expected is status else [item, batch])
    assert (batch.version, item.version) == ((1, 1) if expected is status else (2, 2))
    if changed:
        assert item.finished_at == batch.finished_at == minutes(9)
        assert item.error_message == ("run failed: disk full" if expected is S.FAILED else None)
    assert settle_executions(run, [batch], [item]) == []


def test_the_table_of_effects_leads_along_legal_transitions():
    for (run_status, status), effect in RUN_END_EFFECT.items():
        assert run_status.is_ended
        assert status.can_transition_to(effect)
        assert effect.is_ended


def test_settling_refuses_an_open_run_and_strangers(run, make_batch_execution, make_item_execution):
    with pytest.raises(InvalidStateError, match="when it has ended"):
        settle_executions(run, [], [])
    run.cancel()
    own, strange = make_item_execution(), make_batch_execution(run_id=new_id())
    with pytest.raises(ValidationError, match="belongs to Run"):
        settle_executions(run, [strange], [own])
    assert own.status is S.PENDING
