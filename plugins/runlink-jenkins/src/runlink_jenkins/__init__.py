"""The Jenkins plugin of runlink. The host comes here, through the entry point `jenkins`, for the adapter class."""

from __future__ import annotations

from collections.abc import Iterable

from runlink.spi import Adapter, hookimpl
from runlink_jenkins.adapter import JenkinsAdapter

__all__ = ["JenkinsAdapter", "runlink_adapters"]


@hookimpl
def runlink_adapters() -> Iterable[type[Adapter]]:
    """The one adapter of this plugin."""
    return (JenkinsAdapter,)
