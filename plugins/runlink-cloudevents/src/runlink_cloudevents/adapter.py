"""The CDEvents adapter: from a delivery to observations. The host comes here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Final

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
from runlink_cloudevents.envelope import CloudEvent, events_of
from runlink_cloudevents.translate import SENSELESS, TYPE, observe

_MOST_NAMES: Final = 10_000


class CDEventsAdapter(Receives):
    """Takes CDEvents in CloudEvents: `pipelinerun`, `taskrun` and `build`, queued, started and finished."""

    name: ClassVar[str] = "cdevents"
    config_schema: ClassVar[Mapping[str, Any]] = load_schema("runlink_cloudevents")
    authentication: ClassVar[str] = "bearer"
    default_poll_interval_s: ClassVar[float | None] = 3600.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._names: OrderedDict[str, str] = OrderedDict()

    def check(self) -> EngineInfo:
        """There is no server to reach."""
        return EngineInfo(product="CDEvents", version="0.5")

    def receive(self, delivery: Delivery) -> Receipt:
        """One event, or a batch. Types that tell of no run are of no interest, so that a whole bus may be sent here."""
        found: list[Observation] = []
        unreadable: list[Unreadable] = []
        for event in events_of(delivery):
            kind = TYPE.match(event.type)
            if kind is None:
                continue
            try:
                found.append(self._observed(event, kind[1], kind[2]))
            except SENSELESS as error:
                unreadable.append(Unreadable(raw=event.data, reason=f"{event.type} {event.id!r}: {error!r}"))
        if unreadable and not found:
            raise DeliveryRejected(unreadable[0].reason)
        return Receipt(observations=tuple(found), unreadable=tuple(unreadable))

    def _observed(self, event: CloudEvent, kind: str, predicate: str) -> Observation:
        observation = observe(event.data, kind, predicate, self._names.get)
        if observation.complete:  # its tasks' events do not say what it runs
            self._names[observation.external_id] = observation.workflow
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
        return observation
