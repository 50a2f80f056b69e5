"""A websocket on one of the host's guarded connections: its time limits, TLS, budget and `close` hold for it, too. The
watch comes here.

The protocol itself is `websockets` without its input and output; the connection is the one that httpx opened for the
upgrade, handed over with status 101.
"""

import logging
import selectors
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import httpcore
import httpx
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from runlink.spi import CredentialsRejected, TransientError, error_for

PING_AFTER_S: Final = 15.0
"""Silence after which the server is pinged; after as long again without a word it is taken for lost."""

_SLICE_S: Final = 0.5
"""How long is waited at a time: a socket that another thread closes between two steps here wakes nobody."""

MAX_MESSAGE_BYTES: Final = 16 * 2**20

POLICY_VIOLATION: Final = 1008
"""The close code with which Prefect refuses a token."""

_QUIET: Final = logging.getLogger("runlink_prefect.websocket")
_QUIET.setLevel(logging.WARNING)  # at DEBUG the library writes down each message, the one with the token too

_HOP: Final = frozenset({"host", "user-agent"})


class WebSocket:
    """An open websocket whose client speaks first. `wait` and `send` belong to one thread; the host's close ends them
    from any other."""

    def __init__(self, what: str, protocol: ClientProtocol, network: Any, ping_after_s: float) -> None:
        self._what = what
        self._ping_after_s = ping_after_s
        self._protocol = protocol
        self._network = network
        self._parts: list[bytes] = []
        self._heard_at = self._pinged_at = time.monotonic()

    def send(self, text: str) -> None:
        """One text message."""
        self._protocol.send_text(text.encode())
        self._flush()

    def wait(self, seconds: float) -> list[bytes] | None:
        """The messages that came, as soon as there are any, [] after so many seconds without; None when the server
        ended the stream. Raises TransientError for a lost connection, CredentialsRejected for a token refused."""
        deadline = time.monotonic() + seconds
        while True:
            if self._is_readable(max(0.0, min(deadline - time.monotonic(), _SLICE_S, self._ping_after_s))):
                messages = self._receive()
                if messages is None or messages:
                    return messages
            else:
                self._keep_alive(time.monotonic())
            if time.monotonic() >= deadline:
                return []

    def _keep_alive(self, now: float) -> None:
        is_asked = self._pinged_at > self._heard_at
        if now - max(self._heard_at, self._pinged_at) < self._ping_after_s:
            return
        if is_asked:
            raise TransientError(
                f"{self._what}: not a word for {now - self._heard_at:.0f} s, not even an answer to a ping"
            )
        self._pinged_at = now
        self._protocol.send_ping(b"runlink")
        self._flush()

    def _is_readable(self, seconds: float) -> bool:
        """True also when the host has closed the connection: reading then says so."""
        sock = self._network.get_extra_info("socket")
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(sock, selectors.EVENT_READ)
                return bool(selector.select(seconds))
        except (OSError, ValueError):
            return True

    def _receive(self) -> list[bytes] | None:
        try:
            received = self._network.read(65536)
        except httpcore.NetworkError as error:
            raise TransientError(f"{self._what} broke off: {error}") from error
        self._heard_at = time.monotonic()
        if received:
            self._protocol.receive_data(received)
        else:
            self._protocol.receive_eof()
        self._flush()
        if received and self._protocol.parser_exc is not None:
            raise TransientError(f"{self._what} broke off: what came is no websocket ({self._protocol.parser_exc})")
        messages = [text for event in self._protocol.events_received() if (text := self._text(event)) is not None]
        if not messages and (not received or self._protocol.close_expected()):
            self._check_end()
            return None
        return messages

    def _text(self, event: Any) -> bytes | None:
        """The message that a frame completes."""
        if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        self._parts.append(bytes(event.data))
        if not event.fin:
            return None
        text, self._parts = b"".join(self._parts), []
        return text

    def _check_end(self) -> None:
        """Raises for an end that is no normal one."""
        said = self._protocol.close_rcvd
        code, reason = (said.code, said.reason or "no reason given") if said else (1006, "without a word")
        if code == POLICY_VIOLATION:
            raise CredentialsRejected(f"{self._what} was closed by the server: {reason}")
        if code not in (1000, 1001, 1012):
            raise TransientError(f"{self._what} broke off ({code}: {reason})")

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                try:
                    self._network.write(data)
                except httpcore.NetworkError as error:
                    raise TransientError(f"{self._what} broke off: {error}") from error


@contextmanager
def connected(
    client: httpx.Client,
    path: str,
    subprotocol: str,
    now: Callable[[], datetime],
    *,
    ping_after_s: float = PING_AFTER_S,
) -> Iterator[WebSocket]:
    """A websocket at a path of the client's address, closed at the end.

    Raises what `spi.error_for` names for a status, and TransientError where no websocket opens otherwise.
    """
    url = client.base_url.join(path)
    what = f"the websocket {url.path}"
    scheme = "wss" if url.scheme == "https" else "ws"
    protocol = ClientProtocol(
        parse_uri(str(url.copy_with(scheme=scheme))),
        subprotocols=[Subprotocol(subprotocol)],
        logger=_QUIET,
        max_size=MAX_MESSAGE_BYTES,
    )
    request = protocol.connect()
    protocol.send_request(request)
    protocol.data_to_send()  # httpx sends it
    headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() not in _HOP]
    with client.stream("GET", path, headers=headers) as response:
        error = error_for(response.status_code, response.headers, what, now())
        if error is not None:
            raise error
        network = response.extensions.get("network_stream")
        if response.status_code != 101 or network is None:
            raise TransientError(
                f"{what} answered HTTP {response.status_code} where it should switch protocols: does a proxy before "
                "it let websockets through? Polling goes on without"
            )
        _shake_hands(what, protocol, response)
        socket = WebSocket(what, protocol, network, ping_after_s)
        try:
            yield socket
        finally:
            network.close()


def _shake_hands(what: str, protocol: ClientProtocol, response: httpx.Response) -> None:
    """Hands the protocol the answer that httpx has read, for it to be checked."""
    answer = Response(101, "Switching Protocols", Headers(response.headers.multi_items()))
    protocol.receive_data(answer.serialize())
    protocol.events_received()
    error = protocol.handshake_exc
    if isinstance(error, InvalidHandshake | WebSocketException):
        raise TransientError(f"{what} answered with a handshake that is wrong: {error}")
