"""The urllib3 pools that clients built on urllib3 (kubernetes, requests) are put upon: every wait passes the guard.

`context` comes here when an adapter asks for pools, `requests_transport` for its session adapter; nothing else imports
it, because urllib3 is the extra `runlink[urllib3]`.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3.connection
import urllib3.exceptions
from urllib3 import (
    BaseHTTPResponse,
    HTTPConnectionPool,
    HTTPHeaderDict,
    HTTPResponse,
    HTTPSConnectionPool,
    PoolManager,
    ProxyManager,
)

from runlink.hosting.guard import Guard, asking
from runlink.hosting.transport import ssl_context
from runlink.hosting.wire import Received, Sent, unframed
from runlink.spi import ConfigRejected, TransientError

_TLS: Final = frozenset(
    {"ca_cert_data", "ca_cert_dir", "ca_certs", "cert_file", "cert_reqs", "key_file", "key_password", "ssl_context"}
)


class _GuardedReads(io.RawIOBase):
    """What an answer is read from: sets the time limit again before each read."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, guard: Guard, peer: str) -> None:
        super().__init__()
        self._raw, self._sock, self._guard, self._peer = raw, sock, guard, peer
        # What the request asked for, if anything: urllib3 has just set it.
        self._limit_s = sock.gettimeout()
        # The connection may be closed, and let go of, before the body of its last answer is read.
        guard.hold(sock)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        with self._guard.waiting(self._sock, self._limit_s, f"reading from {self._peer}", longer=True):
            return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._guard.let_go(self._sock)
            self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, guard: Guard, peer: str, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        raw: Any = self.fp.detach()
        self.fp = io.BufferedReader(_GuardedReads(raw, sock, guard, peer))


class _GuardedConnection(urllib3.connection.HTTPConnection):
    """Connects through the guard, which can then end the connection from another thread."""

    guard: Guard

    def guarded_by(self, guard: Guard) -> None:
        self.guard = guard
        self._handshake: socket.socket | None = None
        self.response_class = functools.partial(  # type: ignore[assignment]
            _Answer, guard=guard, peer=f"{self.host}:{self.port}"
        )

    def _new_conn(self) -> socket.socket:
        sock = self.guard.connect(
            self._dns_host,
            self.port,
            timeout_s=self.timeout if isinstance(self.timeout, int | float) else None,
            local_address=self.source_address,
            options=self.socket_options or (),
        )
        try:
            sock.settimeout(self.guard.timeout())
        except BaseException:
            sock.close()
            raise
        # urllib3 wraps the socket in TLS out of our sight, which takes it away from this object. A second handle on
        # the same connection lets `Guard.close` end a handshake that hangs.
        self._handshake = sock.dup()
        self.guard.hold(self._handshake)
        return sock

    def connect(self) -> None:
        try:
            super().connect()
            if self.sock is not None:
                self.guard.hold(self.sock)
        finally:
            if self._handshake is not None:
                self.guard.let_go(self._handshake)
                self._handshake.close()
                self._handshake = None

    def close(self) -> None:
        self.guard.let_go(self.sock)
        super().close()


class _GuardedTLSConnection(_GuardedConnection, urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # Or urllib3 warns at each request; with `verify_tls = false` the operator has decided.
        self.is_verified = True


def _connection(cls: type[_GuardedConnection], guard: Guard, *args: Any, **options: Any) -> _GuardedConnection:
    connection = cls(*args, **options)
    connection.guarded_by(guard)
    return connection


class _Pool(HTTPConnectionPool):
    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = functools.partial(_connection, _GuardedConnection, guard)  # type: ignore[assignment]


class _TLSPool(HTTPSConnectionPool):
    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = functools.partial(_connection, _GuardedTLSConnection, guard)  # type: ignore[assignment]


def guard_pools(manager: Any, guard: Guard) -> None:
    """Makes a pool manager open guarded connections."""
    manager.pool_classes_by_scheme = {
        "http": functools.partial(_Pool, guard=guard),
        "https": functools.partial(_TLSPool, guard=guard),
    }


def guarded_pools(guard: Guard, verify_tls: bool | Path, options: dict[str, Any]) -> PoolManager:
    """A pool manager under the guard; see `spi.Context.urllib3_pools`."""
    given = {name: value for name, value in options.items() if value is not None}
    if not _TLS & given.keys():
        given["ssl_context"] = ssl_context(verify_tls)
    proxy = given.get("proxy_url")
    if proxy is not None and not str(proxy).lower().startswith(("http://", "https://")):
        raise ConfigRejected(f"a {str(proxy).partition(':')[0]} proxy cannot be used; give an http:// proxy")
    given["retries"] = False
    manager = _Proxied(**given) if proxy is not None else _Direct(**given)
    manager.guard = guard
    guard_pools(manager, guard)
    return manager


class _Direct(PoolManager):
    """Budget, count and clock round each request; faults are TransientError."""

    guard: Guard

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        redirect: bool = False,  # noqa: ARG002 - the base's signature
        **options: Any,
    ) -> BaseHTTPResponse:
        """As the base, but follows no redirect (it would take the credentials along). A body that is not preloaded is
        still to be read, and its faults are urllib3's own."""
        what = f"{method} {without_query(url)}"
        started = self.guard.admit(what)
        wire = self.guard.wire
        if wire is None:
            return self._ask(method, url, what, started, options)
        given = wire.carry(_sent(method, url, options), lambda: self._whole(method, url, what, started, options))
        body = io.BytesIO(given.body)
        preload = bool(options.get("preload_content", True))
        return HTTPResponse(
            body, HTTPHeaderDict(given.headers), given.status, reason=given.reason, preload_content=preload
        )

    def _whole(self, method: str, url: str, what: str, started: float, options: dict[str, Any]) -> Received:
        answer = self._ask(method, url, what, started, options | {"preload_content": True})
        return Received(answer.status, answer.reason or "", unframed(answer.headers.items()), answer.data)

    def _ask(self, method: str, url: str, what: str, started: float, options: dict[str, Any]) -> BaseHTTPResponse:
        try:
            with asking(method, urlsplit(url).hostname) as span:
                answer = super().urlopen(method, url, redirect=False, **options)
                span.set("http.response.status_code", answer.status)
        except TransientError:
            raise
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise self.guard.fault(what, error) from error
        self.guard.answered(answer.status, answer.headers.get("date"), answer.headers.get("age"), started)
        return answer


def _sent(method: str, url: str, options: dict[str, Any]) -> Sent:
    body = options.get("body") or b""
    headers = tuple((str(name), str(value)) for name, value in (options.get("headers") or {}).items())
    return Sent(method, url, headers, body if isinstance(body, bytes) else str(body).encode())


class _Proxied(_Direct, ProxyManager):
    pass


def without_query(url: str) -> str:
    """An address as it may stand in an error: no user, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
