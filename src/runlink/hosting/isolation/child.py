"""The process of an adapter: `python -m runlink.hosting.isolation.child`. `process` starts it, nobody else.

The adapter has the context that it would have in the daemon; what the host keeps for itself (the request budget, the
clock, the counts, the log) is asked for, or told, through the socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.metadata
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from runlink.application.settings import EngineSettings
from runlink.hosting.checks import capabilities
from runlink.hosting.errors import AdapterFault
from runlink.hosting.hosted import HostedAdapter, build_adapter, one_line
from runlink.hosting.isolation.messages import (
    PROTOCOL,
    TEXT,
    AdapterTold,
    Answered,
    Ask,
    Call,
    Carried,
    Carry,
    Dated,
    Describe,
    Drop,
    Ended,
    Environment,
    Failed,
    Fetch,
    Fetched,
    Given,
    Hello,
    Logged,
    Next,
    Ping,
    Pipe,
    Pong,
    Ready,
    Start,
    ToChild,
    Told,
)
from runlink.hosting.loader import PluginHost
from runlink.hosting.meters import Budget
from runlink.hosting.wire import Received, Sent
from runlink.spi import SPI_VERSION, Adapter, AdapterError, Delivery, Observation, Page, TransientError, Unreadable
from runlink.spi import errors as spi_errors

T = TypeVar("T")

ARGUMENTS: Final = {
    "poll": dict[str, str], "watch": dict[str, str], "refetch": list[str], "receive": Delivery, "check": None,
}  # fmt: skip
"""method -> what it is called with."""
_GIVES_ONE: Final = ("check", "receive")
_LAST_S: Final = 0.4
"""How long calls have to come back when the host lets go."""
_SETSIG: Final = 10  # F_SETSIG of fcntl(2): Linux


class Child:
    """Runs until the host closes the socket, or is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._pipe: Pipe[ToChild] = Pipe(sock, ToChild)
        self._asked: dict[int, queue.SimpleQueue[Any]] = {}
        self._ids = itertools.count(1)
        self._wanted: dict[int, queue.SimpleQueue[Next | Drop]] = {}
        self._workers: list[threading.Thread] = []
        self._hosted: HostedAdapter | None = None
        self._gone = False

    def run(self) -> None:
        """The whole life of the process."""
        os.register_at_fork(after_in_child=self._pipe.forsake)  # else a fork that outlives it would hide its end
        self._pipe.send(Hello(PROTOCOL, SPI_VERSION, _version()))
        while (message := self._pipe.receive()) is not None:
            match message:
                case Ping():
                    self._pipe.send(Pong())
                case Given():
                    _put(self._asked, message.id, message.value)
                case Fetch() | Carried():
                    _put(self._asked, message.id, message)
                case Start() | Describe():
                    self._begin(self._make if isinstance(message, Start) else self._describe, message)
                case Call():
                    self._wanted[message.id] = queue.SimpleQueue()
                    self._begin(self._work, message)
                case Next() | Drop():
                    _put(self._wanted, message.id, message)
        self._let_go()

    def _begin(self, target: Callable[[Any], None], message: Any) -> None:
        worker = threading.Thread(target=target, args=(message,), daemon=True)
        self._workers = [each for each in self._workers if each.is_alive()] + [worker]
        worker.start()

    def _let_go(self) -> None:
        self._gone = True
        for answer in list(self._asked.values()):
            answer.put(None)
        for number, wanted in list(self._wanted.items()):
            wanted.put(Drop(number))
        until = time.monotonic() + _LAST_S
        if self._hosted is not None:
            closing = threading.Thread(target=self._hosted.close, daemon=True)
            closing.start()
            self._workers.insert(0, closing)
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))

    def _make(self, start: Start) -> None:
        _log_to(self._pipe, start.level)
        try:
            known = {field.name for field in fields(EngineSettings)}
            settings = {name: v for name, v in start.settings.items() if name in known}
            settings |= {name: tuple(settings[name]) for name in ("include", "exclude")}
            if isinstance(settings["verify_tls"], str):
                settings["verify_tls"] = Path(settings["verify_tls"])
            hosted = build_adapter(
                found(start.adapter, start.path),
                EngineSettings(**settings),
                now=self._now,
                since=start.since,
                backfill=start.backfill,
            )
            hosted.guard.defer_to(_Budget(self._ask), _Skew(self._pipe), _Answers(self._pipe))
            hosted.guard.wire = _Wire(self._carried) if start.watched else None
            self._hosted = hosted
        except BaseException as error:  # noqa: BLE001 - plugin code
            self._failed(0, error)
        else:
            self._pipe.send(Ready())

    def _describe(self, _asked: Describe) -> None:
        try:
            host = PluginHost.load()
            adapters = tuple(_described(adapter) for adapter in host.adapters.values())
            self._pipe.send(Environment(adapters, tuple(asdict(plugin) for plugin in host.plugins)))
        except BaseException as error:  # noqa: BLE001 - plugin code
            self._failed(0, error)

    # --- calls -------------------------------------------------------------------------------------------------

    def _work(self, call: Call) -> None:
        try:
            self._call(call)
        except BaseException as error:  # noqa: BLE001 - plugin code
            self._failed(call.id, error)
        finally:
            self._wanted.pop(call.id, None)

    def _call(self, call: Call) -> None:
        hosted = self._hosted
        if hosted is None:
            raise TransientError("the adapter is not made yet")
        hosted.context.since = call.since.astimezone(UTC)
        self._turn(hosted, call.left_s)
        kind = ARGUMENTS[call.method]
        method: Callable[..., Any] = getattr(hosted.adapter, call.method)
        given = method(*(() if kind is None else (msgspec.json.decode(call.argument, type=kind),)))
        if call.method in _GIVES_ONE:
            self._pipe.send(Told(call.id, msgspec.Raw(msgspec.json.encode(given))))
            return
        pages = iter(given)
        for page in pages:
            self._pipe.send(Told(call.id, _page(page)))
            wanted = self._wanted[call.id].get()
            if isinstance(wanted, Drop):
                close = getattr(pages, "close", None)
                if close is not None:
                    close()
                break
            self._turn(hosted, wanted.left_s)
        self._pipe.send(Ended(call.id))

    @staticmethod
    def _turn(hosted: HostedAdapter, left_s: float | None) -> None:
        hosted.guard.begin_turn(None if left_s is None else time.monotonic() + left_s)

    def _failed(self, call: int, error: BaseException) -> None:
        redact = self._hosted.redact if self._hosted is not None else str
        kind = _kind(error)
        told = Failed(
            call,
            kind,
            _plain(redact(_in_words(error, kind)))[:TEXT],
            getattr(error, "retry_after_s", None) if kind == "TransientError" else None,
            "" if kind else _plain(redact("".join(traceback.format_exception(error))))[-TEXT:],
        )
        with contextlib.suppress(OSError):  # the host is gone, and so is this process, soon
            self._pipe.send(told)

    # --- what the host keeps -----------------------------------------------------------------------------------

    def _ask(self, what: str) -> float:
        number = next(self._ids)
        with self._answers(number) as answer:
            self._pipe.send(Ask(number, what))
            given: float | None = answer.get()
        return self._still_there(given)

    def _carried(self, sent: Sent, ask: Callable[[], Received]) -> Received:
        """The answer to a request that the host looks at; the host says whether the engine is asked."""
        number = next(self._ids)
        with self._answers(number) as answer:
            self._pipe.send(Carry(number, sent))
            while not isinstance(given := self._still_there(answer.get()), Carried):
                told: Received | str
                try:
                    told = ask()
                except TransientError as error:
                    told = str(error)
                self._pipe.send(Fetched(number, told))
        if isinstance(given.answer, str):
            raise TransientError(given.answer)
        return given.answer

    @contextlib.contextmanager
    def _answers(self, number: int) -> Iterator[queue.SimpleQueue[Any]]:
        """Where the host's answers to this question come. Raises TransientError when the host lets go."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked[number] = answer
        if self._gone:
            answer.put(None)
        try:
            yield answer
        except OSError:
            self._still_there(None)
        finally:
            self._asked.pop(number, None)

    @staticmethod
    def _still_there(given: T | None) -> T:
        if given is None:
            raise TransientError("closed: the host let go of this engine")
        return given

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._ask("time"), UTC)


class _Budget:
    def __init__(self, ask: Callable[[str], float]) -> None:
        self._ask = ask

    def take(self) -> float:
        return self._ask("take")

    @property
    def budget(self) -> Budget:
        return Budget(left=0, per_minute=0.0)  # nobody reads it here


class _Skew:
    skew_s = None  # nobody reads it here

    def __init__(self, pipe: Pipe[ToChild]) -> None:
        self._pipe = pipe

    def read(self, date: str | None, answered_at: datetime, round_trip_s: float) -> None:
        self._pipe.send(Dated(date, answered_at, round_trip_s))


class _Answers:
    def __init__(self, pipe: Pipe[ToChild]) -> None:
        self._pipe = pipe

    def ask(self) -> None:
        """The host has counted it: it was asked for the budget."""

    def answer(self, status: int) -> None:
        self._pipe.send(Answered(status))

    def counts(self) -> dict[str, int]:
        return {}  # nobody reads it here


class _Wire:
    def __init__(self, carry: Callable[[Sent, Callable[[], Received]], Received]) -> None:
        self.carry = carry


class _Handler(logging.Handler):
    def __init__(self, pipe: Pipe[ToChild]) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._pipe.send(Logged(record.levelno, _plain(self.format(record))[:TEXT]))
        except OSError:
            return
        except Exception:  # noqa: BLE001 - whatever a library logs, its arguments may not fit
            self.handleError(record)


def _log_to(pipe: Pipe[ToChild], level: int) -> None:
    """As the command line has it: of the libraries beneath, warnings alone."""
    root = logging.getLogger()
    root.handlers = [_Handler(pipe)]
    root.setLevel(logging.WARNING)
    logging.getLogger("runlink").setLevel(level)


def found(adapter: str, path: list[str] | None) -> type[Adapter]:
    """The class, by `module:Class`."""
    sys.path[:] = path or sys.path
    module, _, name = adapter.partition(":")
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value  # type: ignore[no-any-return]


def _described(adapter: type[Adapter]) -> AdapterTold:
    return AdapterTold(
        adapter=f"{adapter.__module__}:{adapter.__qualname__}",
        name=adapter.name,
        spi_version=adapter.spi_version,
        capabilities=capabilities(adapter),
        config_schema=dict(adapter.config_schema),
        default_poll_interval_s=adapter.default_poll_interval_s,
        steps_on_refetch=bool(getattr(adapter, "steps_on_refetch", False)),
        authentication=getattr(adapter, "authentication", None),
    )


def _page(page: object) -> msgspec.Raw:
    """The page as JSON. An observation that is none is set aside, as `ingest` would; raises TypeError for no page."""
    if not isinstance(page, Page):
        raise TypeError(f"it gave {type(page).__name__} where a Page belongs")
    page = msgspec.structs.replace(page, observations=tuple(page.observations), unreadable=tuple(page.unreadable))
    try:
        return msgspec.Raw(msgspec.json.encode(page))
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    seen: list[Observation] = []
    bad: list[Unreadable] = []
    for one in page.observations:
        try:
            msgspec.json.encode(one)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            name = one.external_id if isinstance(one, Observation) else None
            bad.append(Unreadable(raw=_plain(repr(one)[:2000]), reason=f"cannot be stored: {error}", external_id=name))
        else:
            seen.append(one)
    aside = [Unreadable(raw=_plain(repr(u.raw)), reason=u.reason, external_id=u.external_id) for u in page.unreadable]
    page = msgspec.structs.replace(page, observations=tuple(seen), unreadable=(*aside, *bad))
    return msgspec.Raw(msgspec.json.encode(page))


def _put(queues: Mapping[int, queue.SimpleQueue[Any]], number: int, told: Any) -> None:
    """To whoever waits for it, if anybody does any more."""
    waiting = queues.get(number)
    if waiting is not None:
        waiting.put(told)


def _in_words(error: BaseException, kind: str) -> str:
    try:
        return str(error) if kind else one_line(error)
    except Exception:  # noqa: BLE001 - a plugin's own class
        return type(error).__name__


def _plain(text: str) -> str:
    """The text as JSON can hold it: without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def _kind(error: BaseException) -> str:
    """The name of the nearest error that the host knows; "" for a bug."""
    if isinstance(error, AdapterFault):
        return AdapterFault.__name__
    if not isinstance(error, AdapterError):
        return ""
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in vars(spi_errors))


def _version() -> str:
    try:
        return importlib.metadata.version("runlink")
    except importlib.metadata.PackageNotFoundError:
        return "without a version"


def _hold(lifeline: int) -> None:
    """Has the kernel kill this process, with what it started, as soon as the host's end is closed: where the
    interpreter is stuck, no thread of it would notice. Linux; elsewhere the thread that reads has to."""
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, _SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main() -> None:
    """What the process does."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the host's to act on: it lets go of this process in its time
        signal.signal(number, lambda _number, _frame: None)
    sock = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    _, lifeline, _, _ = socket.recv_fds(sock, 1, 1)
    for fd in lifeline:
        _hold(fd)
    with contextlib.suppress(OSError, ValueError):
        Child(sock).run()
    os._exit(0)  # whatever thread of the adapter's may hang


if __name__ == "__main__":
    main()
