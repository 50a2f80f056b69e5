"""Buildbot for runlink. The host comes here, through the entry-point group `runlink`, for the adapter class."""

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_buildbot.adapter import BuildbotAdapter

__all__ = ["BuildbotAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """The one adapter of this plugin."""
    return [BuildbotAdapter]
