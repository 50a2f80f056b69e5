"""Buildbot's event stream, as a sign of which builds and build requests to read again. The adapter's watch comes here.

Buildbot 4.3.0 (`buildbot.www.sse`, recording 090): `/sse/listen/KEY` gives a `handshake` with the stream's id, by which
`/sse/add/ID/KEY` adds keys; then an event per change, without ids: what passes while nobody listens is not told again,
and a silent stream looks like a dead one. `update` of a build comes before its `new`, so nothing is read out of events.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx

from runlink.spi import AdapterError, NotFound, Refused, TransientError
from runlink_buildbot.rest import Rest

FIRST_KEY: Final = "builds/*/*"
MORE_KEYS: Final = ("buildrequests/*/*", "steps/*/*")
HANDSHAKE_S: Final = 30.0
JOIN_S: Final = 1.0
SILENCE_S: Final = 600.0
"""How long a stream may be silent before it is taken up anew: its connection may be gone without either end knowing."""

_TELLING: Final = {"builds": {"new", "finished"}, "steps": {"started", "finished"}}
"""Of builds and steps the changes that are worth a look; the others are of words shown while they run."""


class Stirred(NamedTuple):
    """What has changed: ids of build requests, and of builds whose request is not known."""

    requests: set[int]
    builds: set[int]


class Stream:
    """One subscription: a context manager that begins with the handshake, and ends the connection.

    A thread of its own reads, so that a burst is taken in while what came before is looked up.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._id = ""
        self._stirred = Stirred(set(), set())
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._events = _Events()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            response = stack.enter_context(self._rest.stream(f"sse/listen/{FIRST_KEY}", silence_s=SILENCE_S))
            reading = threading.Thread(target=self._read, args=(response,), name="buildbot-stream", daemon=True)
            reading.start()
            stack.callback(reading.join, JOIN_S)
            stack.callback(_wake, response)
            self._await_handshake()
            for key in MORE_KEYS:
                self._rest.text(f"sse/add/{self._id}/{key}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # --- what the watch asks -------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> Stirred | None:
        """What has changed since the last call, empty after so many seconds of silence; None at the stream's end.

        Raises TransientError when the stream broke.
        """
        with self._changed:
            self._changed.wait_for(lambda: any(self._stirred) or self._ended, seconds)
            if any(self._stirred):
                stirred, self._stirred = self._stirred, Stirred(set(), set())
                return stirred
            if self._error is not None:
                raise self._error
            return None if self._ended else Stirred(set(), set())

    def is_alive(self) -> bool:
        """Whether the master still has this stream: asked by taking off a key that it does not listen to (404), which
        is refused otherwise (400) when the master does not know the stream."""
        try:
            self._rest.text(f"sse/remove/{self._id}/nothing")
        except NotFound:
            return True
        except Refused:
            return False
        return True

    # --- reading -------------------------------------------------------------------------------------------------

    def _await_handshake(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._id or self._ended, HANDSHAKE_S) or not self._id:
                raise self._error or TransientError("Buildbot's /sse/listen gave no handshake")

    def _read(self, response: httpx.Response) -> None:
        """In a thread of its own, until the stream ends or breaks. Silence is an end, not a fault."""
        heard_at = time.monotonic()
        error: Exception | None = None
        try:
            for chunk in response.iter_bytes():
                heard_at = time.monotonic()
                for name, data in self._events.feed(chunk):
                    self._take(name, data)
        except AdapterError as raised:
            error = raised if time.monotonic() - heard_at < SILENCE_S else None
        except Exception as raised:  # noqa: BLE001 - it would be lost in this thread; the watch raises it in its own
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _take(self, name: str, data: str) -> None:
        with self._changed:
            if name == "handshake":
                self._id = data
            else:
                requests, builds = stirred_by(data)
                self._stirred.requests.update(requests)
                self._stirred.builds.update(builds)
            self._changed.notify_all()


def stirred_by(data: str) -> Stirred:
    """What one event's data says has changed. What makes no sense stirs nothing: the next poll has it anyway."""
    try:
        event = json.loads(data)
        kind, _, change = event["key"]
        message = event["message"]
        if kind in _TELLING and change not in _TELLING[kind]:
            return Stirred(set(), set())
        if kind == "steps":
            return Stirred(set(), {int(message["buildid"])})
        return Stirred({int(message["buildrequestid"])}, set())
    except (ValueError, KeyError, TypeError):
        return Stirred(set(), set())


class _Events:
    """Events out of the bytes of a stream, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        *whole, self._rest = (self._rest + chunk.replace(b"\r", b"")).split(b"\n\n")
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode("utf-8", "replace").split("\n") if ": " in line)
            if "data" in fields:
                yield fields.get("event", "message"), fields["data"]


def _wake(response: httpx.Response) -> None:
    """Ends the connection under a thread that reads from it; closing alone would not wake it."""
    stream: Any = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError, ValueError):
            # the base method: SSLSocket's own would take the TLS object away from under the reading thread
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
