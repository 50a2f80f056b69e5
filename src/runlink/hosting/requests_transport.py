"""The session adapter that puts requests-based clients (python-jenkins) under the engine's guard.

`context` comes here when an adapter asks for it; nothing else imports it, because requests is the extra
`runlink[requests]`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from runlink.hosting.guard import Guard, asking
from runlink.hosting.transport import ssl_context
from runlink.hosting.urllib3_transport import guard_pools, without_query
from runlink.hosting.wire import Received, Sent, unframed
from runlink.spi import TransientError


class GuardedHTTPAdapter(HTTPAdapter):
    """Mount it at `http://` and `https://`, so that a redirect stays under the guard too.

    Network faults and undecodable answers are TransientError; nothing is retried; `verify` is the host's `verify_tls`
    whatever the session says. With `stream=True` the body's faults come as requests raises them.
    """

    def __init__(self, guard: Guard, verify_tls: bool | Path) -> None:
        self._guard = guard
        self._verify_tls = verify_tls
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As the base; connections are guarded."""
        super().init_poolmanager(*args, **options)
        guard_pools(self.poolmanager, self._guard)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As the base; connections are guarded. SOCKS proxies are not: they connect in their own way."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            guard_pools(manager, self._guard)
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """As the base, with the TLS settings that all engines share."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            tls: dict[str, Any] = {k: v for k, v in pool.items() if k in ("cert_file", "key_file")}
            return host, {**tls, "ssl_context": ssl_context(self._verify_tls)}
        return host, pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the shared TLS settings hold the trusted certificates already."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """As the base, within the budget and the time limits. Raises TransientError."""
        what = f"{request.method} {without_query(str(request.url))}"
        started = self._guard.admit(what)
        limit = self._guard.timeout(timeout if isinstance(timeout, int | float) else None, what=what)
        options = {"timeout": limit, "verify": verify, "cert": cert, "proxies": dict(proxies or {})}
        wire = self._guard.wire
        if wire is None:
            return self._ask(request, what, started, stream=stream, **options)
        asked: list[requests.Response] = []  # what was asked is handed on itself: it carries cookies as requests does

        def ask() -> Received:
            asked.append(answer := self._ask(request, what, started, stream=False, **options))
            return Received(answer.status_code, answer.reason or "", unframed(answer.headers.items()), answer.content)

        given = wire.carry(_sent(request), ask)
        return asked[0] if asked else self.build_response(request, _played(given))

    def _ask(
        self, request: requests.PreparedRequest, what: str, started: float, *, stream: bool, **options: Any
    ) -> requests.Response:
        try:
            with asking(request.method, urlsplit(str(request.url)).hostname) as span:
                answer = super().send(request, stream=stream, **options)
                span.set("http.response.status_code", answer.status_code)
            self._guard.answered(answer.status_code, answer.headers.get("date"), answer.headers.get("age"), started)
            if not stream:
                _ = answer.content  # read here, where a broken body becomes a TransientError
        except TransientError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._guard.fault(what, error) from error
        return answer


def _sent(request: requests.PreparedRequest) -> Sent:
    body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
    headers = tuple((str(name), str(value)) for name, value in request.headers.items())
    return Sent(str(request.method), str(request.url), headers, body)


def _played(given: Received) -> urllib3.HTTPResponse:
    body = io.BytesIO(given.body)
    headers = urllib3.HTTPHeaderDict(given.headers)
    return urllib3.HTTPResponse(body, headers, given.status, reason=given.reason, preload_content=False)
