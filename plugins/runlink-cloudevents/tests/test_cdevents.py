"""CDEvents in each mode of CloudEvents; and what no sender should send."""

import base64
import json
from datetime import UTC, datetime

import pytest

from runlink.spi import Delivery, DeliveryRejected, ExecutionStatus
from runlink.testing import build
from runlink_cloudevents import CDEventsAdapter

S = ExecutionStatus
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
AT = "2026-11-23T14:27:05.315384Z"


@pytest.fixture
def adapter():
    return build(CDEventsAdapter, "")


def cdevent(kind="pipelinerun.started", subject="run-1", at=AT, custom=None, version="0.3.0", **content):
    """In the form of the specification's conformance files."""
    names = {"pipelinerun": ("pipelineRun", "pipelineName"), "taskrun": ("taskRun", "taskName")}
    word, name = names.get(kind.partition(".")[0], ("artifact", "name"))
    return {
        "context": {
            "version": "0.5.0",
            "id": "271069a8-fc18-44f1-b38f-9d70a1695819",
            "chainId": "4c8cb7dd-3448-41de-8768-eec704e2829b",
            "source": "/tekton/prod",
            "type": f"dev.cdevents.{kind}.{version}",
            "timestamp": at,
        },
        "subject": {
            "id": subject,
            "source": "/tekton/prod",
            "type": word,
            "content": {name: "deploy", "url": "https://tekton.example.org/run-1", **content},
        },
        **({"customData": custom, "customDataContentType": "application/json"} if custom else {}),
    }


def structured(cd, **more):
    context = cd["context"]
    return {
        "specversion": "1.0",
        "id": context["id"],
        "source": context["source"],
        "type": context["type"],
        "datacontenttype": "application/json",
        "data": cd,
        **more,
    }


def receive(adapter, told, content_type="application/cloudevents+json; charset=utf-8", **headers):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    all_headers = (("content-type", content_type), *((name.replace("_", "-"), v) for name, v in headers.items()))
    return adapter.receive(Delivery(id="1", received_at=NOW, headers=all_headers, body=body))


def one(adapter, told, *args, **headers):
    (observation,) = receive(adapter, told, *args, **headers).observations
    return observation


def test_structured_binary_batched_and_bare_say_the_same(adapter):
    data = cdevent()
    expected = one(adapter, structured(data))
    binary = one(adapter, data, "application/json", ce_type=data["context"]["type"], ce_id="1", ce_source="/x")
    packed = structured(data, data=None, data_base64=base64.b64encode(json.dumps(data).encode()).decode())
    assert binary == expected == one(adapter, packed) == one(adapter, data, "application/json")
    assert one(adapter, structured(data, data=json.dumps(data))) == expected
    batch = receive(
        adapter, [structured(data), structured(cdevent(subject="run-2"))], "application/cloudevents-batch+json"
    )
    assert [o.external_id for o in batch.observations] == ["/tekton/prod#run-1", "/tekton/prod#run-2"]
    assert (expected.external_id, expected.workflow, expected.status) == ("/tekton/prod#run-1", "deploy", S.PROCESSING)
    assert expected.url == "https://tekton.example.org/run-1"
    assert expected.labels["chain_id"].startswith("4c8c")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("success", S.COMPLETED), ("failure", S.FAILED), ("error", S.FAILED), ("cancel", S.CANCELLED)],
)
def test_the_life_of_a_pipeline_run(adapter, outcome, status):
    queued = one(adapter, structured(cdevent("pipelinerun.queued", custom={"RUN_ID": "r1"})))
    started = one(adapter, structured(cdevent(at="2026-11-23T14:28:00Z", version="0.1.1")))
    finished = one(
        adapter, structured(cdevent("pipelinerun.finished", at="2026-11-23T14:30:00Z", outcome=outcome, errors="why"))
    )
    assert [o.status for o in (queued, started, finished)] == [S.PENDING, S.PROCESSING, status]
    assert (queued.parameters, started.parameters) == ({"RUN_ID": "r1"}, None)
    assert queued.created_at < started.started_at < finished.finished_at
    assert started.revision.number < finished.revision.number
    assert (finished.native_status, finished.message) == (outcome, "why")


def test_a_task_is_a_step_of_its_run_and_fails_it_not(adapter):
    one(adapter, structured(cdevent()))
    told = cdevent("taskrun.finished", "task-1", pipelineRun={"id": "run-1"}, outcome="failure", errors="no")
    observation = one(adapter, structured(told))
    assert (observation.external_id, observation.workflow) == ("/tekton/prod#run-1", "deploy")
    assert (observation.status, observation.complete) == (S.PROCESSING, False)
    (step,) = observation.steps
    assert (step.name, step.status, step.message) == ("deploy", S.FAILED, "no")
    alone = one(adapter, structured(cdevent("taskrun.finished", "task-2", outcome="success")))
    assert (alone.external_id, alone.status) == ("/tekton/prod#task-2", S.COMPLETED)


def test_types_that_tell_of_no_run_are_of_no_interest(adapter):
    for kind in ("artifact.published", "service.deployed", "pipelinerun.paused"):
        assert receive(adapter, structured(cdevent(kind))).observations == ()
    other = {"specversion": "1.0", "type": "com.example.order", "id": "1", "source": "/", "data": {}}
    assert receive(adapter, other).observations == ()


def test_one_bad_event_of_a_batch_costs_itself_only(adapter):
    receipt = receive(adapter, [structured(cdevent()), structured(cdevent("pipelinerun.finished"))])
    assert len(receipt.observations) == len(receipt.unreadable) == 1
    assert "no verdict" in receipt.unreadable[0].reason


@pytest.mark.parametrize(
    "told",
    [b"", b"{", b"[" * 90_000, b"\xff", b"7", [7], {}, {"type": "dev.cdevents.pipelinerun.started.1"},
     structured(cdevent("pipelinerun.finished")), structured(cdevent("pipelinerun.finished", outcome="great")),
     structured(cdevent(subject="")), structured(cdevent(at="soon")), structured(cdevent(), data=None),
     structured(cdevent(), data=None, data_base64="!"), structured(cdevent(), data=[1]),
     structured(cdevent(), data="{")],
)  # fmt: skip
def test_what_makes_no_sense_is_rejected_with_a_reason(adapter, told):
    with pytest.raises(DeliveryRejected, match=r".{10}"):
        receive(adapter, told)
