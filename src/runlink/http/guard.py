"""What every request passes before anything else sees it, and every answer afterwards: the host name, how often and how
much, how long a body may take, security headers, the access log. Pure ASGI, so that the stream passes through as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runlink.application.settings import ServerSettings
from runlink.http.problems import Problem, problem_of

log = logging.getLogger("runlink.http.access")

BODY_S: Final = 20.0
"""How long a body may take to arrive."""
FAILURES_PER_MINUTE: Final = 30
"""Wrong credentials from one address."""
MAX_KEYS: Final = 10_000
"""Whom the limits remember; the one that came longest ago is forgotten first."""
_CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _CONTENT_POLICY.encode()),
)
"""Of every answer that does not say otherwise."""
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


class Buckets:
    """Token buckets, one for each key: `per_minute` in the long run, twice as many at once."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._size = 2.0 * per_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Seconds until the next is allowed; 0 when this one was."""
        now = self._clock()
        left, before = self._left.pop(key, (self._size, now))
        left = min(self._size, left + (now - before) * self._rate)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        if len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate

    def is_empty(self, key: str) -> float:
        """Seconds until one is allowed, without taking it."""
        if key not in self._left:
            return 0.0
        left, before = self._left[key]
        left = min(self._size, left + (self._clock() - before) * self._rate)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Guard:
    """The limits of one server, and the layer that enforces them."""

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._requests = Buckets(settings.requests_per_minute, clock)
        self._failures = Buckets(FAILURES_PER_MINUTE, clock)
        self._proxies = [ip_network(proxy) for proxy in settings.trusted_proxies]
        self._public = urlsplit(settings.public_url) if settings.public_url else None

    def count(self, key: str) -> None:
        """One more request of somebody. Raises Problem when it is too many."""
        _refuse_for(self._requests.take(key))

    def count_failure(self, client: str) -> None:
        """One more wrong credential from an address; when there were too many, its requests are refused."""
        self._failures.take(client)

    def layer(self, app: ASGIApp) -> ASGIApp:
        """The application behind the guard."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            self._believe_proxy(scope)
            with _logged(scope, self._clock) as seen:
                telling = self._telling(scope, send, seen)
                try:
                    self._admit(scope)
                    await app(scope, self._bounded(scope, receive), telling)
                except Exception as error:
                    if "status" in seen:
                        raise
                    await problem_of(error).response()(scope, receive, telling)

        return guarded

    def _believe_proxy(self, scope: Scope) -> None:
        """The client and scheme that a trusted proxy tells of: the last address that is no proxy of ours."""
        client = scope.get("client")
        if not self._proxies or client is None or not self._is_proxy(client[0]):
            return
        headers = Headers(scope=scope)
        for address in reversed([part.strip() for part in headers.get("x-forwarded-for", "").split(",")]):
            if not address:
                continue
            scope["client"] = (address[:45], 0)
            if not self._is_proxy(address):
                break
        if headers.get("x-forwarded-proto") in ("http", "https"):
            scope["scheme"] = headers["x-forwarded-proto"]

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["path"].startswith("/health/"):  # probes come by address
            return
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Problem(
                "misdirected", f"{host[:100]!r} is no name of this server; give it as public_url in [server] if it is"
            )
        client = scope["client"][0] if scope.get("client") else ""
        _refuse_for(self._failures.is_empty(client))
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limit(scope):
            raise self._too_large(scope)

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server: what it is called by, or an address, which no name can be
        rebound to."""
        name, is_address = _named(host[:300])  # no name is longer
        return is_address or name == "localhost" or (self._public is not None and name == self._public.hostname)

    def _limit(self, scope: Scope) -> int:
        return self._settings.max_body_bytes if not scope["path"].startswith("/hooks/") else 1 << 26

    def _too_large(self, scope: Scope) -> Problem:
        return Problem("too-large", f"a body may have {self._limit(scope)} bytes", headers={"Connection": "close"})

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """A body that is neither too large nor too slow."""
        size = 0
        until = asyncio.get_running_loop().time() + BODY_S
        done = False

        async def bounded() -> Message:
            nonlocal size, done
            if done:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                detail = f"the body did not arrive within {BODY_S:g} s; send it anew"
                raise Problem("timeout", detail, headers={"Connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > self._limit(scope):
                raise self._too_large(scope)
            done = not message.get("more_body", False)
            return message

        return bounded

    def _telling(self, scope: Scope, send: Send, seen: MutableMapping[str, Any]) -> Send:
        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                said = {name for name, _ in message["headers"]}
                more = (*_HEADERS, _HSTS) if scope["scheme"] == "https" else _HEADERS
                message["headers"] = [*message["headers"], *(header for header in more if header[0] not in said)]
            await send(message)

        return telling


@lru_cache(maxsize=256)
def _named(host: str) -> tuple[str | None, bool]:
    """The name that a Host header has, and whether it is an address."""
    name = None
    try:
        name = urlsplit(f"//{host}").hostname
        ip_address(name or "")
    except ValueError:
        return name, False
    return name, True


def _refuse_for(wait_s: float) -> None:
    if wait_s > 0:
        seconds = max(1, round(wait_s + 0.5))
        raise Problem(
            "too-many-requests", f"that is too often; try again in {seconds} s", headers={"Retry-After": str(seconds)}
        )


@contextmanager
def _logged(scope: Scope, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """One line for each request: never its query, which may hold what is searched for, nor any header."""
    seen: dict[str, Any] = {}
    began = clock()
    try:
        yield seen
    finally:
        principal = scope.get("runlink.principal")
        facts = {
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": seen.get("status", 0),
            "duration_s": round(clock() - began, 6),
            "client": scope["client"][0] if scope.get("client") else "",
            "actor": principal.actor if principal is not None else "",
        }
        level = logging.DEBUG if scope["path"].startswith(("/health/", "/metrics")) else logging.INFO
        log.log(
            level,
            "%(method)s %(path)s %(status)d %(duration_s).3f s %(client)s %(actor)s",
            facts,
            extra={"facts": facts},
        )
