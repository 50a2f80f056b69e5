"""What a real Airflow pushed, through the adapter; and what no producer should send."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runlink.spi import Delivery, DeliveryRejected, ExecutionStatus
from runlink.testing import build
from runlink_openlineage import OpenLineageAdapter

S = ExecutionStatus
RECORDINGS = Path(__file__).parent / "recordings"
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
RUN, OTHER = "01a208d4-1e5e-71a3-a6dd-3ad3975058f3", "01a208d4-1e5e-71a3-a6dd-3ad3975058f4"


def recorded():
    files = sorted(RECORDINGS.glob("*.json"))
    assert len(files) == 54
    return [json.loads(path.read_text("utf-8"))["request"]["body"] for path in files]


@pytest.fixture
def adapter():
    return build(OpenLineageAdapter, "")


def receive(adapter, told):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return adapter.receive(Delivery(id="1", received_at=NOW, headers=(), body=body))


def one(adapter, told):
    (observation,) = receive(adapter, told).observations
    return observation


def event(kind="START", run=RUN, job="nightly", at="2026-11-23T14:00:00Z", **facets):
    return {
        "eventType": kind,
        "eventTime": at,
        "run": {"runId": run, "facets": facets},
        "job": {"namespace": "prod", "name": job},
        "producer": "test",
    }


def parent(run=RUN, job="nightly", **more):
    return {"run": {"runId": run}, "job": {"namespace": "prod", "name": job}, **more}


def test_every_recorded_event_is_understood(adapter):
    observations = [one(adapter, told) for told in recorded()]
    assert {o.workflow for o in observations} == {
        "ok_pipeline", "fail_pipeline", "retry_pipeline", "mapped_pipeline", "long_pipeline", "paused_pipeline",
    }  # fmt: skip
    ends = [o for o in observations if o.status.is_ended]
    assert {(o.workflow, o.status) for o in ends} == {
        ("ok_pipeline", S.COMPLETED), ("fail_pipeline", S.FAILED), ("retry_pipeline", S.COMPLETED),
        ("mapped_pipeline", S.COMPLETED), ("long_pipeline", S.FAILED), ("long_pipeline", S.COMPLETED),
        ("paused_pipeline", S.COMPLETED),
    }  # fmt: skip
    assert all(o.steps for o in observations if o.native_status == "RUNNING")
    starts = [o for o in observations if o.native_status == "START"]
    assert {o.parameters["run_id"] for o in starts} >= {"rl-0001", "rl-0002", "rl-0003", "rl-0004"}
    assert all(o.labels["namespace"] == "airflow-demo" and o.labels["integration"] == "AIRFLOW" for o in starts)
    assert all(o.metadata["engine_version"] == "3.3.2" for o in starts)


def test_each_failed_try_is_an_attempt_of_its_step_and_fails_no_run(adapter):
    told = [one(adapter, recorded()[n]) for n in (16, 17, 32, 33, 37, 38)]
    steps = [o.steps[0] for o in told]
    assert [(s.external_id, s.attempt, s.status) for s in steps] == [
        ("flaky", 1, S.PROCESSING), ("flaky", 1, S.FAILED), ("flaky", 2, S.PROCESSING), ("flaky", 2, S.FAILED),
        ("flaky", 3, S.PROCESSING), ("flaky", 3, S.COMPLETED),
    ]  # fmt: skip
    assert [s.final for s in steps] == [None, False, None, False, None, True]
    assert {o.status for o in told} == {S.PROCESSING}
    assert len({o.external_id for o in told}) == 1


def test_mapped_tasks_are_steps_of_their_own(adapter):
    steps = [one(adapter, recorded()[n]).steps[0] for n in (19, 21, 23, 25)]
    assert [(s.external_id, s.status) for s in steps] == [
        ("square[0]", S.COMPLETED), ("square[1]", S.COMPLETED), ("square[2]", S.FAILED), ("square[3]", S.COMPLETED),
    ]  # fmt: skip
    assert steps[2].message == "bad item 3"


def test_an_event_without_its_facet_belongs_to_the_try_its_run_id_had(adapter):
    events = recorded()
    assert "airflow" not in events[40]["run"]["facets"]
    one(adapter, events[14])
    step = one(adapter, events[40]).steps[0]
    assert (step.external_id, step.attempt, step.status) == ("sleepy", 1, S.FAILED)
    fresh = build(OpenLineageAdapter, "")  # as after a restart
    assert one(fresh, events[40]).steps[0] == step


def test_a_later_start_is_of_a_higher_revision_and_a_task_says_nothing_of_order(adapter):
    first, end, again = (
        one(adapter, event("START")),
        one(adapter, event("FAIL", at="2026-11-23T14:05:00Z")),
        one(adapter, event("START", at="2026-11-23T15:05:00+00:00")),
    )
    assert first.revision.number < end.revision.number < again.revision.number
    assert one(adapter, event("RUNNING", at="2026-11-23T16:00:00Z")).revision is None
    assert one(adapter, event("START", run=OTHER, job="nightly.a", parent=parent())).revision is None


def test_abort_and_other(adapter):
    assert one(adapter, event("abort")).status is S.CANCELLED
    other = one(adapter, event("OTHER"))
    assert (other.status, other.revision) == (S.PENDING, None)


def test_what_belongs_to_a_task_is_a_step_below_it(adapter):
    told = event(run=OTHER, job="spark.job", parent=parent(OTHER[:-1] + "5", "nightly.task", root=parent()))
    observation = one(adapter, told)
    assert (observation.external_id, observation.workflow) == (RUN, "nightly")
    assert (observation.steps[0].external_id, observation.steps[0].parent) == (OTHER, "task")


def test_children_may_be_instances():
    adapter = build(OpenLineageAdapter, "", config={"children": "instances"})
    observation = one(adapter, event("FAIL", run=OTHER, job="nightly.a", parent=parent()))
    assert (observation.external_id, observation.parent, observation.status) == (OTHER, RUN, S.FAILED)
    assert observation.steps is None


def test_batches_and_events_of_no_run(adapter):
    receipt = receive(adapter, [event(), {"job": {"namespace": "a", "name": "b"}}, event(run=OTHER), {"dataset": {}}])
    assert [o.external_id for o in receipt.observations] == [RUN, OTHER]
    receipt = receive(adapter, [event(), event("NEVER")])
    assert len(receipt.observations) == len(receipt.unreadable) == 1
    assert receive(adapter, []).observations == ()


@pytest.mark.parametrize(
    "told",
    [b"", b"{", b"[" * 90_000, b"\xff\xfe", gzip.compress(b"{}", mtime=0), b"7", b"null", [7], {}, {"run": {}},
     event("NEVER"), event(run="not-a-uuid"), event(at="yesterday"), event(job=""), event(job=None), event(at=None),
     event(parent={"run": {}}), event(parent=7), {**event(), "job": None}, {**event(), "run": []}],
)  # fmt: skip
def test_what_makes_no_sense_is_rejected_with_a_reason(adapter, told):
    with pytest.raises(DeliveryRejected, match=r".{10}"):
        receive(adapter, told)
