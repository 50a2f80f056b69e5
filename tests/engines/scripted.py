"""An engine whose whole life is written down, and the plugin that follows it. The crash tests come here.

Life goes in ticks, and the test says when the next one begins. Runs wait in a queue, get another id when they start,
are tried again, are begun again without being counted, fan out into children, end out of order, and some vanish.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx

from runlink.spi import Attempt, EngineInfo, ExecutionStatus, Observation, Page, Polls, Refetches, Step, hookimpl

EPOCH = datetime(2026, 5, 1, tzinfo=UTC)
STATUS = {
    "queued": ExecutionStatus.PENDING,
    "running": ExecutionStatus.PROCESSING,
    "succeeded": ExecutionStatus.COMPLETED,
    "failed": ExecutionStatus.FAILED,
    "aborted": ExecutionStatus.CANCELLED,
}
PAGE = 4
"""Runs in one page of a listing."""


def at(tick: int) -> str:
    return (EPOCH + timedelta(minutes=tick)).isoformat()


@dataclass
class Life:
    """What the engine shows at each tick: `states[id][tick]` from the tick on, None from when it is gone."""

    states: dict[str, dict[int, dict[str, Any] | None]] = field(default_factory=dict)
    listed: dict[str, set[int]] = field(default_factory=dict)
    end: int = 0

    def add(self, name: str, tick: int, state: dict[str, Any] | None, *, listed: bool = False) -> None:
        self.states.setdefault(name, {})[tick] = state
        if listed or len(self.states[name]) == 1:
            self.listed.setdefault(name, set()).add(tick)
        self.end = max(self.end, tick)

    def shown(self, name: str, tick: int) -> dict[str, Any] | None:
        past = [t for t in self.states.get(name, {}) if t <= tick]
        return self.states[name][max(past)] if past else None

    def all_at(self, tick: int) -> dict[str, dict[str, Any]]:
        return {name: state for name in self.states if (state := self.shown(name, tick)) is not None}

    def news(self, since: int, tick: int) -> list[dict[str, Any]]:
        names = [name for name, ticks in self.listed.items() if any(since < t <= tick for t in ticks)]
        return [state for name in names if (state := self.shown(name, tick)) is not None]


def a_life() -> Life:
    """Twenty-odd runs over 18 ticks. At one tick only one thing happens to one Run, so that order is no matter."""
    life = Life()
    for n in (1, 2):
        _plain(life, f"old{n}", begins=-3, ends=-1)
    _plain(life, "old-open", begins=-1, ends=4)
    for n, (queued, starts, ends, how) in enumerate(
        [
            (1, 2, 9, "succeeded"),
            (1, 2, 4, "failed"),
            (2, 3, 3, "succeeded"),
            (3, 5, 6, "aborted"),
            (6, 8, 16, "failed"),
        ]
    ):
        _queued(life, f"queued{n}", queued, starts, max(ends, starts + 1), how)
    _retried(life, "retried", begins=2, fails=4, again=6, ends=9)
    _begun_again(life, "again", begins=3, ends=5, again=7, ends_again=11)
    _fan_out(life, "fan", begins=4, children_end=(13, 8, 10), ends=15)
    _fan_out(life, "lost-child", begins=5, children_end=(9, None, 12), ends=17)
    _vanishing(life, "vanishing", begins=7, gone=10)
    _plain(life, "quiet", begins=6, ends=8, workflow="quiet")
    for n in range(6):
        _plain(life, f"many{n}", begins=10, ends=12 + (n * 5) % 6)
    _plain(life, "last", begins=17, ends=18)
    return life


def _state(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "workflow": "main", "status": status, "run": f"run-{name}", **more}


def _plain(life: Life, name: str, *, begins: int, ends: int, workflow: str = "main") -> None:
    running = _state(name, "running", started=at(begins), workflow=workflow, steps=_steps(begins, None))
    life.add(name, max(begins, 0), running)
    life.add(
        name, max(ends, 0), {**running, "status": "succeeded", "finished": at(ends), "steps": _steps(begins, ends)}
    )


def _steps(begins: int, ends: int | None) -> list[dict[str, Any]]:
    first = {"id": "build", "status": "failed", "attempt": 1, "final": False, "started": at(begins)}
    again = {"id": "build", "status": "running", "attempt": 2, "started": at(begins)}
    if ends is not None:
        again |= {"status": "succeeded", "final": True, "finished": at(ends)}
    return [first, again]


def _queued(life: Life, name: str, queued: int, starts: int, ends: int, how: str) -> None:
    waiting = _state(f"q:{name}", "queued", created=at(queued), run=f"run-{name}")
    running = _state(name, "running", created=at(queued), started=at(starts), supersedes=f"q:{name}")
    life.add(f"q:{name}", queued, waiting)
    life.add(f"q:{name}", starts, None)
    life.add(name, starts, running)
    life.add(name, ends, {**running, "status": how, "finished": at(ends), "message": f"it {how}"})


def _retried(life: Life, name: str, *, begins: int, fails: int, again: int, ends: int) -> None:
    running = _state(name, "running", started=at(begins))
    failed = {**running, "status": "failed", "finished": at(fails), "message": "first try"}
    tries = [{"number": 1, "status": "failed", "started": at(begins), "finished": at(fails), "message": "first try"}]
    second = _state(name, "running", started=at(again), attempt=2, attempts=tries)
    life.add(name, begins, running)
    life.add(name, fails, failed)
    life.add(name, again, second, listed=True)
    life.add(name, ends, {**second, "status": "succeeded", "finished": at(ends)})


def _begun_again(life: Life, name: str, *, begins: int, ends: int, again: int, ends_again: int) -> None:
    """In place, and the engine does not count it."""
    running = _state(name, "running", started=at(begins))
    second = _state(name, "running", started=at(again))
    life.add(name, begins, running)
    life.add(name, ends, {**running, "status": "failed", "finished": at(ends)})
    life.add(name, again, second, listed=True)
    life.add(name, ends_again, {**second, "status": "succeeded", "finished": at(ends_again)})


def _fan_out(life: Life, name: str, *, begins: int, children_end: Sequence[int | None], ends: int) -> None:
    """Children do not know their run; they belong to it through their parent. None: that one vanishes."""
    parent = _state(name, "running", started=at(begins))
    life.add(name, begins, parent)
    for n, end in enumerate(children_end):
        child_name, begun = f"{name}/{n}", begins + 1
        child = _state(child_name, "running", started=at(begun), workflow="child", parent=name, run=None)
        life.add(child_name, begun, child)
        if end is None:
            life.add(child_name, begun + 2, None)
        else:
            status = "failed" if n == 2 else "succeeded"
            life.add(child_name, end, {**child, "status": status, "finished": at(end), "message": f"child {n}"})
    life.add(name, ends, {**parent, "status": "succeeded", "finished": at(ends)})


def _vanishing(life: Life, name: str, *, begins: int, gone: int) -> None:
    life.add(name, begins, _state(name, "running", started=at(begins)))
    life.add(name, gone, None)


class ScriptedEngine:
    """The engine as a handler for `runlink.testing.serve_exchanges`; `tick` is its clock."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.tick = 0
        self.requests = 0
        self.lock = threading.Lock()

    def __call__(self, _method: str, path: str, _headers: Any, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(path)
        with self.lock:
            self.requests += 1
            tick = self.tick
        if parts.path == "/info":
            answer: Any = {"version": "1"}
        elif parts.path == "/runs":
            since = int(parse_qs(parts.query)["since"][0])
            answer = {"tick": tick, "runs": self.life.news(since, tick)}
        else:
            answer = {"runs": [self.life.shown(name, tick) or {"id": name, "gone": True} for name in json.loads(body)]}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


# --- the plugin ----------------------------------------------------------------------------------------------------


class ScriptedAdapter(Polls, Refetches):
    """Polls show what is new since a tick, refetches what is asked for, in small pages; the cursor comes last."""

    name = "scripted"
    config_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": False}

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.client: httpx.Client = context.http()

    def check(self) -> EngineInfo:
        return EngineInfo(product="Scripted", version=self.client.get("/info").json()["version"])

    def poll(self, cursors: Mapping[str, str]) -> Iterator[Page]:
        answer = self.client.get("/runs", params={"since": cursors.get("all", "-1")}).json()
        runs = [_observation(run) for run in answer["runs"]]
        for start in range(0, len(runs), PAGE):
            yield Page(observations=tuple(runs[start : start + PAGE]))
        yield Page(cursors={"all": str(answer["tick"])})

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        for start in range(0, len(external_ids), PAGE):
            asked = list(external_ids[start : start + PAGE])
            runs = self.client.post("/read", json=asked).json()["runs"]
            yield Page(
                observations=tuple(_observation(run) for run in runs if not run.get("gone")),
                gone=tuple(run["id"] for run in runs if run.get("gone")),
            )


def _observation(run: Mapping[str, Any]) -> Observation:
    return Observation(
        external_id=run["id"],
        workflow=run["workflow"],
        status=STATUS[run["status"]],
        native_status=run["status"],
        attempt=run.get("attempt", 1),
        created_at=_time(run.get("created")),
        started_at=_time(run.get("started")),
        finished_at=_time(run.get("finished")),
        parent=run.get("parent"),
        parameters={"RUN_ID": run["run"]} if run.get("run") else {},
        message=run.get("message"),
        steps=tuple(_step(step) for step in run["steps"]) if "steps" in run else None,
        attempts=tuple(_attempt(one) for one in run["attempts"]) if "attempts" in run else None,
        supersedes=run.get("supersedes"),
    )


def _step(step: Mapping[str, Any]) -> Step:
    return Step(
        external_id=step["id"],
        name=step["id"].title(),
        status=STATUS[step["status"]],
        native_status=step["status"],
        attempt=step["attempt"],
        final=step.get("final"),
        started_at=_time(step.get("started")),
        finished_at=_time(step.get("finished")),
    )


def _attempt(one: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=one["number"],
        status=STATUS[one["status"]],
        native_status=one["status"],
        started_at=_time(one["started"]),
        finished_at=_time(one["finished"]),
        message=one["message"],
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class ScriptedPlugin:
    """Brings the adapter, and writes each event it is given to a file, a line each."""

    def __init__(self, events_file: str) -> None:
        self._file = events_file

    @hookimpl
    def runlink_adapters(self) -> list[type]:
        return [ScriptedAdapter]

    @hookimpl
    def runlink_event(self, event: Mapping[str, Any]) -> None:
        with open(self._file, "a", encoding="utf-8") as file:  # noqa: PTH123 - one write, complete before the answer
            file.write(json.dumps(event) + "\n")
