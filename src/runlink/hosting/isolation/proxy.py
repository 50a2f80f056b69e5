"""Adapter classes whose adapters run in a process of their own. `PluginHost` and `runlink.testing` come here.

An object of such a class has one process, from its making to its close. A process that ended or was killed is not
replaced here: every call says so (ProcessLost), and whoever hosts the adapter makes another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from runlink.hosting.checks import capabilities
from runlink.hosting.errors import AdapterFault
from runlink.hosting.isolation.messages import (
    TEXT,
    AdapterTold,
    Answered,
    Ask,
    Carried,
    Carry,
    Dated,
    Ended,
    Failed,
    Fetch,
    Fetched,
    Given,
    Logged,
    Ready,
    Start,
    ToHost,
    Told,
)
from runlink.hosting.isolation.process import Calling, Limits, Process
from runlink.hosting.wire import Received
from runlink.spi import (
    Adapter,
    AdapterError,
    Context,
    Cursors,
    Delivery,
    EngineInfo,
    Observation,
    Page,
    Polls,
    Receipt,
    Receives,
    Refetches,
    TransientError,
    Unreadable,
    Watches,
)
from runlink.spi import errors as spi_errors

if TYPE_CHECKING:
    from runlink.hosting.context import HostContext

_TOLD: Final = (
    "name", "spi_version", "default_poll_interval_s", "config_schema", "steps_on_refetch", "authentication",
)  # fmt: skip
_LOOK_S: Final = 1.0
"""How often it is looked whether the process that is to answer is still there."""


class IsolatedFault(Exception):
    """A bug of an adapter in its process, whose traceback is a note."""


def isolated(
    adapter: type[Adapter] | AdapterTold, python: Path | None = None, limits: Limits | None = None
) -> type[Adapter]:
    """A class that behaves as this one and runs each adapter in a process of its own: with the modules of this process,
    or with the environment of another Python.
    """
    if isinstance(adapter, AdapterTold):
        can, where = adapter.capabilities, adapter.adapter
    else:
        can, where = capabilities(adapter), f"{adapter.__module__}:{adapter.__qualname__}"
    bases = tuple(_WAYS[name] for name in can if name in _WAYS) or (Isolated,)
    told = {name: getattr(adapter, name) for name in _TOLD if hasattr(adapter, name)}
    how = {"where": where, "python": python, "limits": limits or Limits()}
    return type(f"Isolated{where.rpartition(':')[2].rpartition('.')[2]}", bases, {**told, **how})


class Isolated(Adapter):
    """What all have: a process, and a check of the engine through it. See `isolated`."""

    where: ClassVar[str]
    python: ClassVar[Path | None]
    limits: ClassVar[Limits]
    context: HostContext

    def __init__(self, context: Context) -> None:
        """Raises what the adapter's constructor raises, and ProcessLost."""
        super().__init__(context)
        log = self.context.log
        self._fetched: dict[int, queue.SimpleQueue[Received | str]] = {}
        self.process = Process(
            self.python,
            self.context.engine,
            heard=self._heard,
            printed=lambda line: log.info("its process printed: %s", line),
            limits=self.limits,
        )
        told = self.process.first(self._start(), Ready)
        if isinstance(told, Failed):
            self.process.close()
            raise _raised(told)

    def check(self) -> EngineInfo:
        """As the adapter's own."""
        return self._one("check", None, EngineInfo)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Has the process let go and end; one that does not is killed."""
        self.process.close()

    # --- calls -------------------------------------------------------------------------------------------------

    def _one(self, method: str, argument: Any, kind: type[Any]) -> Any:
        calling = self._call(method, argument)
        told = self._wait(calling, Told)
        calling.done()
        try:
            return msgspec.json.decode(told.value, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise IsolatedFault(f"what {method}() gave makes no sense: {error}") from None

    def _pages(self, method: str, argument: Any) -> Iterator[Page]:
        calling = self._call(method, argument)
        try:
            while isinstance(told := self._wait(calling, Told, Ended), Told):
                yield page_from(told.value)
                calling.next(self.context.guard.left_s)
        finally:
            calling.drop()

    def _call(self, method: str, argument: Any) -> Calling:
        return self.process.call(method, argument, self.context.guard.left_s, self.context.since)

    def _wait(self, calling: Calling, *expected: type[Any]) -> Any:
        left_s = self.context.guard.left_s
        within_s = None if left_s is None else max(0.0, left_s) + self.limits.grace_s
        told = calling.wait(within_s, *expected)
        if isinstance(told, Failed):
            raise _raised(told)
        return told

    # --- what it is told, and says beside --------------------------------------------------------------------------

    def _start(self) -> Start:
        context = self.context
        settings = dataclasses.asdict(dataclasses.replace(context.settings, options={}, webhook=None))
        settings["options"] = dict(context.config)
        return Start(
            adapter=self.where,
            path=None if self.python is not None else sys.path,
            settings={name: str(v) if isinstance(v, Path) else v for name, v in settings.items()},
            since=context.since,
            backfill=context.backfill,
            level=logging.getLogger("runlink.engines").getEffectiveLevel(),
            watched=context.guard.wire is not None,
        )

    def _heard(self, process: Process, message: ToHost) -> None:
        guard = self.context.guard
        match message:
            case Ask(id=number, what="take"):
                process.send(Given(number, guard.take()))
            case Ask(id=number):
                process.send(Given(number, self.context.now().timestamp()))
            case Answered():
                guard.counted(message.status)
            case Dated():
                guard.dated(message.date, message.answered_at, message.took_s)
            case Carry() if guard.wire is None:
                raise ValueError("a request is shown, and nobody asked to see it")
            case Carry():
                self._fetched[message.id] = queue.SimpleQueue()
                threading.Thread(target=self._carry, args=(process, message), daemon=True).start()
            case Fetched() if message.id in self._fetched:
                self._fetched[message.id].put(message.answer)
            case Logged():
                self.context.log.log(message.level, "%s", message.text[:TEXT])

    def _carry(self, process: Process, carry: Carry) -> None:
        """Shows an exchange to whoever looks at the wire."""

        def ask() -> Received:
            process.send(Fetch(carry.id))
            answer = _got(self._fetched[carry.id], process)
            if isinstance(answer, str):
                raise TransientError(answer)
            return answer

        wire = self.context.guard.wire
        try:
            answer: Received | str = wire.carry(carry.sent, ask) if wire is not None else ask()
        except Exception as error:  # noqa: BLE001 - told to the adapter, as it would be here
            answer = str(error)
        self._fetched.pop(carry.id, None)
        with contextlib.suppress(TransientError):  # the process is gone: whoever called the adapter is told
            process.send(Carried(carry.id, answer))


class _Polls(Isolated, Polls):
    def poll(self, cursors: Cursors) -> Iterator[Page]:
        yield from self._pages("poll", dict(cursors))


class _Refetches(Isolated, Refetches):
    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        yield from self._pages("refetch", list(external_ids))


class _Watches(Isolated, Watches):
    def watch(self, cursors: Cursors) -> Iterator[Page]:
        yield from self._pages("watch", dict(cursors))


class _Receives(Isolated, Receives):
    def receive(self, delivery: Delivery) -> Receipt:
        return self._one("receive", delivery, Receipt)  # type: ignore[no-any-return]


_WAYS: Final[Mapping[str, type[Isolated]]] = {
    "poll": _Polls, "refetch": _Refetches, "watch": _Watches, "receive": _Receives,
}  # fmt: skip


# --- what a child told, made into what the host knows ----------------------------------------------------------------


def _got(answers: queue.SimpleQueue[Received | str], process: Process) -> Received | str:
    """What the process told; raises TransientError when it is gone."""
    while True:
        try:
            return answers.get(timeout=_LOOK_S)
        except queue.Empty:
            if process.has_ended:
                raise process.lost() from None


class _RawPage(msgspec.Struct):
    observations: tuple[msgspec.Raw, ...] = ()
    cursors: dict[str, str | None] = {}
    gone: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


_page: Final = msgspec.json.Decoder(Page)
_raw_page: Final = msgspec.json.Decoder(_RawPage)
_observation: Final = msgspec.json.Decoder(Observation)
_WRONG: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def page_from(told: msgspec.Raw) -> Page:
    """The page; an observation that is none is set aside, as `ingest` would. Raises IsolatedFault."""
    try:
        return _page.decode(told)
    except _WRONG:
        pass
    try:
        raw = _raw_page.decode(told)
    except _WRONG as error:
        raise IsolatedFault(f"a page of it makes no sense: {error}") from None
    seen: list[Observation] = []
    bad: list[Unreadable] = []
    for one in raw.observations:
        try:
            seen.append(_observation.decode(one))
        except _WRONG as error:
            bad.append(Unreadable(raw=bytes(one).decode("utf-8", "replace"), reason=f"cannot be stored: {error}"))
    return Page(observations=seen, cursors=raw.cursors, gone=raw.gone, unreadable=(*raw.unreadable, *bad))


def _raised(told: Failed) -> Exception:
    """The error, of the SPI's tree or a bug's."""
    message = told.message[:TEXT]
    kind = getattr(spi_errors, told.kind, None) if told.kind else None
    if kind is TransientError:
        return TransientError(message, retry_after_s=told.retry_after_s)
    if isinstance(kind, type) and issubclass(kind, AdapterError):
        return kind(message)
    if told.kind == AdapterFault.__name__:
        return AdapterFault(message)
    fault = IsolatedFault(message)
    fault.add_note(f"in the adapter's process:\n{told.trace[-TEXT:]}")
    return fault
