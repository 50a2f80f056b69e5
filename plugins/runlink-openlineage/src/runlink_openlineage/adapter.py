"""The OpenLineage adapter: from a delivery to observations. The host comes here; `translate` does one event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from runlink.spi import (
    Context,
    Delivery,
    DeliveryRejected,
    EngineInfo,
    Observation,
    Receipt,
    Receives,
    Unreadable,
    load_schema,
)
from runlink_openlineage.translate import SENSELESS, Tries, observe


class OpenLineageAdapter(Receives):
    """Takes OpenLineage run events (the API's `/api/v1/lineage`, also its batch). It has nobody to ask."""

    name: ClassVar[str] = "openlineage"
    config_schema: ClassVar[Mapping[str, Any]] = load_schema("runlink_openlineage")
    authentication: ClassVar[str] = "bearer"
    default_poll_interval_s: ClassVar[float | None] = 3600.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._as_steps = context.config.get("children", "steps") == "steps"
        self._tries = Tries()

    def check(self) -> EngineInfo:
        """There is no server to reach."""
        return EngineInfo(product="OpenLineage", version="2")

    def receive(self, delivery: Delivery) -> Receipt:
        """One event, or a list of them. What is no run event (a job's, a dataset's) is of no interest."""
        try:
            told = msgspec.json.decode(delivery.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise DeliveryRejected(f"the body is not JSON that can be read: {error}") from None
        events = told if isinstance(told, list) else [told]
        if not all(isinstance(event, dict) for event in events):
            raise DeliveryRejected("the body is no OpenLineage event, nor a list of them")
        found: list[Observation] = []
        unreadable: list[Unreadable] = []
        for event in events:
            if "run" not in event and ("job" in event or "dataset" in event):
                continue
            try:
                found.append(observe(event, as_steps=self._as_steps, tries=self._tries))
            except SENSELESS as error:
                unreadable.append(Unreadable(raw=event, reason=_reason(error)))
        if unreadable and not found:
            raise DeliveryRejected(unreadable[0].reason)
        return Receipt(observations=tuple(found), unreadable=tuple(unreadable))


def _reason(error: Exception) -> str:
    """Why an event cannot be read."""
    if isinstance(error, KeyError):
        return f"it is no whole OpenLineage event: {error.args[0]!r} is missing"
    return f"it is no OpenLineage event that can be read: {error}"
