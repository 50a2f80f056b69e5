"""Run: its transitions, events and reopening."""

import pytest

from runlink.domain import (
    ExecutionStatus,
    InvalidStateError,
    Run,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunSilent,
    RunStarted,
    ValidationError,
    new_id,
)

S = ExecutionStatus
TRANSITION_OF = {"start": S.PROCESSING, "complete": S.COMPLETED, "fail": S.FAILED, "cancel": S.CANCELLED}


def test_completes(run, minutes):
    run.start(minutes(1))
    run.complete(at=minutes(3))
    assert (run.status, run.started_at, run.finished_at) == (S.COMPLETED, minutes(1), minutes(3))
    assert (run.version, run.updated_at) == (3, minutes(3))
    assert run.pull_events() == [
        event(occurred_at=at, run_id=run.id, automation_id=run.automation_id, correlation_id=None, attempt=1)
        for event, at in ((RunStarted, minutes(1)), (RunCompleted, minutes(3)))
    ]
    assert run.pull_events() == []


def test_fails(run, minutes):
    run.start()
    run.fail("three builds failed", minutes(2))
    assert (run.status, run.error_summary) == (S.FAILED, "three builds failed")
    assert run.pull_events()[-1].error_summary == "three builds failed"


def test_is_cancelled_before_its_start(run, minutes):
    run.cancel(reason="not needed", at=minutes(2))
    assert (run.status, run.cancellation_reason, run.started_at) == (S.CANCELLED, "not needed", None)
    assert run.finished_at == minutes(2)
    (event,) = run.pull_events()
    assert isinstance(event, RunCancelled)
    assert event.cancellation_reason == "not needed"


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("call", TRANSITION_OF)
def test_each_transition_asks_the_table(status, call, minutes):
    run = Run(automation_id=new_id(), status=status, version=7)
    target = TRANSITION_OF[call]
    if status.can_transition_to(target):
        getattr(run, call)(at=minutes(1))
        assert (run.status, run.version, len(run.pull_events())) == (target, 8, 1)
    else:
        with pytest.raises(InvalidStateError, match=f"Run {run.id} is {status} and cannot become {target}; "):
            getattr(run, call)(at=minutes(1))
        assert (run.status, run.version, run.pull_events()) == (status, 7, [])
        assert (run.finished_at, run.error_summary, run.cancellation_reason) == (None, None, None)


def test_reopens_at_a_higher_attempt_only(run, minutes):
    with pytest.raises(InvalidStateError, match="not ended"):
        run.reopen(2)
    run.start(minutes(1))
    run.fail("bad", minutes(2))
    run.pull_events()
    with pytest.raises(InvalidStateError, match="at least 2"):
        run.reopen(1)
    with pytest.raises(ValidationError, match="attempt"):
        run.reopen("2")
    run.reopen(3, minutes(4))
    assert (run.status, run.attempt, run.version) == (S.PROCESSING, 3, 4)
    assert (run.started_at, run.finished_at, run.error_summary) == (minutes(1), None, None)
    (event,) = run.pull_events()
    assert isinstance(event, RunReopened)
    assert (event.previous_status, event.attempt) == (S.FAILED, 3)


def test_reopening_what_never_started_starts_it(run, minutes):
    run.cancel("no", minutes(1))
    run.reopen(2, minutes(2))
    assert (run.started_at, run.cancellation_reason) == (minutes(2), None)


def test_run_failed_is_its_own_event(run):
    run.start()
    run.fail()
    assert [type(event) for event in run.pull_events()] == [RunStarted, RunFailed]


def test_another_reason_for_the_same_end_is_one_change_without_an_event(run, minutes):
    with pytest.raises(InvalidStateError, match="only a failed or cancelled one has a reason"):
        run.restate(reason="too early")
    run.start(minutes(1))
    run.fail("one failed", minutes(2))
    run.pull_events()
    assert run.restate(reason="two failed", finished_at=minutes(3), at=minutes(4)) is True
    assert (run.error_summary, run.finished_at, run.updated_at, run.version) == (
        "two failed",
        minutes(3),
        minutes(4),
        4,
    )
    assert run.restate(reason="two failed", finished_at=minutes(3)) is False
    assert (run.finished_at, run.version, run.pull_events()) == (minutes(3), 4, [])


def test_what_is_known_better_of_a_state_is_one_change_without_an_event(run, minutes):
    run.start(minutes(2))
    with pytest.raises(InvalidStateError, match="only an ended one has an end"):
        run.restate(finished_at=minutes(3))
    assert run.restate(started_at=minutes(1), at=minutes(4)) is True
    run.complete(minutes(5))
    run.pull_events()
    with pytest.raises(InvalidStateError, match="only a failed or cancelled one has a reason"):
        run.restate(reason="none")
    assert run.restate(finished_at=minutes(6), at=minutes(7)) is True
    assert (run.started_at, run.finished_at, run.pull_events()) == (minutes(1), minutes(6), [])


def test_a_silent_run_is_flagged_once_and_any_news_takes_it_back(run, minutes):
    run.start(minutes(1))
    run.pull_events()
    assert run.hear() is False
    assert run.flag_silent(minutes(2), at=minutes(9)) is True
    assert run.flag_silent(minutes(3), at=minutes(10)) is False
    (event,) = run.pull_events()
    assert (type(event), event.silent_since, event.occurred_at) == (RunSilent, minutes(2), minutes(9))
    assert run.hear(minutes(11)) is True
    assert (run.silent_since, run.pull_events()) == (None, [])
    run.flag_silent(minutes(12))
    run.complete(minutes(13))
    assert run.silent_since is None
    with pytest.raises(InvalidStateError, match="what has ended is not waited for"):
        run.flag_silent(minutes(14))
