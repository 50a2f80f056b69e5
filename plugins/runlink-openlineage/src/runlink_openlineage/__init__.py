"""The OpenLineage plugin of runlink. The host comes here, through the entry point `openlineage`, for the adapter."""

from __future__ import annotations

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_openlineage.adapter import OpenLineageAdapter

__all__ = ["OpenLineageAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """The one adapter of this plugin."""
    return (OpenLineageAdapter,)
