"""An adapter as the host would make it. Plugin tests come here."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from runlink.application.settings import EngineSettings
from runlink.hosting.hosted import HostedAdapter, build_adapter
from runlink.spi import Adapter

A = TypeVar("A", bound=Adapter)
_hosted: weakref.WeakKeyDictionary[Adapter, HostedAdapter] = weakref.WeakKeyDictionary()


def build(
    adapter_class: type[A],
    url: str,
    *,
    config: Mapping[str, Any] | None = None,
    since: datetime | None = None,
    backfill: bool = False,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **engine_settings: Any,
) -> A:
    """The adapter, ready to call, with the real guard and clients around it.

    `config` are the plugin's own keys; secrets may be given as plain strings. `since` defaults to seven days before
    `now()`. `engine_settings` are the other fields of EngineSettings (`name`, `request_timeout_s`,
    `max_requests_per_minute`: 60,000 here unless told, so that a test does not wait).
    """
    fields = {"name": "test", "type": adapter_class.name, "max_requests_per_minute": 60_000, **engine_settings}
    settings = EngineSettings(
        url=url, options=dict(config or {}), include=tuple(include), exclude=tuple(exclude), **fields
    )
    moment = since if since is not None else now() - timedelta(days=7)
    hosted = build_adapter(adapter_class, settings, now=now, since=moment, backfill=backfill)
    adapter = hosted.adapter
    if not isinstance(adapter, adapter_class):
        raise TypeError(f"{adapter_class.__name__} made a {type(adapter).__name__}")
    _hosted[adapter] = hosted
    return adapter


def requests_made(adapter: Adapter) -> int:
    """How many requests the adapter has sent through the context's clients."""
    return _hosted[adapter].guard.requests


def close(adapter: Adapter) -> None:
    """Closes the adapter as the host does, its connections included."""
    _hosted[adapter].close()
