"""What an adapter is given: `spi.Context`, filled from the engine's settings.

`hosted` makes one per engine; adapters reach it as `self.context`.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from runlink.application.settings import EngineSettings
from runlink.hosting.guard import Guard
from runlink.hosting.secrets import Redactor
from runlink.hosting.transport import GuardedClient
from runlink.spi import Context

if TYPE_CHECKING:
    import requests.adapters
    import urllib3

_PLAIN_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class _EngineLogger(logging.Logger):
    """A logger of its own for each adapter, unknown to `logging`, so that a new configuration leaves no old filter."""

    def __init__(self, engine: str, redactor: Redactor) -> None:
        super().__init__(f"runlink.engines.{engine}")
        self.parent = logging.getLogger("runlink.engines")
        self.addFilter(_RedactingFilter(redactor))

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the base's name
        """As the base, but never remembered: `logging` does not know this logger and could not tell it of a change."""
        return self.manager.disable < level and level >= self.getEffectiveLevel()


class _RedactingFilter(logging.Filter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redact = redactor.redact

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - a plugin's arguments and format string
            text = f"{record.msg} (its arguments do not fit: {type(error).__name__})"
        record.msg, record.args = self._redact(text), None
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = self._redact("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        for key, value in record.__dict__.items():
            if key not in _PLAIN_RECORD and not isinstance(value, bool | int | float | None):
                record.__dict__[key] = self._redact(str(value))
        return True


class HostContext(Context):
    """One engine's surroundings, as `spi.Context` promises.

    config     the plugin's own options with secrets resolved
    settings   the engine's
    guard      the budget, limits and meters that every client made here passes
    redactor   takes the engine's secrets out of text
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        config: Mapping[str, Any],
        guard: Guard,
        redactor: Redactor,
        now: Callable[[], datetime],
        since: datetime,
        backfill: bool = False,
    ) -> None:
        if since.tzinfo is None:
            raise ValueError(f"engine {settings.name!r}: since is {since!r}, which has no time zone")
        self.engine = settings.name
        self.url = settings.url.rstrip("/")
        self.config = config
        self.since = since.astimezone(UTC)
        self.backfill = backfill
        self.guard = guard
        self.redactor = redactor
        self.log = logging.LoggerAdapter(_EngineLogger(settings.name, redactor), {"engine": settings.name})
        self.settings = settings
        self._now = now
        self._clients: list[httpx.Client | requests.adapters.HTTPAdapter] = []
        self._pools: list[urllib3.PoolManager] = []

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._now().astimezone(UTC)

    def wants(self, workflow: str) -> bool:
        """Whether `include` and `exclude` select this workflow."""
        return self.settings.wants(workflow)

    def http(self, *, url: str | None = None, **options: Any) -> httpx.Client:
        """A client whose base address is `url`, or else the engine's; see `GuardedClient`."""
        client = GuardedClient(self.guard, url or self.url, self.settings.verify_tls, **options)
        self._clients.append(client)
        return client

    def requests_adapter(self) -> requests.adapters.HTTPAdapter:
        """A session adapter; see `GuardedHTTPAdapter`. Raises RuntimeError where requests is not installed."""
        try:
            from runlink.hosting.requests_transport import GuardedHTTPAdapter
        except ModuleNotFoundError as error:
            if error.name not in ("requests", "urllib3"):
                raise
            raise RuntimeError("requests is not installed; the plugin has to depend on runlink[requests]") from None
        adapter = GuardedHTTPAdapter(self.guard, self.settings.verify_tls)
        self._clients.append(adapter)
        return adapter

    def urllib3_pools(self, **options: Any) -> urllib3.PoolManager:
        """A pool manager; see `guarded_pools`. Raises RuntimeError where urllib3 is not installed."""
        try:
            from runlink.hosting.urllib3_transport import guarded_pools
        except ModuleNotFoundError as error:
            if error.name != "urllib3":
                raise
            raise RuntimeError("urllib3 is not installed; the plugin has to depend on runlink[urllib3]") from None
        pools = guarded_pools(self.guard, self.settings.verify_tls, options)
        self._pools.append(pools)
        return pools

    def close(self) -> None:
        """Ends all connections, also one that another thread is reading from. May be repeated."""
        self.guard.close()
        for client in self._clients:
            client.close()
        for pools in self._pools:
            pools.clear()
