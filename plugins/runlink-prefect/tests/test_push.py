"""What a webhook's body says, from what really came (recordings/webhook)."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runlink.spi import Delivery, DeliveryRejected, Receipt
from runlink_prefect.push import receipt

WEBHOOKS = Path(__file__).with_name("recordings") / "webhook"
RUN = "6bfcf25e-7d10-4d2a-9d92-6d452a832d39"


def body(name):
    return json.dumps(json.loads((WEBHOOKS / f"{name}.json").read_text("utf-8"))["request"]["body"]).encode()


@pytest.mark.parametrize("name", ["00_scheduled", "05_completed"])
def test_the_flow_run_is_read_again(name):
    """Its state is not taken from the push: `StateType.COMPLETED` may be overtaken on the way."""
    assert receipt(body(name)) == Receipt(refetch=(RUN,))


def test_a_heartbeat_says_nothing():
    assert receipt(body("04_heartbeat")) == Receipt()


def test_a_whole_event_is_understood_as_well():
    event = {"event": "prefect.flow-run.Running", "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"}}
    assert receipt(json.dumps(event).encode()) == Receipt(refetch=(RUN,))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"flow_run_id": 7}',
        b'{"flow_run_id": "{{ flow_run.id }}"}',
        b'{"resource": {"prefect.resource.id": "prefect.task-run.1"}}',
    ],
)
def test_what_names_no_flow_run_is_rejected(text):
    with pytest.raises(DeliveryRejected, match="README"):
        receipt(text)


def test_the_adapter_receives(host):
    delivery = Delivery(id="1", received_at=datetime.now(UTC), headers=(), body=body("05_completed"))
    assert host.adapter.receive(delivery).refetch == (RUN,)
    assert host.adapter.authentication == "bearer"
