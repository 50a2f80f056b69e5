"""What each state of a DAG run and of its tasks means to runlink, row by row."""

from datetime import datetime

import pytest

from runlink.spi import UNKNOWN
from runlink_airflow.translate import (
    TASK_STATES,
    Facts,
    as_queued,
    external_id,
    identity,
    observe,
    parse_external_id,
    step_id,
)

URL = "http://airflow.test"


@pytest.fixture
def ended(recorded_rows):
    return recorded_rows("103_after_clear_3")[0]


@pytest.fixture
def task(recorded_rows):
    base = next(row for row in recorded_rows("104") if row["task_id"] == "boom")
    return lambda **changes: base | {"try_number": 1, "max_tries": 0} | changes


def seen(run, **facts):
    return observe(Facts(run=run, url=URL, **facts))


@pytest.mark.parametrize(
    ("state", "status"),
    [("queued", "PENDING"), ("running", "PROCESSING"), ("success", "COMPLETED"), ("failed", "FAILED")],
)
def test_states_of_a_run(state, status, ended):
    told = seen(ended | {"state": state})
    assert (told.status, told.native_status) == (status, state)
    assert (told.finished_at is None) == (state in ("queued", "running"))


def test_a_state_that_is_not_known_is_refused(ended):
    with pytest.raises(ValueError, match="knows queued, running, success, failed"):
        seen(ended | {"state": "dreaming"})


@pytest.mark.parametrize(
    ("state", "status", "final"),
    [
        (None, "PENDING", None),
        ("scheduled", "PENDING", None),
        ("queued", "PENDING", None),
        ("running", "PROCESSING", None),
        ("deferred", "PROCESSING", None),
        ("up_for_reschedule", "PROCESSING", None),
        ("awaiting_input", "PROCESSING", None),
        ("up_for_retry", "RETRYING", False),
        ("restarting", "RETRYING", False),
        ("success", "COMPLETED", True),
        ("skipped", "COMPLETED", True),
        ("failed", "FAILED", True),
        ("upstream_failed", "FAILED", True),
        ("removed", "CANCELLED", True),
        ("invented_later", "PROCESSING", None),
    ],
)
def test_states_of_a_task(state, status, final, ended, task):
    number = 0 if state is None else 1
    (step,) = seen(ended, tasks=[task(state=state, try_number=number)]).steps
    assert (step.status, step.native_status, step.final) == (status, state or "none", final)
    assert (step.finished_at is None) == (status in ("PENDING", "PROCESSING"))
    assert (step.started_at is None) == (status == "PENDING")


def test_every_state_of_the_engine_is_known(recorded_rows):
    """`TaskInstanceState` of Airflow 3.3.2; None is a task instance that was not looked at yet."""
    assert set(TASK_STATES) == {None, *STATES}


STATES = ["removed", "scheduled", "queued", "running", "success", "restarting", "failed", "up_for_retry"]
STATES += ["up_for_reschedule", "upstream_failed", "skipped", "deferred", "awaiting_input"]


def test_a_run_is_retrying_while_a_task_waits_for_its_next_try(ended, task):
    run = ended | {"state": "running", "end_date": None}
    assert seen(run, tasks=[task(state="up_for_retry", max_tries=2)]).status == "RETRYING"
    assert seen(run, retrying=True).status == "RETRYING"  # its tasks were read in an earlier turn
    assert seen(run, tasks=[task(state="running")], retrying=True).status == "PROCESSING"


def test_ended_by_hand_is_cancelled(ended):
    told = seen(ended, cancelled="set to failed by ann: enough")
    assert (told.status, told.native_status, told.message) == ("CANCELLED", "failed", "set to failed by ann: enough")
    assert seen(ended | {"state": "success"}, cancelled="x").message is None


def test_the_message_names_what_failed(ended, task):
    tasks = [task(task_id=f"t{n}", state="failed") for n in range(5)] + [task(task_id="u", state="upstream_failed")]
    assert seen(ended, tasks=tasks).message == (
        "task t0 failed (try 1 of 1), task t1 failed (try 1 of 1), task t2 failed (try 1 of 1) and 2 more"
    )


def test_what_a_cleared_task_still_shows_of_its_try_before_is_not_told_as_its_own(ended, recorded_rows):
    """Recording 141: state null, with try_number, start_date and end_date of the try before."""
    boom = next(row for row in recorded_rows("141") if row["task_id"] == "boom")
    assert (boom["state"], boom["try_number"], bool(boom["start_date"])) == (None, 1, True)
    (step,) = seen(ended, tasks=[boom]).steps
    assert (step.attempt, step.status, step.started_at) == (2, "PENDING", None)


def test_a_task_that_was_skipped_after_its_try_has_a_number_of_its_own(ended, recorded_rows):
    """Recording 145: cleared while it ran, then the run was cancelled: two rows with try_number 1."""
    past, current = recorded_rows("145")
    assert (past["state"], current["state"], current["try_number"]) == ("failed", "skipped", 1)
    steps = seen(ended, tasks=[current], tries={("sleepy", -1): [past, current]}).steps
    assert [(s.attempt, s.native_status, s.final) for s in steps] == [(1, "failed", False), (2, "skipped", True)]


def test_a_past_try_that_never_ended_is_ended_by_nobody_any_more(ended, task):
    tries = {("boom", -1): [task(state="running"), task(state="success", try_number=2)]}
    steps = seen(ended, tasks=[task(state="success", try_number=2)], tries=tries).steps
    assert [(s.attempt, str(s.status)) for s in steps] == [(1, "CANCELLED"), (2, "COMPLETED")]


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([None, None], "PENDING"),
        (["success", None], "PROCESSING"),
        (["success", "failed"], "FAILED"),
        (["success", "skipped"], "COMPLETED"),
        (["removed", "removed"], "CANCELLED"),
    ],
)
def test_the_whole_of_a_mapped_task(states, status, ended, task):
    tasks = [task(map_index=n, state=state, try_number=int(state is not None)) for n, state in enumerate(states)]
    steps = seen(ended, tasks=tasks).steps
    assert [(s.external_id, s.parent) for s in steps] == [("boom", None), ("boom[0]", "boom"), ("boom[1]", "boom")]
    assert (steps[0].status, steps[0].native_status) == (status, "mapped")


def test_steps_that_are_not_told(ended):
    assert seen(ended).steps is None
    assert seen(ended, tasks=UNKNOWN).steps is UNKNOWN
    assert seen(ended, tasks=[]).steps == ()


def test_what_moves_while_nothing_happens_is_not_told(ended):
    """Recording 040: `last_scheduling_decision` is another each second."""
    assert seen(ended) == seen(ended | {"last_scheduling_decision": "2026-11-23T15:00:00Z", "duration": 99.0})


def test_what_it_was_started_with(recorded_rows):
    told = seen(recorded_rows("092")[0])
    assert told.parameters == {"run_id": "rl-0005"}
    assert told.labels == {"run_type": "manual", "triggered_by": "rest_api", "user": "admin"}
    assert told.metadata == {
        "run_after": "2026-11-23T14:34:08.895936Z",
        "note": "cancelled by runlink",
        "dag_versions": [1],
    }
    assert told.url == f"{URL}/dags/long_pipeline/runs/manual__2026-11-23T14%3A34%3A08.895936%2B00%3A00"


def test_as_it_was_queued(ended):
    told = as_queued(seen(ended, tasks=[]))
    assert (told.status, told.native_status, told.started_at, told.finished_at) == ("PENDING", "queued", None, None)
    assert told.steps is told.message is None
    assert told.revision.number < seen(ended).revision.number
    assert told.created_at == datetime.fromisoformat(ended["queued_at"])


def test_revisions_rise_over_attempts(recorded_rows):
    """Before the clear, queued anew, running, failed again; and a clear while it runs (135) moves queued_at alone."""
    way = [recorded_rows(name)[0] for name in ("101", "103_after_clear_1", "103_after_clear_2", "103_after_clear_3")]
    numbers = [seen(row).revision.number for row in way]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[1] < numbers[2] == numbers[3]
    cleared = recorded_rows("135")[0]
    assert cleared["queued_at"] > cleared["start_date"]
    assert seen(cleared).revision.number > seen(cleared | {"queued_at": cleared["run_after"]}).revision.number
    assert seen(cleared | {"queued_at": None, "start_date": None}).revision is None


def test_the_same_run_id_used_again_is_another_run(ended):
    again = ended | {"run_after": "2026-11-24T00:00:00Z"}
    assert identity(again) != identity(ended)
    assert parse_external_id(identity(again)) == parse_external_id(identity(ended))


def test_a_clear_changes_no_id(recorded_rows):
    assert (
        len({identity(recorded_rows(name)[0]) for name in ("101", "102", "103_after_clear_1", "103_after_clear_3")})
        == 1
    )


def test_ids():
    at = datetime.fromisoformat("2026-11-23T15:34:08.000071+01:00")
    name = external_id("team.dag", "a/b@1 2:3+é", at)
    assert name == "team.dag/a/b@1 2:3+é@1795444448.000071"
    assert parse_external_id(name) == ("team.dag", "a/b@1 2:3+é")
    assert (step_id("t", None), step_id("t", -1), step_id("g.t", 0)) == ("t", "t", "g.t[0]")


@pytest.mark.parametrize("text", ["", "dag", "dag/run", "dag/run@1", "/run@1.000000", "dag/run@1.000000 "])
def test_foreign_ids(text):
    assert parse_external_id(text) is None
