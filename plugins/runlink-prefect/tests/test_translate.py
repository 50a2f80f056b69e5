"""What each state of a flow run and of its task runs means to runlink, row by row."""

import pytest

from runlink_prefect.translate import Facts, is_ahead_of_time, is_flow_run_id, needs_history, observe

RUN = "233c450f-174b-426c-88f2-1aa653e08dbb"
AT = "2026-11-23T14:40:{:02}.5Z"


def state(kind, name=None, second=0, message=None):
    return {"id": f"s{second}", "type": kind, "name": name or kind.title(), "timestamp": AT.format(second)} | {
        "message": message
    }


def row(kind="RUNNING", name=None, *, runs=1, second=9, **changes):
    now = state(kind, name, second)
    ended = kind in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    base = {"id": RUN, "name": "lemur", "created": AT.format(0), "flow_id": "f", "deployment_id": "d", "labels": {}}
    base |= {"state": now, "state_id": now["id"], "state_type": now["type"], "state_name": now["name"]}
    base |= {"run_count": runs, "start_time": AT.format(1) if runs else None, "auto_scheduled": False, "tags": []}
    base |= {"end_time": now["timestamp"] if ended else None, "empirical_policy": {"retry_type": None}}
    return base | {"parameters": {}} | changes


def seen(flow_run, **facts):
    return observe(Facts(row=flow_run, workflow="etl/nightly", **{"task_states": {}, **facts}))


@pytest.mark.parametrize(
    ("kind", "name", "runs", "status"),
    [
        ("SCHEDULED", "Scheduled", 0, "PENDING"),
        ("SCHEDULED", "Late", 0, "PENDING"),
        ("SCHEDULED", "AwaitingConcurrencySlot", 0, "PENDING"),
        ("SCHEDULED", "AwaitingRetry", 1, "RETRYING"),
        ("SCHEDULED", "AwaitingRetry", 0, "RETRYING"),
        ("SCHEDULED", "Scheduled", 1, "RETRYING"),
        ("PENDING", "Pending", 0, "PENDING"),
        ("PENDING", "Submitting", 0, "PENDING"),
        ("PENDING", "Submitting", 1, "RETRYING"),
        ("RUNNING", "Running", 1, "PROCESSING"),
        ("RUNNING", "Retrying", 2, "RETRYING"),
        ("RUNNING", "Halfway There", 1, "PROCESSING"),
        ("PAUSED", "Paused", 1, "PROCESSING"),
        ("PAUSED", "Suspended", 1, "PROCESSING"),
        ("CANCELLING", "Cancelling", 1, "PROCESSING"),
        ("COMPLETED", "Completed", 1, "COMPLETED"),
        ("COMPLETED", "Cached", 1, "COMPLETED"),
        ("FAILED", "Failed", 1, "FAILED"),
        ("FAILED", "TimedOut", 1, "FAILED"),
        ("CRASHED", "Crashed", 1, "FAILED"),
        ("CANCELLED", "Cancelled", 0, "CANCELLED"),
    ],
)
def test_states(kind, name, runs, status):
    told = seen(row(kind, name, runs=runs))
    assert (told.status, told.native_status) == (status, name)
    assert (told.finished_at is not None) == (status in ("COMPLETED", "FAILED", "CANCELLED"))


def test_a_state_type_of_a_later_release_is_refused_by_name():
    with pytest.raises(ValueError, match="'HIBERNATING'"):
        seen(row("HIBERNATING"))


def test_a_run_that_goes_on_after_a_pause_is_no_new_try():
    states = [state("RUNNING", None, 1), state("PAUSED", "Suspended", 2), state("SCHEDULED", "Resuming", 3)]
    told = seen(row("SCHEDULED", "Resuming"), states=states)
    assert (told.status, told.attempt) == ("PROCESSING", 1)
    states += [state("PENDING", None, 4), state("RUNNING", None, 9)]
    told = seen(row(), states=states)
    assert (told.status, told.attempt, told.attempts) == ("PROCESSING", 1, ())
    assert told.started_at.second == 1


def test_a_new_start_without_a_pause_is_a_new_try():
    """A worker that lost its process and starts the run again."""
    states = [state("RUNNING", None, 1), state("PENDING", None, 3), state("RUNNING", None, 9)]
    told = seen(row(runs=2), states=states)
    assert (told.attempt, told.started_at.second) == (2, 9)
    assert [(one.number, one.status, one.native_status) for one in told.attempts] == [(1, "FAILED", "Pending")]


def test_marked_as_ended_otherwise_by_hand():
    """3.9.1: `end_time` and `run_count` stay, the state's time moves on."""
    flow_run = row("COMPLETED", second=9, end_time=AT.format(5))
    assert needs_history(flow_run)
    told = seen(flow_run, states=[state("RUNNING", None, 1), state("FAILED", None, 5), state("COMPLETED", None, 9)])
    assert (told.status, told.attempt, told.finished_at.second, told.started_at) == ("COMPLETED", 2, 9, None)
    assert [(one.status, one.finished_at.second) for one in told.attempts] == [("FAILED", 5)]


def test_a_run_that_was_cancelled_before_it_began_and_then_ran():
    states = [state("SCHEDULED", None, 0), state("CANCELLED", None, 1), state("SCHEDULED", "AwaitingRetry", 2)]
    told = seen(row("SCHEDULED", "AwaitingRetry", runs=0), states=states)
    assert (told.attempt, told.status) == (2, "RETRYING")


@pytest.mark.parametrize(
    ("flow_run", "needs"),
    [
        (row("SCHEDULED", runs=0), False),
        (row("RUNNING"), False),
        (row("COMPLETED"), False),
        (row("RUNNING", runs=2), True),
        (row("SCHEDULED", "AwaitingRetry"), True),
        (row("PENDING"), True),
        (row("SCHEDULED", runs=0, empirical_policy={"retry_type": "reschedule"}), True),
    ],
)
def test_whose_states_are_worth_a_request(flow_run, needs):
    assert needs_history(flow_run) is needs


def test_without_history_the_run_count_is_the_try():
    told = seen(row("COMPLETED", runs=3))
    assert (told.attempt, told.attempts) == (3, None)


def test_only_what_a_schedule_made_and_nobody_touched_is_ahead_of_time():
    assert is_ahead_of_time(row("SCHEDULED", runs=0, auto_scheduled=True))
    assert not is_ahead_of_time(row("SCHEDULED", "Late", runs=0, auto_scheduled=True))
    assert not is_ahead_of_time(row("SCHEDULED", runs=0))
    assert not is_ahead_of_time(row("PENDING", runs=0, auto_scheduled=True))


@pytest.mark.parametrize("text", ["", "abc", RUN.upper(), RUN.replace("-", ""), f"{RUN} "])
def test_foreign_ids(text):
    assert not is_flow_run_id(text)
    assert is_flow_run_id(RUN)


def test_what_it_was_started_with():
    told = seen(
        row(
            parameters={"run_id": "42", "n": [1]},
            tags=["urgent", "run_id:rl-1", "url:http://x"],
            labels={"prefect.flow.id": "f", "team": 7},
            idempotency_key="k",
            created_by={"type": "SCHEDULE"},
            work_pool_name=None,
            total_run_time=3.5,
            estimated_run_time=9.9,
        ),
        parent="9c66313f-8eb7-42ee-9fb4-6243820d5610",
        ui_url="http://prefect.test",
    )
    assert told.parameters == {"run_id": "42", "n": [1]}
    assert told.labels == {
        "prefect.flow.id": "f",
        "team": "7",
        "urgent": "urgent",
        "run_id": "rl-1",
        "url": "http://x",
    }
    assert told.parent == "9c66313f-8eb7-42ee-9fb4-6243820d5610"
    assert told.url == f"http://prefect.test/runs/flow-run/{RUN}"
    assert told.metadata == {
        "name": "lemur",
        "flow_id": "f",
        "deployment_id": "d",
        "idempotency_key": "k",
        "state_type": "RUNNING",
        "created_by": {"type": "SCHEDULE"},
    }


# --- steps -----------------------------------------------------------------------------------------------------------


def task(kind, name=None, *, runs=1, flow_try=1, id_="t1", **changes):
    base = {"id": id_, "name": "extract-c5e", "dynamic_key": "c5e9dbea-07d3-4dbf-a451-85cc4f1fe830"}
    base |= {"run_count": runs, "flow_run_run_count": flow_try, "state_type": kind, "state_name": name or kind.title()}
    base |= {"state": {"message": None}, "state_id": "x", "expected_start_time": AT.format(2)}
    base |= {"start_time": AT.format(2), "end_time": AT.format(3) if kind in ("COMPLETED", "FAILED") else None}
    return base | changes


def step(one, flow_run=None, **facts):
    (told,) = seen(flow_run or row(), tasks=[one], **facts).steps
    return told


@pytest.mark.parametrize(
    ("one", "status", "native", "final"),
    [
        (task("PENDING", runs=0), "PENDING", "Pending", None),
        (task("RUNNING"), "PROCESSING", "Running", None),
        (task("SCHEDULED", "AwaitingRetry"), "RETRYING", "AwaitingRetry", False),
        (task("COMPLETED"), "COMPLETED", "Completed", True),
        (task("COMPLETED", "Cached", runs=0), "COMPLETED", "Cached", True),
        (task("FAILED"), "FAILED", "Failed", True),
    ],
)
def test_steps(one, status, native, final):
    told = step(one)
    assert (told.external_id, told.name, told.status, told.native_status, told.final, told.attempt) == (
        "t1",
        "extract",
        status,
        native,
        final,
        1,
    )


def test_names_that_people_gave_stay():
    assert step(task("RUNNING")).name == "extract"
    assert step(task("RUNNING") | {"name": "extract 2026-c5"}).name == "extract 2026-c5"
    assert step(task("RUNNING") | {"name": "child-0", "dynamic_key": "0"}).name == "child-0"


def test_what_failed_in_an_earlier_try_of_the_flow_run_is_not_final():
    tasks = [task("FAILED", id_="a"), task("COMPLETED", id_="b"), task("FAILED", flow_try=2, id_="c")]
    told = seen(row("FAILED", runs=2), tasks=tasks).steps
    assert [(each.external_id, each.final) for each in told] == [("a", False), ("b", True), ("c", True)]


def test_task_runs_that_were_left_behind():
    """A killed flow run: nobody ends its task runs. Right after the end, their own end may still be on its way."""
    ended = row("CANCELLED")
    assert (step(task("RUNNING"), ended).status, step(task("RUNNING"), ended).final) == ("PROCESSING", None)
    told = step(task("RUNNING"), ended, settled=True)
    assert (told.status, told.native_status, told.final) == ("CANCELLED", "Running (unfinished)", True)


def test_steps_that_were_not_read_are_not_none_at_all():
    assert seen(row()).steps is None
    assert seen(row(), tasks=[]).steps == ()
