"""CloudEvents 1.0 over HTTP, taken apart: binary, structured and batched mode. The adapter comes here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from runlink.spi import Delivery, DeliveryRejected


class CloudEvent(NamedTuple):
    """One event: its type, and its data as JSON has it."""

    type: str
    source: str
    id: str
    data: Any


def events_of(delivery: Delivery) -> list[CloudEvent]:
    """The events of a delivery. Raises DeliveryRejected for what is no CloudEvent.

    A body that is a CDEvent by itself (with `context` and `subject`) counts as one, whatever the headers say: some
    senders leave the envelope out.
    """
    headers = dict(delivery.headers)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("application/cloudevents") and headers.get("ce-type"):
        data = _decoded(delivery.body)
        return [CloudEvent(headers["ce-type"], headers.get("ce-source", ""), headers.get("ce-id", ""), data)]
    told = _decoded(delivery.body)
    if kind in ("application/cloudevents+xml", "application/cloudevents+avro"):
        raise DeliveryRejected(f"{kind} is not understood; send CloudEvents as JSON")
    if isinstance(told, list):
        return [_structured(one) for one in told]
    return [_structured(told)]


def _structured(told: Any) -> CloudEvent:
    if not isinstance(told, Mapping):
        raise DeliveryRejected("the body is no CloudEvent: no JSON object")
    if "context" in told and "subject" in told and "specversion" not in told:
        context = told["context"] if isinstance(told["context"], Mapping) else {}
        kind, source, name = (str(context.get(key, "")) for key in ("type", "source", "id"))
        return CloudEvent(kind, source, name, told)
    if not isinstance(told.get("type"), str) or "specversion" not in told:
        raise DeliveryRejected("the body is no CloudEvent: it has no `specversion` and `type`")
    data = told.get("data")
    if data is None and isinstance(told.get("data_base64"), str):
        try:
            data = _decoded(base64.b64decode(told["data_base64"], validate=True))
        except binascii.Error:
            raise DeliveryRejected("data_base64 is not base64") from None
    if isinstance(data, str):
        data = _decoded(data.encode("utf-8", "replace"))
    return CloudEvent(told["type"], str(told.get("source", "")), str(told.get("id", "")), data)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DeliveryRejected(f"the body is not JSON that can be read: {error}") from None
