"""The 54 recorded OpenLineage events: the same ids, steps and revisions as a poll gives, and each trap of theirs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runlink.spi import Delivery, DeliveryRejected
from runlink_airflow.lineage import read_event
from runlink_airflow.translate import Facts, observe

FILES = sorted((Path(__file__).parent / "recordings" / "openlineage").glob("*.json"))
WITHOUT_FACET = ("40", "52")


def body(path):
    return json.dumps(json.loads(path.read_text("utf-8"))["request"]["body"]).encode()


def numbered(number):
    (path,) = (path for path in FILES if path.name.startswith(f"{number:02}_"))
    return body(path)


def told(number):
    return read_event(numbered(number))


def delivery(content):
    return Delivery(id="1", received_at=datetime(2026, 11, 23, tzinfo=UTC), headers=(), body=content)


@pytest.fixture
def polled(recorded_rows):
    """External id -> what a poll told of the run, by recorded state."""

    def observed(name):
        return [observe(Facts(run=row, url="http://airflow.test")) for row in recorded_rows(name)]

    seen = {}
    for name in ("040_poll_updated_02", "050", "092", "103_after_clear_2", "103_after_clear_3", "110", "123", "124"):
        for each in observed(name):
            seen.setdefault(each.external_id, {})[each.native_status, each.revision] = each
    return seen


def test_there_are_54():
    assert len(FILES) == 54


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_event_names_the_run_that_a_poll_names(path, polled):
    event = json.loads(body(path))
    one = read_event(body(path))
    if path.name[:2] in WITHOUT_FACET:
        assert (one.name, one.observation, one.reread) == (None, None, True)
        assert one.run_id == event["run"]["facets"]["parent"]["run"]["runId"]
        return
    assert one.name in polled
    seen = one.observation
    if seen is None:
        assert one.reread
        return
    assert (seen.external_id, seen.complete) == (one.name, False)
    assert seen.revision in {each.revision for each in polled[one.name].values()}
    assert seen.workflow == event["job"]["name"].split(".")[0]
    assert seen.started_at == next(
        each.started_at for each in polled[one.name].values() if each.revision == seen.revision
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_end_of_a_run_says_is_what_a_poll_says(path, polled):
    one = read_event(body(path))
    if one.observation is None or not one.observation.status.is_ended:
        return
    match = polled[one.name][one.observation.native_status, one.observation.revision]
    for name in ("status", "native_status", "started_at", "finished_at", "parameters", "revision", "workflow"):
        assert getattr(one.observation, name) == getattr(match, name)


def test_kinds_of_events():
    kinds = {}
    for path in FILES:
        one = read_event(body(path))
        kind = (
            "unknown run" if one.name is None
            else "by hand" if one.observation is None
            else str(one.observation.status) if one.observation.steps is None
            else f"step {one.observation.steps[0].status}"
        )  # fmt: skip
        kinds[kind] = kinds.get(kind, 0) + 1
    assert kinds == {
        "PROCESSING": 9,
        "COMPLETED": 6,
        "FAILED": 2,
        "by hand": 1,
        "unknown run": 2,
        "step PROCESSING": 18,
        "step COMPLETED": 11,
        "step FAILED": 5,
    }


def test_a_fail_is_sent_for_each_failed_try_of_a_task():
    """17, 33: the run goes on, whether the task is tried again is not said."""
    for number, attempt in ((16, 1), (17, 1), (32, 2), (33, 2), (37, 3), (38, 3)):
        (step,) = told(number).observation.steps
        assert (step.external_id, step.attempt) == ("flaky", attempt)
        assert str(told(number).observation.status) == "PROCESSING"
    assert told(17).observation.steps[0].final is None
    assert told(38).observation.steps[0].final is True


def test_mapped_tasks_are_the_same_steps_as_a_polls(recorded_rows):
    steps = [told(number).observation.steps[0] for number in range(18, 26)]
    polled = observe(Facts(run=recorded_rows("101")[0], url="", tasks=recorded_rows("073"))).steps
    assert {(step.external_id, step.parent) for step in steps} <= {(step.external_id, step.parent) for step in polled}
    assert {step.external_id for step in steps} == {f"square[{index}]" for index in range(4)}
    assert all(step.name == step.external_id for step in steps)


def test_after_a_clear_the_same_run_begins_again():
    """15 ended it, 42 begins it again: another OpenLineage id (`clear_number` is in it), one external id, a higher
    revision."""
    before, after = told(15), told(42)
    assert before.run_id != after.run_id
    assert before.name == after.name
    assert before.observation.revision.number < after.observation.revision.number


def test_cancelled_arrives_as_fail():
    """41: who did so is in the audit log, so the run is read again; a push and a poll must not disagree."""
    assert (told(41).observation, told(41).reread) == (None, True)
    assert str(told(53).observation.status) == "COMPLETED"  # set to success by hand: the same to both


@pytest.mark.parametrize(("kind", "status"), [("RUNNING", "PROCESSING"), ("COMPLETE", "COMPLETED"), ("FAIL", "FAILED")])
def test_types(kind, status):
    event = json.loads(numbered(28)) | {"eventType": kind}
    assert read_event(json.dumps(event).encode()).observation.status == status


def test_abort_is_read_again():
    event = json.loads(numbered(28)) | {"eventType": "ABORT"}
    assert read_event(json.dumps(event).encode()).reread


def test_other_types_and_other_producers_say_nothing():
    event = json.loads(numbered(0))
    assert read_event(json.dumps(event | {"eventType": "OTHER"}).encode()) is None
    event["job"]["facets"]["jobType"]["integration"] = "SPARK"
    event["run"]["facets"] = {}
    assert read_event(json.dumps(event).encode()) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"eventType":"START"}', b'{"eventType":"START","job":{},"run":7}']
)
def test_what_is_no_event_is_rejected(content):
    with pytest.raises(DeliveryRejected, match="no OpenLineage run event"):
        read_event(content)


# --- through the adapter -------------------------------------------------------------------------------------------


def test_an_end_is_read_again_as_a_whole(adapter):
    receipt = adapter.receive(delivery(numbered(28)))
    (seen,) = receipt.observations
    assert receipt.refetch == (seen.external_id,)
    assert adapter.receive(delivery(numbered(0))).refetch == ()


def test_an_event_without_the_runs_name_belongs_to_the_run_of_its_parent(adapter):
    assert adapter.receive(delivery(numbered(40))).refetch == ()  # nothing known of that run yet
    (seen,) = adapter.receive(delivery(numbered(14))).observations
    assert adapter.receive(delivery(numbered(40))).refetch == (seen.external_id,)


def test_events_of_others_are_passed_over(adapter):
    event = json.loads(numbered(0)) | {"eventType": "OTHER"}
    receipt = adapter.receive(delivery(json.dumps(event).encode()))
    assert (receipt.observations, receipt.refetch) == ((), ())
