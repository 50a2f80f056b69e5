"""What the host gives to an adapter: settled configuration, a clock, a logger and guarded HTTP clients."""

from __future__ import annotations

import abc
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx
    import requests.adapters
    import urllib3


class Context(abc.ABC):
    """One engine's surroundings. Whatever client is used, the same request budget, clock-skew meter, time limit and
    redaction apply, a network fault is a `TransientError`, and nothing is retried: retrying is the host's.

    engine     the engine's name in the configuration
    url        its address, without a trailing slash
    config     the plugin's own keys of `[engines.NAME]`, checked against its schema, secrets resolved
    since      the start of the look-back window (aware, UTC)
    backfill   True when an operator asked for history: deep and costly reads are then in order
    log        a logger that knows the engine and never shows a secret
    """

    engine: str
    url: str
    config: Mapping[str, Any]
    since: datetime
    backfill: bool
    log: logging.LoggerAdapter[logging.Logger]

    @abc.abstractmethod
    def now(self) -> datetime:
        """The time, aware, in UTC."""

    @abc.abstractmethod
    def wants(self, workflow: str) -> bool:
        """Whether `include` and `exclude` select this workflow; ask before spending requests on it."""

    @abc.abstractmethod
    def http(self, *, url: str | None = None, **options: Any) -> httpx.Client:
        """A client whose base address is the engine's, or another one of the same engine given as `url`.

        `options` go to `httpx.Client` (auth, headers). A read timeout given with a request stands in place of the
        host's: for streams that may be silent.
        """

    @abc.abstractmethod
    def requests_adapter(self) -> requests.adapters.HTTPAdapter:
        """For clients built on requests: `session.mount(url, context.requests_adapter())`."""

    @abc.abstractmethod
    def urllib3_pools(self, **options: Any) -> urllib3.PoolManager:
        """For clients built on urllib3: `api_client.rest_client.pool_manager = context.urllib3_pools(...)`.

        `options` go to `urllib3.PoolManager` (`ca_certs`, `cert_file`, …), or with `proxy_url` to `ProxyManager`. When
        none of them is about TLS, the engine's `verify_tls` decides. A read timeout given with a request stands in
        place of the host's. Of a body that is not preloaded, faults are urllib3's own, or TransientError.
        """
