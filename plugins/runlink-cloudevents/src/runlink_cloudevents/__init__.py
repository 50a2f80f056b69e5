"""The CloudEvents plugin of runlink. The host comes here, through the entry point `cloudevents`, for the adapter."""

from __future__ import annotations

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_cloudevents.adapter import CDEventsAdapter

__all__ = ["CDEventsAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """The one adapter of this plugin."""
    return (CDEventsAdapter,)
