"""One process of an adapter, as the host holds it: from its start to its end, however that comes. `proxy` and
`environment` come here.

The child is reached through its standard input, a socket, so that `python` may be a program that drops rights and then
runs Python. What it prints is read apart. It ends when the host does: a thread of its own sees the socket's end, and
where its interpreter is stuck, the kernel kills it as the host's end of a pipe (the lifeline) closes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from runlink.hosting.errors import ProcessLost
from runlink.hosting.isolation.messages import (
    PROTOCOL,
    Call,
    Drop,
    Ended,
    Environment,
    Failed,
    Hello,
    Next,
    Ping,
    Pipe,
    Pong,
    Ready,
    ToHost,
    Told,
)
from runlink.spi import SPI_VERSION, TransientError

ENVIRONMENT: Final = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE",
     "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
)  # fmt: skip
"""What a child is given of the host's variables, in either case, with those that begin with LC_: the others may hold
secrets of other engines."""
_LINE: Final = 4096
_EXIT_S: Final = 5.0
"""How long a process that has closed its connection has to end by itself."""
_LAST_WORDS_S: Final = 1.0
"""How long what it printed last may take to be read."""


class Limits(NamedTuple):
    """How long the host waits, in seconds.

    start_s    for a process to have made its adapter
    grace_s    past the end of a turn, for a call to come back
    let_go_s   for a process to end by itself when its adapter is closed
    beat_s     for any word, before the process is asked whether it is there
    beats      how often it is asked in vain
    """

    start_s: float = 60.0
    grace_s: float = 2.0
    let_go_s: float = 0.7
    beat_s: float = 5.0
    beats: int = 6


class Process:
    """A running child. `heard` takes what it says beside the answers to calls, on a thread of its own; `printed` each
    line that it, or what it starts, prints."""

    def __init__(
        self,
        python: Path | None,
        name: str,
        *,
        heard: Callable[[Process, ToHost], None],
        printed: Callable[[str], None],
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.started_at = datetime.now(UTC)
        self._where = str(python or sys.executable)
        self._child: subprocess.Popen[bytes]
        self._heard = heard
        self._printed = printed
        self._ids = itertools.count(1)
        self._calls: dict[int, Calling] = {}
        self._lock = threading.Lock()
        self._why = ""
        self._closing = False
        self._is_up = False
        self._over = threading.Event()
        self._last_words: deque[str] = deque(maxlen=5)
        ours = self._begin(python)
        ours.settimeout(limits.beat_s)
        self._pipe: Pipe[ToHost] = Pipe(ours, ToHost)
        self._first = Calling(self, 0)
        self._calls[0] = self._first
        self._printing = threading.Thread(target=self._print, name=f"runlink-printed-{name}", daemon=True)
        self._printing.start()
        self._reading = threading.Thread(target=self._read, name=f"runlink-isolated-{name}", daemon=True)
        self._reading.start()

    def _begin(self, python: Path | None) -> socket.socket:
        with contextlib.ExitStack() as ours_to_keep, contextlib.ExitStack() as theirs_alone:
            try:
                ours, theirs = socket.socketpair()
                ours_to_keep.callback(ours.close)
                theirs_alone.callback(theirs.close)
                output, told = os.pipe()
                ours_to_keep.callback(os.close, output)
                theirs_alone.callback(os.close, told)
                life, self._lifeline = os.pipe()
                ours_to_keep.callback(os.close, self._lifeline)
                theirs_alone.callback(os.close, life)
                self._child = subprocess.Popen(  # noqa: S603 - what the operator named, and our own module
                    [self._where, "-P", "-m", "runlink.hosting.isolation.child"],
                    env=_environ(python),
                    stdin=theirs.fileno(),
                    stdout=told,
                    stderr=told,
                    start_new_session=True,  # Ctrl-C is the host's; what the child starts can be ended with it
                )
            except OSError as error:
                raise ProcessLost(f"{self._where} cannot be run: {error.strerror or error}") from None
            with contextlib.suppress(OSError):  # it has ended already: that is told when it is read
                socket.send_fds(ours, [b"!"], [life])
            ours_to_keep.pop_all()
        self._output = os.fdopen(output, "rb", buffering=0)
        return ours

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def is_lost(self) -> bool:
        """Whether it ended, or was killed, though nobody closed it."""
        return bool(self._why) and not self._closing

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, and all that waited for it was told."""
        return self._over.is_set()

    # --- what the host says ------------------------------------------------------------------------------------

    def first(self, message: msgspec.Struct, expected: type[Ready | Environment]) -> Any:
        """The first message, and the answer to it. Raises ProcessLost; ends the process where it raises."""
        until = time.monotonic() + self.limits.start_s
        try:
            hello = self._first.wait(self.limits.start_s, Hello)
            if hello.protocol != PROTOCOL or hello.spi != SPI_VERSION:
                raise ProcessLost(
                    f"{self._where} has runlink {hello.runlink} (SPI {hello.spi}, protocol {hello.protocol}), which "
                    f"this one (SPI {SPI_VERSION}, protocol {PROTOCOL}) cannot talk to; install the same version there"
                )
            self.send(message)
            return self._first.wait(max(0.0, until - time.monotonic()), expected)
        except BaseException:
            self.close(0.0)
            raise

    def call(self, method: str, argument: Any, left_s: float | None, since: datetime) -> Calling:
        """Begins a call. Raises ProcessLost."""
        told = msgspec.Raw(msgspec.json.encode(argument))
        with self._lock:
            calling = Calling(self, next(self._ids))
            self._calls[calling.id] = calling
        if self._over.is_set():
            self.forget(calling)
            raise self.lost()
        try:
            self.send(Call(calling.id, method, told, left_s, since))
        except BaseException:
            self.forget(calling)
            raise
        return calling

    def forget(self, calling: Calling) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._calls.pop(calling.id, None)

    def send(self, message: msgspec.Struct) -> None:
        """Raises ProcessLost where nobody reads it."""
        try:
            self._pipe.send(message)
        except ConnectionError:  # it is gone: how it ended is about to be known
            self._await_end()
            raise self.lost() from None
        except OSError:
            self.kill("no longer reads what it is told, and was killed")
            self._await_end()
            raise self.lost() from None

    def _await_end(self) -> None:
        if threading.current_thread() is not self._reading:  # which is to find the end
            self._over.wait(_EXIT_S + _LAST_WORDS_S)

    def lost(self) -> TransientError:
        """The error for whoever waits for it."""
        if self._closing:
            return TransientError("closed: the host let go of this engine")
        return ProcessLost(f"the adapter's process {self._why or 'ended'}; it is started again")

    # --- its end -----------------------------------------------------------------------------------------------

    def close(self, let_go_s: float | None = None) -> None:
        """Has it end by itself, and kills it where it does not. From any thread; may be repeated."""
        self._closing = self._closing or not self._why
        self._pipe.finish()
        if not self._over.wait(self.limits.let_go_s if let_go_s is None else let_go_s):
            self.kill("was closed")
            self._over.wait(1.0)

    def kill(self, why: str) -> None:
        """Ends it now, with whatever it has started, and whatever waits for it."""
        with self._lock:
            self._why = self._why or why
            if self._lifeline >= 0:
                os.close(self._lifeline)  # a child of another user's has it kill itself
                self._lifeline = -1
            if self._child.returncode is None:
                with contextlib.suppress(OSError):
                    os.killpg(self._child.pid, signal.SIGKILL)
        self._pipe.finish()

    def _read(self) -> None:
        beats = 0
        try:
            while True:
                try:
                    message = self._pipe.receive()
                except TimeoutError:
                    if self._child.poll() is not None:  # though something that it started keeps the connection
                        break
                    if not self._is_up:
                        continue
                    beats += 1
                    if beats > self.limits.beats:
                        waited_s = self.limits.beat_s * self.limits.beats
                        self.kill(f"gave no sign of life for {waited_s:g} s, and was killed")
                        break
                    self._pipe.send(Ping())
                    continue
                if message is None:
                    break
                beats = 0
                self._take(message)
        except (ConnectionError, ProcessLost):
            pass  # it is gone, or was killed: `_end` tells how
        except OSError:
            self.kill("no longer reads what it is told, and was killed")
        except Exception as error:  # noqa: BLE001 - whatever it says, it is a stranger: no more is taken from it
            text = " ".join(str(error).split())[:200]
            self.kill(f"said what makes no sense ({type(error).__name__}: {text}), and was killed")
        self._end()

    def _take(self, message: ToHost) -> None:
        match message:
            case Pong():
                return
            case Hello() | Environment() | Ready():
                self._is_up = True  # from now on it answers; until then, `start_s` counts
                self._first.put(message)
            case Told() | Ended() | Failed():
                with self._lock:
                    calling = self._calls.get(message.id)
                if calling is not None:
                    calling.put(message)
            case _:
                self._heard(self, message)

    def _end(self) -> None:
        """Reaps it. What it started goes with it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not self._why:
                self._child.wait(_EXIT_S)  # by itself, so that it is told how
        exit_code = self._child.returncode
        with contextlib.suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._printing.join(0.2 if self._closing else _LAST_WORDS_S)
        self.kill("was closed" if self._closing else self._end_in_words(exit_code))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(5.0)
        self._pipe.close()
        self._over.set()
        with self._lock:
            waiting, self._calls = list(self._calls.values()), {}
        for calling in waiting:
            calling.put(None)

    def _end_in_words(self, exit_code: int | None) -> str:
        last = "; ".join(self._last_words)
        if "No module named" in last and "runlink" in last:
            return f"did not begin: {self._where} has no runlink that can run adapters; install the same version there"
        if exit_code is None:
            told = "closed its connection, and was killed"
        elif exit_code < 0:
            told = f"was ended by signal {-exit_code} ({signal.strsignal(-exit_code)})"
        else:
            told = f"ended with exit code {exit_code}"
        return f"{told} (last words: {last[-400:]})" if last else told

    def _print(self) -> None:
        rest = b""
        with self._output:
            while part := self._output.read(1 << 16):
                *lines, rest = (rest + part).split(b"\n")
                if len(rest) > _LINE:
                    lines, rest = [*lines, rest], b""
                for line in filter(None, lines):
                    self._told(line)
        if rest:
            self._told(rest)

    def _told(self, line: bytes) -> None:
        text = line[:_LINE].decode("utf-8", "replace").rstrip()
        self._last_words.append(text)
        self._printed(text)


class Calling:
    """A call under way, as the thread that made it sees it."""

    def __init__(self, process: Process, number: int) -> None:
        self.id = number
        self._process = process
        self._told: queue.SimpleQueue[ToHost | None] = queue.SimpleQueue()
        self._late = "hung past the end of its time" if number else f"did not begin in {process.limits.start_s:g} s"
        self._is_over = False

    def put(self, message: ToHost | None) -> None:
        """From the reading thread; None: the process is gone. Raises ValueError for more than was asked for."""
        if message is not None and self._told.qsize() > 1:
            raise ValueError("it tells more than it was asked for")
        self._told.put(message)

    def wait(self, within_s: float | None, *expected: type[Any]) -> Any:
        """The next message, one of these; another is the adapter's error.

        Raises what the adapter raised, as `Failed` tells it, and ProcessLost; kills a process that takes longer.
        """
        try:
            told = self._told.get(timeout=within_s)
        except queue.Empty:
            self._is_over = True
            self._process.kill(f"{self._late}, and was killed")
            raise self._process.lost() from None
        if told is None:
            self._is_over = True
            raise self._process.lost()
        self._is_over = isinstance(told, Ended | Failed)
        if self._is_over:
            self._process.forget(self)
        if isinstance(told, (*expected, Failed)):
            return told
        self._process.kill(f"said {type(told).__name__} out of turn, and was killed")
        raise self._process.lost()

    def next(self, left_s: float | None) -> None:
        """On to the next page."""
        self._process.send(Next(self.id, left_s))

    def done(self) -> None:
        """It has told all that it was asked for."""
        self._is_over = True
        self._process.forget(self)

    def drop(self) -> None:
        """No more pages are wanted: waits until the adapter has let go of them, so that the next call finds it free."""
        if self._is_over:
            return
        with contextlib.suppress(TransientError):
            self._process.send(Drop(self.id))
            self.wait(self._process.limits.grace_s, Ended)


def _environ(python: Path | None) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if n.upper() in ENVIRONMENT or n.startswith("LC_")}
    if python is None:
        kept |= {n: v for n, v in os.environ.items() if n in ("PYTHONPATH", "PYTHONHOME")}
    return {**kept, "PYTHONUNBUFFERED": "1"}
