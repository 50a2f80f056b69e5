"""An engine whose life a test tells: runs appear, move, end, are tried again and vanish. Plugin tests come here.

The author says once how the engine answers (`answer`); the contract plays lives through that, with faults.
"""

from __future__ import annotations

import abc
import copy
import email.utils
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from runlink.domain import ExecutionStatus
from runlink.testing.engine import RecordedEngine, Reply
from runlink.testing.faults import FAULTS

START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When a scripted engine's clock begins."""

FEATURES: Final[Mapping[str, str]] = {
    "attempts": "counts the tries of a run and remembers earlier ones",
    "deletion": "forgets runs, ended or not",
    "messages": "says in words why a run is in its state",
    "parameters": "shows what a run was started with",
    "parents": "shows which run started another",
    "reruns": "runs an ended run again in place, without counting",
    "resets": "may be installed anew, and then counts from 1 again",
    "steps": "shows the parts of a run",
}
"""What a life may contain; an engine that lacks one says why."""


@dataclass(frozen=True)
class Request:
    """What the engine is asked. `path` is unquoted and without the query, `headers` are in lower case; `target` is what
    was sent."""

    method: str
    path: str
    query: Mapping[str, str]
    queries: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes
    target: str

    @property
    def parts(self) -> list[str]:
        """The path's parts: `["runs", "7"]`."""
        return [part for part in self.path.split("/") if part]

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass(frozen=True)
class ScriptedTry:
    """One try of a run, as `ScriptedRun.tries` remembers the earlier ones."""

    number: int
    status: ExecutionStatus
    native: str
    started_at: datetime | None
    finished_at: datetime | None
    message: str | None


@dataclass(frozen=True)
class ScriptedStep:
    """A part of a run in one of its tries."""

    name: str
    status: ExecutionStatus
    native: str
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(eq=False)
class ScriptedRun:
    """A run as the engine has it now.

    number       counts from 1 in each installation of the engine, in the order in which it accepted them
    epoch        which installation (see `ScriptedEngine.reset`)
    native       the engine's word for `status`
    change       rises engine-wide with each change of any run; `changed_at` is its time
    begun        how often it was begun, counted by the engine or not; `attempt` is what the engine counts
    """

    number: int
    epoch: int
    workflow: str
    status: ExecutionStatus
    native: str
    created_at: datetime
    changed_at: datetime
    change: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 1
    begun: int = 1
    message: str | None = None
    parent: ScriptedRun | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    tries: list[ScriptedTry] = field(default_factory=list)
    deleted: bool = False

    @property
    def steps(self) -> tuple[ScriptedStep, ...]:
        """Two in each try, `build` and then `test`, in which the run ends as it ends."""
        now = ScriptedTry(self.attempt, self.status, self.native, self.started_at, self.finished_at, self.message)
        return tuple(step for one in (*self.tries, now) for step in _steps(one, self._done))

    _done: str = "done"


def _steps(one: ScriptedTry, done: str) -> Iterator[ScriptedStep]:
    if one.started_at is not None:
        begun = one.started_at
        yield ScriptedStep("build", ExecutionStatus.COMPLETED, done, one.number, begun, begun)
        yield ScriptedStep("test", one.status, one.native, one.number, begun, one.finished_at)


class ScriptedEngine(abc.ABC):
    """An engine on loopback: a context manager with `url`. A subclass says how this kind of engine answers.

    statuses     the engine's words -> what they mean; PROCESSING, COMPLETED and FAILED must be among the meanings
    lacks        what its lives cannot contain (see FEATURES) -> why
    workflows    names that the engine allows; the more unusual the better
    """

    statuses: ClassVar[Mapping[str, ExecutionStatus]]
    lacks: ClassVar[Mapping[str, str]] = {}
    workflows: ClassVar[Sequence[str]] = ("etl", "Bücher ☃ 日本")

    def __init__(self) -> None:
        self.now = START
        self.epoch = 1
        self.change = 0
        self.runs: list[ScriptedRun] = []
        """Those it has now, by number."""
        self.faults: deque[str | None] = deque()
        """One for each of the next requests (a name of FAULTS); None is no fault."""
        self.fault: str | None = None
        """The same for every request."""
        self.translate_fault: Callable[[Reply], Reply] | None = None
        """A fault of one's own for every request."""
        self.requests = 0
        self.asked: deque[Request] = deque(maxlen=100)
        """The last requests."""
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._numbers = 0
        self._log: list[ScriptedRun] = []
        self._server = RecordedEngine(self._handle)

    # --- what the author says --------------------------------------------------------------------------------------

    @abc.abstractmethod
    def answer(self, request: Request) -> Reply | Any:
        """How the engine answers now: a Reply, a status (404), or what is to be sent as JSON."""

    def external_id(self, run: ScriptedRun) -> str:
        """The id under which the adapter tells of this run in its present state."""
        return str(run.number)

    def forget(self) -> None:  # noqa: B027 - most engines have no such thing
        """The engine lets go of what makes earlier cursors valid (compaction, a purged log), where it has such."""

    def restarted(self) -> None:  # noqa: B027 - most engines have no such thing
        """What a restart changes (sessions, caches), where it changes anything."""

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of what the engine pushes when this run has changed."""
        raise NotImplementedError(f"{type(self).__name__}.delivery: the adapter receives, so say what the engine sends")

    # --- a life ----------------------------------------------------------------------------------------------------

    def has(self, feature: str) -> bool:
        """Whether its lives may contain this (see FEATURES)."""
        return feature not in self.lacks

    def knows(self, status: ExecutionStatus) -> bool:
        """Whether the engine has a word for a status."""
        return status in self.statuses.values()

    def word(self, status: ExecutionStatus) -> str:
        """The engine's (first) word for a status."""
        return next(word for word, meaning in self.statuses.items() if meaning is status)

    def advance(self, seconds: float = 60) -> None:
        """The clock moves; nothing else does."""
        self.now += timedelta(seconds=seconds)

    def start(
        self,
        workflow: str | None = None,
        *,
        pending: bool = False,
        parent: ScriptedRun | None = None,
        native: str | None = None,
    ) -> ScriptedRun:
        """A new run, waiting where the engine knows that, else at work."""
        waits = pending and self.knows(ExecutionStatus.PENDING)
        status = ExecutionStatus.PENDING if waits else ExecutionStatus.PROCESSING
        with self.lock:
            self._numbers += 1
            run = ScriptedRun(
                number=self._numbers,
                epoch=self.epoch,
                workflow=workflow or self.workflows[self._numbers % len(self.workflows)],
                status=status,
                native=native or self.word(status),
                created_at=self.now,
                changed_at=self.now,
                change=0,
                started_at=None if waits else self.now,
                parent=parent if self.has("parents") else None,
                parameters={"RUN_ID": f"run-{self._numbers}", "grüße": "☃"} if self.has("parameters") else {},
                _done=self.word(ExecutionStatus.COMPLETED),
            )
            self.runs.append(run)
            self._note(run)
            return run

    def begin(self, run: ScriptedRun) -> None:
        """What waited is at work."""
        self._move(run, ExecutionStatus.PROCESSING, started_at=run.started_at or self.now)

    def end(
        self,
        run: ScriptedRun,
        status: ExecutionStatus = ExecutionStatus.COMPLETED,
        *,
        native: str | None = None,
        message: str | None = None,
    ) -> None:
        """The run ends; CANCELLED becomes FAILED where the engine does not know it."""
        status = status if self.knows(status) else ExecutionStatus.FAILED
        told = (message or f"it {status.value.lower()}: ☃") if self.has("messages") else None
        self._move(run, status, native, started_at=run.started_at or self.now, finished_at=self.now, message=told)

    def set_status(self, run: ScriptedRun, status: ExecutionStatus, native: str | None = None) -> None:
        """Another status, and nothing else (RETRYING: the engine waits before it tries again)."""
        self._move(run, status, native)

    def retry(self, run: ScriptedRun) -> None:
        """Another try of an ended run, which the engine counts."""
        with self.lock:
            run.tries.append(
                ScriptedTry(run.attempt, run.status, run.native, run.started_at, run.finished_at, run.message)
            )
            run.attempt += 1
            self._again(run)

    def rerun(self, run: ScriptedRun) -> None:
        """An ended run is at work again in place, and the engine does not count."""
        with self.lock:
            self._again(run)

    def delete(self, run: ScriptedRun) -> None:
        """The engine has it no more."""
        with self.lock:
            self.runs.remove(run)
            run.deleted = True
            self._note(run)

    def restart(self) -> None:
        """Ends every connection; runs and numbers stay."""
        with self.lock:
            self.restarted()
        self._server.drop_connections()

    def reset(self) -> None:
        """The engine is installed anew an hour later: it has no runs, and counts from 1 again."""
        self.advance(3600)
        with self.lock:
            self.runs = []
            self._log = []
            self.epoch += 1
            self._numbers = self.change = 0
        self.restart()

    def find(self, external_id: str) -> ScriptedRun | None:
        """The run of this external id, if the engine has it."""
        return next((run for run in self.runs if self.external_id(run) == external_id), None)

    def changes(self, after: int = 0) -> list[ScriptedRun]:
        """What has changed after a change, oldest first, each as it was then (`deleted` too)."""
        with self.lock:
            return [run for run in self._log if run.change > after]

    def follow(self, after: int = 0) -> Iterator[ScriptedRun]:
        """The same for a stream: goes on as changes come, until the engine stops or restarts."""
        epoch = self.epoch
        while not self._server.stopping.is_set() and epoch == self.epoch:
            with self._changed:
                told = self.changes(after)
                if not told:
                    self._changed.wait(0.05)
            for run in told:
                after = run.change
                yield run

    def _again(self, run: ScriptedRun) -> None:
        run.begun += 1
        self._move(run, ExecutionStatus.PROCESSING, started_at=self.now, finished_at=None, message=None)

    def _move(self, run: ScriptedRun, status: ExecutionStatus, native: str | None = None, **facts: Any) -> None:
        with self.lock:
            run.status, run.native = status, native or self.word(status)
            for name, value in facts.items():
                setattr(run, name, value)
            self._note(run)

    def _note(self, run: ScriptedRun) -> None:
        self.change += 1
        run.change, run.changed_at = self.change, self.now
        then = copy.copy(run)
        then.tries = list(run.tries)
        self._log.append(then)
        self._changed.notify_all()

    # --- serving ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def _handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self._server.requests.clear()
        parts = urlsplit(path)
        queries = parse_qs(parts.query, keep_blank_values=True)
        query = {name: values[-1] for name, values in queries.items()}
        request = Request(method, unquote(parts.path), query, queries, headers, body, path)
        with self.lock:
            self.requests += 1
            self.asked.append(request)
            fault = self.faults.popleft() if self.faults else None
            fault = self.fault or fault
            reply = _reply(self.answer(request))
        if fault is not None:
            reply = FAULTS[fault](reply)
        if self.translate_fault is not None:
            reply = self.translate_fault(reply)
        return reply._replace(headers={"Date": email.utils.format_datetime(self.now, usegmt=True), **reply.headers})


def _reply(given: Any) -> Reply:
    if isinstance(given, Reply):
        return given
    if isinstance(given, int):
        return Reply(given, {"Content-Type": "text/plain"}, f"HTTP {given}".encode())
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(given).encode())
