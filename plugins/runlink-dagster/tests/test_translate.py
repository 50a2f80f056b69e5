"""What each state of a run and of its steps means to runlink, row by row."""

from datetime import UTC, datetime

import pytest
from fake_dagster import INTERRUPTION, full, recording, rows

from runlink.spi import UNKNOWN
from runlink_dagster.translate import STATUSES, observe, workflow

URL = "http://dagster.test"
AT = 1_795_445_000.0


def details(*stats, events=()):
    return {"stepStats": list(stats), "eventConnection": {"events": list(events)}}


def stats(key, status, *attempts, start=AT, end=None):
    tries = [{"startTime": began, "endTime": over} for began, over in attempts]
    return {"stepKey": key, "status": status, "startTime": start, "endTime": end, "attempts": tries}


def brief(steps):
    return [(step.external_id, step.attempt, str(step.status), step.native_status, step.final) for step in steps]


def test_every_status_of_dagster_is_mapped():
    names = recording("055")["response"]["json"]["data"]["__type"]["enumValues"]
    assert {each["name"] for each in names} == set(STATUSES)


@pytest.mark.parametrize(
    ("native", "status"),
    [
        ("QUEUED", "PENDING"),
        ("NOT_STARTED", "PENDING"),
        ("MANAGED", "PENDING"),
        ("STARTING", "PENDING"),
        ("STARTED", "PROCESSING"),
        ("SUSPENDED", "PROCESSING"),
        ("CANCELING", "PROCESSING"),
        ("SUCCESS", "COMPLETED"),
        ("FAILURE", "FAILED"),
        ("CANCELED", "CANCELLED"),
    ],
)
def test_statuses(native, status, make_run):
    seen = observe(make_run(1, native), None, URL)
    assert (seen.status, seen.native_status, seen.attempt) == (status, native, 1)
    assert (seen.finished_at is None) == (status in ("PENDING", "PROCESSING"))


def test_a_status_that_is_not_known_is_refused(make_run):
    with pytest.raises(ValueError, match="status is 'PAUSED'"):
        observe(make_run(1, "PAUSED"), None, URL)


def test_what_a_run_tells(make_run):
    tags = [{"key": "run_id", "value": "42"}, {"key": ".dagster/grpc_info", "value": "{}"}]
    run = make_run(
        1,
        tags=tags,
        runConfig={"ops": {"a": 1}},
        parentRunId="p",
        rootRunId="r",
        assetSelection=[{"path": ["b", "c"]}, {"path": ["a"]}],
    )
    seen = observe(run, None, URL)
    assert seen.external_id == run["runId"]
    assert seen.workflow == "dagster_defs.py/etl"
    assert seen.labels == {"run_id": "42"}
    assert seen.parameters == {"ops": {"a": 1}}
    assert seen.metadata == {"root_run": "r", "assets": ["a", "b/c"], "asset_count": 2}
    assert seen.parent == "p"
    assert seen.url == f"{URL}/runs/{run['runId']}"
    assert seen.created_at == datetime.fromtimestamp(AT + 1, UTC)
    assert (seen.started_at.timestamp(), seen.finished_at.timestamp()) == (AT + 2, AT + 11)
    assert (seen.steps, seen.message) == (None, None)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        (None, "etl"),
        (("defs", "__repository__"), "defs/etl"),
        (("defs", "nightly"), "defs/nightly/etl"),
    ],
)
def test_the_workflow_is_the_job_by_its_full_path(origin, name, make_run):
    if origin is not None:
        origin = {"repositoryLocationName": origin[0], "repositoryName": origin[1]}
    assert workflow(make_run(1, repositoryOrigin=origin)) == name


def test_a_large_configuration_is_left_out_and_the_run_is_told(make_run):
    seen = observe(make_run(1, runConfig={"big": "x" * 20_000}), None, URL)
    assert seen.parameters is None
    assert seen.metadata["run_config"] == "left out: 20011 bytes"
    assert observe(make_run(1, runConfig="ops: {}"), None, URL).metadata["run_config"] == "not an object"


# --- steps ----------------------------------------------------------------------------------------------------------


def test_a_step_that_was_tried_three_times():
    (row,) = (row for row in rows("030") if row["jobName"] == "retry_job")
    seen = observe(full(row), details(*row["stepStats"]), URL)
    assert brief(seen.steps) == [
        ("flaky", 1, "FAILED", "UP_FOR_RETRY", False),
        ("flaky", 2, "FAILED", "UP_FOR_RETRY", False),
        ("flaky", 3, "COMPLETED", "SUCCESS", True),
    ]
    assert [round(step.started_at.timestamp(), 3) for step in seen.steps] == [
        1795445119.053,
        1795445146.406,
        1795445175.286,
    ]


def test_dynamic_steps_have_keys_of_their_own():
    (row,) = (row for row in rows("030") if row["jobName"] == "mapped_job")
    seen = observe(full(row), details(*row["stepStats"]), URL)
    assert {step.external_id for step in seen.steps} == {"items", "square[1]", "square[2]", "square[3]", "total"}


def test_steps_under_way(make_run):
    told = details(
        stats("a", "IN_PROGRESS"),
        stats("b", "IN_PROGRESS", (AT, AT + 1)),
        stats("c", None, start=None),
        stats("d", "SKIPPED", (AT, AT)),
        stats("e", "SUCCESS", end=AT + 5),
    )
    seen = observe(make_run(1, "STARTED"), told, URL).steps
    assert brief(seen) == [
        ("a", 1, "PROCESSING", "IN_PROGRESS", None),
        ("b", 1, "FAILED", "UP_FOR_RETRY", False),
        ("b", 2, "PROCESSING", "IN_PROGRESS", None),
        ("c", 1, "PENDING", "STARTING", None),
        ("d", 1, "COMPLETED", "SKIPPED", True),
        ("e", 1, "COMPLETED", "SUCCESS", True),
    ]
    assert [step.started_at is None for step in seen] == [False, False, True, True, False, False]


def test_what_nobody_will_end_any_more(make_run):
    """A run whose worker was killed: its step never heard of it."""
    told = details(stats("a", "IN_PROGRESS"), stats("b", None, start=None))
    assert brief(observe(make_run(1, "FAILURE"), told, URL).steps) == [
        ("a", 1, "CANCELLED", "IN_PROGRESS", True),
        ("b", 1, "CANCELLED", "STARTING", True),
    ]


def test_a_cancelled_runs_step_says_failure_and_was_cancelled():
    (row,) = (row for row in rows("112") if row["runId"].startswith("64ff1ebc"))
    (told,) = (
        one
        for one in recording("114")["response"]["json"]["data"]["runsOrError"]["results"]
        if one["runId"] == row["runId"]
    )
    seen = observe(row, told, URL)
    assert brief(seen.steps) == [("sleepy", 1, "CANCELLED", "FAILURE", True)]
    assert (seen.status, seen.message) == ("CANCELLED", 'Execution of run for "long_job" canceled.')


def test_a_step_that_had_failed_before_its_run_was_cancelled_has_failed(make_run):
    failure = {"__typename": "ExecutionStepFailureEvent", "stepKey": "a"}
    real = failure | {"error": {"className": "ValueError", "message": "ValueError: no\n", "errorChain": []}}
    ended = failure | {"stepKey": "b", "error": INTERRUPTION}
    told = details(*(stats(key, "FAILURE", (AT, AT + 1)) for key in "abc"), events=[real, ended])
    seen = observe(make_run(1, "CANCELED"), told, URL).steps
    assert [str(step.status) for step in seen] == ["FAILED", "CANCELLED", "CANCELLED"]  # of c nothing was told
    assert seen[0].message == "ValueError: no"


def test_the_users_own_error_is_the_message():
    (row,) = (row for row in rows("112") if row["runId"].startswith("f2cbf5c9"))
    (told,) = (
        one
        for one in recording("114")["response"]["json"]["data"]["runsOrError"]["results"]
        if one["runId"] == row["runId"]
    )
    seen = observe(row, told, URL)
    assert seen.message == "ValueError: no such table: orders — Zürich"
    assert [step.message for step in seen.steps] == [seen.message]


def test_a_failure_without_an_error_has_its_sentence(make_run):
    event = {"__typename": "RunFailureEvent", "message": "Steps failed: ['a', 'b'].", "error": None}
    assert observe(make_run(1, "FAILURE"), details(events=[event]), URL).message == "Steps failed: ['a', 'b']."


def test_cancelled_in_the_queue_it_never_started():
    """Dagster gives the end as the start, too."""
    (row,) = (row for row in rows("112") if row["runId"].startswith("c82803fd"))
    assert row["startTime"] == row["endTime"]
    seen = observe(row, None, URL)
    assert (seen.started_at, seen.steps) == (None, ())
    assert seen.finished_at.timestamp() == row["endTime"]


def test_steps_that_were_not_read_or_are_not_to_be_had(make_run):
    assert observe(make_run(1), None, URL).steps is None
    assert observe(make_run(1), UNKNOWN, URL).steps is UNKNOWN
    assert observe(make_run(1, "QUEUED", startTime=None), None, URL).steps == ()


def test_a_re_execution_names_its_parent(engine):
    engine.at(12)
    seen = observe(engine.runs[-1], None, URL)
    assert seen.parent == "0566eb2d-2cd6-46f2-b368-94a85759f85f"
    assert seen.labels["run_id"] == "rl-0002"
    assert seen.labels["dagster/is_resume_retry"] == "true"
