"""What every request of one engine has to pass, whichever HTTP client makes it.

The daemon comes here to give a turn its deadline, to read the request count and the clock skew, and to close. The
clients in `transport` and `requests_transport` come here before, during and after each request.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

from runlink.application import tracing
from runlink.hosting.meters import Answers, Bucket, Budget, Meter, SkewMeter, Tally, TokenBucket
from runlink.hosting.wire import Wire
from runlink.spi import TransientError

_CONNECT_SLICE_S: Final = 0.2
"""How often a pending connect looks whether the guard was closed."""


def asking(method: str | None, host: str | None) -> AbstractContextManager[tracing.Span]:
    """A span round one request to an engine: not its path, which may hold what is nobody's business."""
    return tracing.span(
        method or "GET", {"http.request.method": method or "GET", "server.address": host or ""}, kind="client"
    )


class Guard:
    """One engine's request budget, time limits, clock-skew meter, request count and redaction.

    A poll, a watch and the threads of an adapter may make requests at the same time: the budget is one for all, the
    deadline is each thread's own. `close` may be called from any.
    """

    def __init__(
        self,
        *,
        max_requests_per_minute: float = 600,
        request_timeout_s: float = 30.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        redact: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests = 0
        """Requests sent since the guard was made."""
        self.redact = redact
        self.wire: Wire | None = None
        """Who looks at each exchange, or answers it."""
        self._request_timeout_s = request_timeout_s
        self._turn = threading.local()
        self._now = now
        self._clock = clock
        self._bucket: Bucket = TokenBucket(max_requests_per_minute, clock)
        self._skew: Meter = SkewMeter()
        self._answers: Tally = Answers()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._held: Counter[socket.socket] = Counter()

    def begin_turn(self, deadline: float | None) -> None:
        """A new turn of the calling thread, which may take until `deadline` on the monotonic clock; None for a stream
        without an end. A thread that began none has no deadline."""
        self._turn.deadline = deadline

    @property
    def _deadline(self) -> float | None:
        deadline: float | None = getattr(self._turn, "deadline", None)
        return deadline

    @property
    def left_s(self) -> float | None:
        """Seconds that the calling thread's turn has left; None without an end."""
        deadline = self._deadline
        return None if deadline is None else deadline - self._clock()

    def carry_on(self, former: Guard) -> None:
        """Takes over what is the engine's and not the adapter's of the guard that this one replaces, or stands beside:
        the request budget, the clock skew, what was answered."""
        self._bucket, self._skew, self._answers = former._bucket, former._skew, former._answers

    def defer_to(self, budget: Bucket, skew: Meter, answers: Tally) -> None:
        """In the process of an isolated adapter: these are the host's, at the other end of the pipe."""
        self._bucket, self._skew, self._answers = budget, skew, answers

    def take(self) -> float:
        """Takes one request out of the budget, counts it and returns 0; or takes nothing and returns the seconds until
        there will be one."""
        wait_s = self._bucket.take()
        if wait_s == 0.0:
            with self._lock:
                self.requests += 1
            self._answers.ask()
        return wait_s

    def dated(self, date: str | None, answered_at: datetime, round_trip_s: float) -> None:
        """Takes in the `Date` of an answer."""
        self._skew.read(date, answered_at, round_trip_s)

    def counted(self, status: int) -> None:
        """Takes in the status of an answer."""
        self._answers.answer(status)

    @property
    def budget(self) -> Budget:
        """What is left of the request budget."""
        return self._bucket.budget

    @property
    def answers(self) -> dict[str, int]:
        """How often which status was answered, by its code; `none` are requests that have had no answer."""
        return self._answers.counts()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; no request is made any more."""
        return self._closed.is_set()

    @property
    def skew_s(self) -> float | None:
        """Engine clock minus host clock, in seconds; None before the first answer that had a usable `Date`."""
        return self._skew.skew_s

    def close(self) -> None:
        """Ends every connection; a read blocked in another thread raises TransientError at once. May be repeated.

        Only a name lookup cannot be woken: it ends by the resolver's own limits.
        """
        self._closed.set()
        with self._lock:
            held = list(self._held)
        for sock in held:
            _shut_down(sock)

    # --- what clients call ----------------------------------------------------------------------------------

    def admit(self, what: str) -> float:
        """Waits for the request budget; counts the request; returns when it starts, on the monotonic clock.

        `what` names the request in errors. Raises TransientError when closed or when the turn's time is up first.
        """
        while True:
            self.timeout(what=what)
            wait_s = self.take()
            if wait_s == 0.0:
                return self._clock()
            deadline = self._deadline
            if deadline is not None and self._clock() + wait_s > deadline:
                raise TransientError(
                    f"{what} was not sent: max_requests_per_minute is used up and the turn ends before there is more",
                    retry_after_s=wait_s,
                )
            self._closed.wait(wait_s)

    def answered(self, status: int, date: str | None, age: str | None, started: float) -> None:
        """Takes in the status and the headers `Date` and `Age` of an answer to the request that started then.

        An answer out of a cache (`Age`) tells the time of an earlier one, so that is passed over.
        """
        self.counted(status)
        if age in (None, "", "0"):
            self.dated(date, self._now(), self._clock() - started)

    def timeout(self, wanted_s: float | None = None, *, what: str = "a request", longer: bool = False) -> float:
        """Seconds the next step of a request may wait: the least of `wanted_s`, `request_timeout_s` and what the turn
        has left.

        `longer`: `wanted_s`, where told, stands in place of `request_timeout_s` (reading a stream that may be silent).
        Raises TransientError when closed or when the turn's time is up.
        """
        if self.closed:
            raise TransientError(f"closed: {what} was given up because the host let go of this engine")
        limit = self._request_timeout_s
        if wanted_s is not None:
            limit = wanted_s if longer else min(wanted_s, limit)
        deadline = self._deadline
        if deadline is not None:
            left = deadline - self._clock()
            if left <= 0:
                raise TransientError(f"{self.redact(what)} was given up: the turn's time is up (poll_deadline_s)")
            limit = min(limit, left)
        return limit

    def fault(self, what: str, error: BaseException) -> TransientError:
        """A network fault in a plain sentence, without secrets."""
        if self.closed:
            return TransientError(f"closed: {self.redact(what)} was given up because the host let go of this engine")
        if isinstance(error, TransientError):
            return error
        reason = self.redact(str(error)) or type(error).__name__
        return TransientError(f"{self.redact(what)} failed: {reason}")

    @contextlib.contextmanager
    def waiting(
        self, sock: socket.socket, wanted_s: float | None, what: str, *, longer: bool = False
    ) -> Iterator[None]:
        """Round one blocking call on a socket: sets its time limit (see `timeout`), and turns a timeout or the close
        into TransientError; other faults of the socket pass as OSError."""
        limit_s = self.timeout(wanted_s, what=what, longer=longer)
        try:
            sock.settimeout(limit_s)
            yield
        except TimeoutError:
            self.timeout(what=what)
            raise TransientError(f"{what}: no answer for {limit_s:.3g} s") from None
        except OSError as error:
            if self.closed:
                raise self.fault(what, error) from None
            raise
        if self.closed:
            # A connection that was shut down looks like an answer that ended; do not take half of it for the whole.
            self.timeout(what=what)

    def hold(self, sock: socket.socket) -> None:
        """Keeps a socket for `close`, once more for each call; after the close it is shut down at once."""
        with self._lock:
            self._held[sock] += 1
        if self.closed:
            _shut_down(sock)

    def let_go(self, sock: socket.socket | None) -> None:
        """Undoes one `hold`; an unknown socket is no error."""
        with self._lock:
            if sock is not None and sock in self._held:
                self._held[sock] -= 1
                if self._held[sock] <= 0:
                    del self._held[sock]

    def connect(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float | None = None,
        local_address: tuple[str, int] | None = None,
        options: Sequence[tuple[Any, ...]] = (),
    ) -> socket.socket:
        """A connected TCP socket; tries each address of the name. Raises TransientError within the time limits."""
        what = f"connecting to {host}:{port}"
        until = self._clock() + self.timeout(timeout_s, what=what)
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise TransientError(f"{what} failed: the name could not be looked up ({error})") from None
        last: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            try:
                for option in options:
                    sock.setsockopt(*option)
                if local_address:
                    sock.bind(local_address)
                self._finish_connect(sock, address, until, what)
            except OSError as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise TransientError(f"{what} failed: {last.strerror or last}") from None

    def _finish_connect(self, sock: socket.socket, address: Any, until: float, what: str) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, _strerror(code))
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_WRITE)
            while not selector.select(_CONNECT_SLICE_S):
                self.timeout(what=what)
                if self._clock() > until:
                    raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, _strerror(code))
        self.timeout(what=what)


def _shut_down(sock: socket.socket) -> None:
    # The base method: SSLSocket's own would take the TLS object away from under the reading thread.
    with contextlib.suppress(OSError, ValueError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _strerror(code: int) -> str:
    return os.strerror(code)
