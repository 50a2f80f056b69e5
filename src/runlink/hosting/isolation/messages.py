"""What the host and the process of an adapter say to each other. Both ends come here.

A message is one JSON document behind its length, over a socket. Nothing else is read from the child: no pickle.
"""

from __future__ import annotations

import socket
import struct
import threading
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from runlink.hosting.wire import Received, Sent

T = TypeVar("T")

PROTOCOL: Final = 1
"""Counts up with each change of these messages. Both ends must speak the same."""
MAX_BYTES: Final = 64 << 20
"""The longest message: a page is to be of a size that one transaction can store."""
TEXT: Final = 8000
"""Characters of what a child says in words that are told and kept; of a trace the last."""
_SIZE: Final = struct.Struct("!I")


class Hello(msgspec.Struct, tag=True):
    """The child's first word; this message never changes, so that ends of any version understand each other so far."""

    protocol: int
    spi: str
    runlink: str


class Describe(msgspec.Struct, tag=True):
    """Asks which adapters the child's environment has. The answer ends the process."""


class Start(msgspec.Struct, tag=True, kw_only=True):
    """Which adapter to make, for which engine.

    adapter   `module:Class`
    path      where the host finds modules; None leaves the child with its own environment's
    settings  fields of EngineSettings, secrets resolved: they travel through the socket and nowhere else
    level     what runlink logs, at least
    watched   whether somebody looks at the exchanges with the engine (`Guard.wire`)
    """

    adapter: str
    path: list[str] | None
    settings: dict[str, Any]
    since: datetime
    backfill: bool
    level: int
    watched: bool


class Call(msgspec.Struct, tag=True):
    """Calls a method. `left_s` is what the turn has left; None without an end."""

    id: int
    method: str
    argument: msgspec.Raw
    left_s: float | None
    since: datetime


class Next(msgspec.Struct, tag=True):
    """The page that was told is stored: on to the next."""

    id: int
    left_s: float | None


class Drop(msgspec.Struct, tag=True):
    """No more pages are wanted of this call; Ended answers it."""

    id: int


class Given(msgspec.Struct, tag=True):
    """The answer to an Ask."""

    id: int
    value: float


class Fetch(msgspec.Struct, tag=True):
    """Somebody looks at this exchange (a Carry of the child), and wants the engine asked."""

    id: int


class Carried(msgspec.Struct, tag=True):
    """The answer to a Carry, or the fault that came instead."""

    id: int
    answer: Received | str


class Ping(msgspec.Struct, tag=True):
    """Is anybody there?"""


ToChild = Describe | Start | Call | Next | Drop | Given | Fetch | Carried | Ping


class AdapterTold(msgspec.Struct, kw_only=True):
    """An adapter class, as far as a host must know it that cannot import it. `adapter` is its `module:Class`."""

    adapter: str
    name: str
    spi_version: str
    capabilities: tuple[str, ...]
    config_schema: dict[str, Any]
    default_poll_interval_s: float | None = None
    steps_on_refetch: bool = False
    authentication: str | None = None


class Environment(msgspec.Struct, tag=True):
    """Answers Describe: the adapters, and the plugins, taken and refused, with the fields of PluginInfo."""

    adapters: tuple[AdapterTold, ...]
    plugins: tuple[dict[str, Any], ...]


class Ready(msgspec.Struct, tag=True):
    """The adapter is made."""


class Told(msgspec.Struct, tag=True):
    """What a call gave, or its next page."""

    id: int
    value: msgspec.Raw


class Ended(msgspec.Struct, tag=True):
    """There are no more pages."""

    id: int


class Failed(msgspec.Struct, tag=True):
    """A call, or with id 0 the making of the adapter, raised. `kind` names an error of the SPI; "" is a bug, which has
    its `trace`."""

    id: int
    kind: str
    message: str
    retry_after_s: float | None = None
    trace: str = ""


class Ask(msgspec.Struct, tag=True):
    """Asks the host for the `time` (seconds since 1970), or to `take` a request out of the budget (seconds to wait)."""

    id: int
    what: str


class Answered(msgspec.Struct, tag=True):
    """The engine answered a request with this status."""

    status: int


class Dated(msgspec.Struct, tag=True):
    """The engine's answer had this `Date`."""

    date: str | None
    answered_at: datetime
    took_s: float


class Carry(msgspec.Struct, tag=True):
    """A request that somebody on the host's side is to look at, or to answer: only where Start says so."""

    id: int
    sent: Sent


class Fetched(msgspec.Struct, tag=True):
    """The engine's answer to a Fetch, or the fault that came instead."""

    id: int
    answer: Received | str


class Logged(msgspec.Struct, tag=True):
    """A line for the host's log."""

    level: int
    text: str


class Pong(msgspec.Struct, tag=True):
    """Answers a Ping."""


ToHost = Hello | Environment | Ready | Told | Ended | Failed | Ask | Answered | Dated | Carry | Fetched | Logged | Pong


class Pipe(Generic[T]):
    """One end of the socket. `send` may be called from any thread, `receive` from one."""

    def __init__(self, sock: socket.socket, expected: Any) -> None:
        self._sock = sock
        self._decoder = msgspec.json.Decoder(expected)
        self._lock = threading.Lock()
        self._came = bytearray()

    def send(self, message: msgspec.Struct) -> None:
        """Raises OSError when nobody listens any more; then nothing more may be sent, for half of it may have gone.

        Raises ValueError for a message that is too long, what msgspec raises for a value that is no JSON, and then
        nothing was sent.
        """
        body = msgspec.json.encode(message)
        if len(body) > MAX_BYTES:
            raise ValueError(f"{len(body)} bytes at once are more than the {MAX_BYTES} that a message may have")
        with self._lock:
            self._sock.sendall(_SIZE.pack(len(body)) + body)

    def receive(self) -> T | None:
        """The next message; None when the other end is gone.

        Raises TimeoutError when nothing comes for the socket's time limit; what came so far is kept. Raises ValueError
        for what is no message.
        """
        if not self._has(_SIZE.size):
            return None
        (size,) = _SIZE.unpack(self._came[: _SIZE.size])
        if size > MAX_BYTES:
            raise ValueError(f"a message of {size} bytes")
        if not self._has(_SIZE.size + size):
            return None
        body = bytes(self._came[_SIZE.size : _SIZE.size + size])
        del self._came[: _SIZE.size + size]
        message: T = self._decoder.decode(body)
        return message

    def _has(self, size: int) -> bool:
        while len(self._came) < size:
            try:
                part = self._sock.recv(1 << 18)
            except TimeoutError:
                raise
            except OSError:
                return False
            if not part:
                return False
            self._came += part
        return True

    def finish(self) -> None:
        """Sends no more: the other end comes to the end of what it reads. May be repeated."""
        self._shut(socket.SHUT_WR)

    def close(self) -> None:
        """Ends the connection. May be repeated."""
        self._shut(socket.SHUT_RDWR)
        self._sock.close()

    def forsake(self) -> None:
        """In a fork of this process: the connection is not the fork's. It stays as it is, and nothing is sent here."""
        self._lock = threading.Lock()  # a thread that is not here may have held it
        self._sock.close()

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            return
