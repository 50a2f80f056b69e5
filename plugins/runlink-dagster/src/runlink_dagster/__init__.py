"""Dagster for runlink. The host comes here, through the entry-point group `runlink`, for the adapter class."""

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_dagster.adapter import DagsterAdapter

__all__ = ["DagsterAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """The one adapter of this plugin."""
    return [DagsterAdapter]
