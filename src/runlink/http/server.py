"""uvicorn on a thread of its own, beside the daemon. `runlink serve` starts and stops it through bootstrap."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any, Final

import h11
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from runlink.application.settings import ServerSettings
from runlink.http.hub import Hub
from runlink.http.problems import Problem

log = logging.getLogger(__name__)

HEADERS_S: Final = 15.0
"""How long the head of a request may take to arrive."""
MAX_CONNECTIONS: Final = 2000
STOP_S: Final = 2


class ServerRefused(Exception):
    """The server cannot listen where it is told to."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose patience ends: a head that does not arrive within HEADERS_S is answered with 408, and a connection
    on which nothing arrives is closed, which uvicorn itself would hold for ever."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Something arrived."""
        super().data_received(data)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        """Between a connection's first byte and the end of the head the clock runs, and is not set back by more."""
        if self.conn.their_state is not h11.IDLE:
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None
        elif self._giving_up is None:
            self._giving_up = self.loop.call_later(HEADERS_S, self._give_up)

    def _give_up(self) -> None:
        if self.conn.trailing_data[0]:
            answer = Problem("timeout", f"the head of the request did not arrive within {HEADERS_S:g} s; send it anew")
            self.transport.write(_in_full(answer.response()))
        self.transport.close()


def _in_full(answer: Response) -> bytes:
    """An answer that no application gives, as it goes over the wire."""
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
    return b"HTTP/1.1 408 Request Timeout\r\n" + headers + b"connection: close\r\n\r\n" + bytes(answer.body)


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn calls a client of the stream that was cut off an error of the application; `stream` has told of it."""
    return record.getMessage() != "ASGI callable returned without completing response."


class HttpServer:
    """A server that listens from the moment it is made, and answers from `start` on.

    Raises ServerRefused when it cannot listen.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._socket = _listening(settings)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._hub: tuple[asyncio.AbstractEventLoop, Hub] | None = None

    @property
    def url(self) -> str:
        """Where it is reached on this machine."""
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if self._settings.tls_certificate is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def on_hub(self, hub: Hub) -> None:
        """For `create_app`: the hub that is to be closed before the server waits for its clients."""
        self._hub = (asyncio.get_running_loop(), hub)

    def start(self, app: ASGIApp) -> None:
        """Answers, on a thread of its own."""
        options: dict[str, Any] = {}
        if self._settings.tls_certificate is not None:
            options = {
                "ssl_certfile": str(self._settings.tls_certificate),
                "ssl_keyfile": str(self._settings.tls_key),
            }
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # `guard` believes the proxies that are trusted
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=32 * 1024,
            **options,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        try:
            config.load()
        except OSError as error:  # an ssl.SSLError is one
            raise ServerRefused(f"server.tls_certificate or server.tls_key cannot be used: {error}") from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=(self._server,), name="runlink-http", daemon=True)
        self._thread.start()

    def _run(self, server: uvicorn.Server) -> None:
        try:
            server.run(sockets=[self._socket])
        except BaseException:
            log.exception("the server ended by itself; `runlink serve` goes on without it")

    def stop(self) -> None:
        """Takes no more requests, and ends those that run within STOP_S. Does not wait."""
        if self._server is not None:
            self._server.should_exit = True
        if self._hub is not None:
            loop, hub = self._hub
            if loop.is_running():
                loop.call_soon_threadsafe(lambda: loop.create_task(hub.close()))

    def join(self, wait_s: float) -> bool:
        """Waits for its end; False when it did not come."""
        if self._thread is not None:
            self._thread.join(wait_s)
        self._socket.close()
        return self._thread is None or not self._thread.is_alive()


def _listening(settings: ServerSettings) -> socket.socket:
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off only where the socket says it is TCP; with it an answer waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise ServerRefused(
            f"the server cannot listen at {settings.listen}: {error.strerror}; set server.listen to another address, "
            "or server.enabled = false"
        ) from error
    listening.setblocking(False)
    return listening
