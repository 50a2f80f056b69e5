"""What HttpStatusPush sends, as recorded: told as a part of the state, and the request is named to be read again."""

import json
from datetime import UTC, datetime

import pytest
from fake_buildbot import RECORDINGS

from runlink.spi import Delivery, DeliveryRejected

PUSHED = sorted((RECORDINGS / "httpstatuspush").glob("*.json"))


def body(name):
    (path,) = (each for each in PUSHED if each.name.startswith(name))
    return json.loads(path.read_text("utf-8"))["request"]["body"]


def deliver(adapter, sent):
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return adapter.receive(Delivery(id="1", received_at=datetime.now(UTC), headers=(), body=raw))


def test_the_recorded_story(adapter):
    told = []
    for path in PUSHED:
        receipt = deliver(adapter, body(path.name))
        (seen,) = receipt.observations
        assert receipt.refetch == (seen.external_id,)
        assert seen.complete is False
        told.append((path.stem[3:], seen.workflow, str(seen.status), seen.native_status))
    assert told == [
        ("ok_start", "ok", "PROCESSING", "building"),
        ("ok_end", "ok", "COMPLETED", "SUCCESS"),
        ("fail_start", "fail", "PROCESSING", "building"),
        ("fail_end", "fail", "FAILED", "FAILURE"),
        ("retry_start", "retry", "PROCESSING", "building"),
        ("retry_end", "retry", "RETRYING", "claimed"),
        ("retry_start", "retry", "PROCESSING", "building"),
        ("retry_end", "retry", "RETRYING", "claimed"),
        ("retry_start", "retry", "PROCESSING", "building"),
        ("retry_end", "retry", "COMPLETED", "SUCCESS"),
        ("parent_start", "parent", "PROCESSING", "building"),
        ("child1_start", "child1", "PROCESSING", "building"),
        ("child2_start", "child2", "PROCESSING", "building"),
        ("child1_end", "child1", "COMPLETED", "SUCCESS"),
        ("child2_end", "child2", "FAILED", "FAILURE"),
        ("parent_end", "parent", "FAILED", "FAILURE"),
    ]


def test_what_a_push_does_not_show_is_not_told(adapter):
    """Which try it is, when the request ended, its own properties, the parent's id, the steps of other tries."""
    (seen,) = deliver(adapter, body("14")).observations
    assert seen.external_id == "buildrequest:14@1795445621"
    assert (seen.finished_at, seen.parameters, seen.parent, seen.steps, seen.attempts, seen.metadata) == (None,) * 6
    assert seen.url == "http://buildbot.test/#/builders/5/builds/2"
    assert seen.labels == {"scheduler": "fanout"}
    assert seen.message == "failed '/bin/sh -c ...' (failure)"
    assert (seen.created_at.timestamp(), seen.started_at.timestamp()) == (1795445621, 1795445622)


def test_a_workflow_that_is_not_wanted(master, make_adapter):
    receipt = deliver(make_adapter(exclude=["child*"]), body("14"))
    assert (receipt.observations, receipt.refetch) == ((), ())


@pytest.mark.parametrize("sent", [b"", b"  \n"])
def test_an_empty_body_says_what_to_configure(sent, adapter):
    with pytest.raises(DeliveryRejected, match="start_formatter and an end_formatter"):
        deliver(adapter, sent)


@pytest.mark.parametrize(
    "sent",
    [b"{", b"\xff", b"null", b"[]", b"{}", b'"building"', {"buildid": 1, "complete": False}],
)
def test_what_shows_no_build_is_rejected(sent, adapter):
    with pytest.raises(DeliveryRejected, match="MessageFormatterFunction"):
        deliver(adapter, sent)


def test_an_end_without_a_meaning_is_rejected(adapter):
    with pytest.raises(DeliveryRejected, match="results is 9"):
        deliver(adapter, body("03") | {"results": 9})
