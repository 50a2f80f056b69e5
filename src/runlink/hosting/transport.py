"""The httpx client that adapters are given: every read, write and connect passes the engine's guard.

`context` comes here. The client speaks through httpcore directly, because only there can the time limit be set again
before each read (a body that drips must not outlive the turn) and the socket be found by a closing thread.
"""

from __future__ import annotations

import functools
import importlib.metadata
import selectors
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import httpx

from runlink.hosting.guard import Guard, asking
from runlink.hosting.wire import Received, Sent, unframed
from runlink.spi import ConfigRejected, TransientError

_HOST_OWNED: Final = frozenset(
    {"base_url", "cert", "http1", "http2", "limits", "mounts", "proxy", "transport", "trust_env", "verify"}
)
_ssl_contexts: dict[str, ssl.SSLContext] = {}
_ssl_lock = threading.Lock()


def ssl_context(verify_tls: bool | Path) -> ssl.SSLContext:
    """The TLS settings shared by all engines that verify alike (making one costs some 45 ms of CPU).

    True trusts the system's store and certifi's; a path (file or folder) trusts that alone; False trusts anyone.
    Raises ConfigRejected for a path that cannot be read.
    """
    with _ssl_lock:
        key = str(verify_tls)
        if key not in _ssl_contexts:
            _ssl_contexts[key] = _new_ssl_context(verify_tls)
        return _ssl_contexts[key]


def _new_ssl_context(verify_tls: bool | Path) -> ssl.SSLContext:
    if isinstance(verify_tls, Path):
        try:
            folder = verify_tls.is_dir()
            return ssl.create_default_context(
                cafile=None if folder else str(verify_tls), capath=str(verify_tls) if folder else None
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigRejected(f"verify_tls: {verify_tls} holds no readable certificates ({error})") from None
    if verify_tls:
        context = httpx.create_ssl_context()
        context.load_default_certs()
        return context
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def user_agent() -> str:
    """How runlink names itself to engines."""
    try:
        return f"runlink/{importlib.metadata.version('runlink')}"
    except importlib.metadata.PackageNotFoundError:
        return "runlink"


class _Stream(httpcore.NetworkStream):
    """One connection whose every wait is bounded by the guard."""

    def __init__(self, sock: socket.socket, guard: Guard, peer: str) -> None:
        self._sock = sock
        self._guard = guard
        self._peer = peer
        guard.hold(sock)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with self._guard.waiting(self._sock, timeout, f"reading from {self._peer}", longer=True):
                return self._sock.recv(max_bytes)
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        try:
            while view:
                with self._guard.waiting(self._sock, timeout, f"writing to {self._peer}"):
                    view = view[self._sock.send(view) :]
        except OSError as error:
            # httpcore passes a WriteError over, to read the answer of a server that had heard enough.
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._guard.let_go(self._sock)
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if isinstance(self._sock, ssl.SSLSocket):
            raise ConfigRejected(f"{self._peer}: an https:// proxy cannot carry https; use an http:// proxy")
        plain: socket.socket = self._sock
        try:
            secured = ssl_context.wrap_socket(plain, server_hostname=server_hostname, do_handshake_on_connect=False)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        finally:
            self.close()  # the connection is the secured socket's now
        stream = _Stream(secured, self._guard, self._peer)
        try:
            with self._guard.waiting(secured, timeout, f"the TLS handshake with {self._peer}"):
                secured.do_handshake()
        except BaseException as error:
            stream.close()
            if isinstance(error, OSError):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._sock
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "is_readable":
            return _is_readable(self._sock)
        return None


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


class _Backend(httpcore.NetworkBackend):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        sock = self._guard.connect(
            host,
            port,
            timeout_s=timeout,
            local_address=(local_address, 0) if local_address else None,
            options=[*(socket_options or ()), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        return _Stream(sock, self._guard, f"{host}:{port}")


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) names for an address."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


class GuardedTransport(httpx.BaseTransport):
    """What carries an engine's httpx requests. Network faults are TransientError; nothing is retried."""

    def __init__(self, guard: Guard, url: str, verify_tls: bool | Path) -> None:
        self._guard = guard
        self._url = url
        self._verify_tls = verify_tls
        self._pool: httpcore.ConnectionPool | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request; the answer's body is still to be read."""
        what = f"{request.method} {request.url.copy_with(query=None)}"
        started = self._guard.admit(what)
        wire = self._guard.wire
        if wire is None:
            return self._ask(request, what, started)
        sent = Sent(request.method, str(request.url), tuple(request.headers.multi_items()), request.read())
        given = wire.carry(sent, lambda: self._whole(request, what, started))
        reason = given.reason.encode("ascii", "replace")
        return httpx.Response(
            given.status, headers=given.headers, content=given.body, extensions={"reason_phrase": reason}
        )

    def _whole(self, request: httpx.Request, what: str, started: float) -> Received:
        answer = self._ask(request, what, started)
        try:
            body = answer.read()
        except httpx.DecodingError as error:
            raise self._guard.fault(what, error) from error
        finally:
            answer.close()
        return Received(answer.status_code, answer.reason_phrase, unframed(answer.headers.multi_items()), body)

    def _ask(self, request: httpx.Request, what: str, started: float) -> httpx.Response:
        with asking(request.method, request.url.host) as span:
            answer = self._answer(request, what, started)
            span.set("http.response.status_code", answer.status_code)
            return answer

    def _answer(self, request: httpx.Request, what: str, started: float) -> httpx.Response:
        try:
            answer = self._connections().handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except _FAULTS as error:
            raise self._guard.fault(what, error) from error
        headers = httpx.Headers(answer.headers)
        self._guard.answered(answer.status, headers.get("date"), headers.get("age"), started)
        return httpx.Response(
            status_code=answer.status,
            headers=headers,
            stream=_Body(answer, self._guard, what),
            extensions=dict(answer.extensions),
        )

    def _connections(self) -> httpcore.ConnectionPool:
        if self._pool is None:
            tls = ssl_context(self._verify_tls) if self._url.startswith("https") else None
            options: dict[str, Any] = {"network_backend": _Backend(self._guard), "ssl_context": tls}
            proxy = _proxy_for(self._url)
            self._pool = httpcore.HTTPProxy(proxy, **options) if proxy else httpcore.ConnectionPool(**options)
        return self._pool

    def close(self) -> None:
        """Closes the idle connections."""
        if self._pool is not None:
            self._pool.close()


_FAULTS: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.ConnectionNotAvailable,
)


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, guard: Guard, what: str) -> None:
        self._answer = answer
        self._guard = guard
        self._what = what

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except _FAULTS as error:
            raise self._guard.fault(self._what, error) from error

    def close(self) -> None:
        self._answer.close()


class GuardedClient(httpx.Client):
    """An `httpx.Client` whose faults, of the network and of undecodable answers, are TransientError.

    `options` are those of `httpx.Client`; the ones the host owns (base_url, verify, proxy, transport, …) are refused
    with TypeError. A read `timeout`, where an adapter gives one, stands in place of `request_timeout_s`: streams.
    """

    def __init__(self, guard: Guard, url: str, verify_tls: bool | Path, **options: Any) -> None:
        if taken := sorted(_HOST_OWNED & options.keys()):
            raise TypeError(f"context.http() does not take {', '.join(taken)}: the host settles that")
        headers = httpx.Headers(options.pop("headers", None))
        headers.setdefault("user-agent", user_agent())
        super().__init__(
            base_url=url,
            headers=headers,
            transport=GuardedTransport(guard, url, verify_tls),
            trust_env=False,
            **{"timeout": None, **options},
        )
        self._guard = guard

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As `httpx.Client.send`; raises TransientError where httpx would raise RequestError."""
        what = f"{request.method} {request.url.copy_with(query=None)}"
        self._guard.timeout(what=what)
        try:
            return super().send(request, **options)
        except (httpx.UnsupportedProtocol, httpcore.UnsupportedProtocol) as error:
            raise ConfigRejected(f"{self._guard.redact(what)}: {error}; give an http:// or https:// address") from error
        except httpx.RequestError as error:
            raise self._guard.fault(what, error) from error
        except RuntimeError as error:
            if self._guard.closed:
                raise self._guard.fault(what, error) from error
            raise


__all__ = ["GuardedClient", "GuardedTransport", "TransientError", "ssl_context", "user_agent"]
