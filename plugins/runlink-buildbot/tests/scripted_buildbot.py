"""How Buildbot answers: a scripted engine's life as the tables of the fake, its event stream, and what it pushes."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

import httpx
from fake_buildbot import FakeBuildbot, Row

from runlink.spi import ExecutionStatus
from runlink.testing import Reply, Request, ScriptedEngine, ScriptedRun, ScriptedTry

S = ExecutionStatus
RESULTS = {"SUCCESS": 0, "WARNINGS": 1, "FAILURE": 2, "SKIPPED": 3, "EXCEPTION": 4, "RETRY": 5, "CANCELLED": 6}
MAX_TRIES = 10


class BuildbotEngine(ScriptedEngine):
    statuses: ClassVar[Mapping[str, ExecutionStatus]] = {
        "pending": S.PENDING,
        "building": S.PROCESSING,
        "SUCCESS": S.COMPLETED,
        "WARNINGS": S.COMPLETED,
        "SKIPPED": S.COMPLETED,
        "FAILURE": S.FAILED,
        "EXCEPTION": S.FAILED,
        "CANCELLED": S.CANCELLED,
    }
    lacks: ClassVar[Mapping[str, str]] = {
        "reruns": "Buildbot builds no request again once it has ended; a rebuild is a new request",
    }

    def __init__(self) -> None:
        super().__init__()
        self._fake = FakeBuildbot()
        self._fake.tables["builders"] = [
            {"builderid": number, "name": name, "tags": []} for number, name in enumerate(self.workflows, 1)
        ]
        self._made: tuple[int, int] | None = None
        self._streams: dict[str, set[str]] = {}

    def external_id(self, run: ScriptedRun) -> str:
        return f"buildrequest:{run.number}@{_seconds(run.created_at)}"

    def restarted(self) -> None:
        self._streams.clear()

    def answer(self, request: Request) -> Any:
        match request.parts:
            case ["sse", "listen", *key]:
                return self._listen("/".join(key))
            case ["sse", "add", name, *key] if name in self._streams:
                self._streams[name].add("/".join(key))
                return Reply(200, {}, b"ok")
            case ["sse", "remove", name, *_] if name in self._streams:
                return Reply(404, {}, b"consumer is not listening to this event")
            case ["sse", *_]:
                return Reply(400, {}, b"unknown uuid")
        self._make_tables()
        query = httpx.QueryParams([(name, value) for name, values in request.queries.items() for value in values])
        asked = httpx.Request("GET", httpx.URL(f"http://test{request.path}", params=query), headers=request.headers)
        answer = self._fake.answer(asked)
        self._fake.requests.clear()
        return Reply(answer.status_code, {"Content-Type": answer.headers["content-type"]}, answer.content)

    # --- the event stream ----------------------------------------------------------------------------------------

    def _listen(self, key: str) -> Reply:
        name = f"stream-{self.epoch}-{self.requests}"
        self._streams[name] = {key}
        return Reply(200, {"Content-Type": "text/event-stream"}, self._events(name, self.change))

    def _events(self, name: str, after: int) -> Iterator[bytes]:
        yield f"event: handshake\ndata: {name}\n\n".encode()
        for run in self.follow(after):
            keys = self._streams.get(name)
            if keys is None:
                return
            if "builds/*/*" in keys and run.started_at is not None:
                build = _builds(run)[-1]
                yield _event(["builds", str(build["buildid"]), "update"], build)
                yield _event(["builds", str(build["buildid"]), "finished" if build["complete"] else "new"], build)
            if "buildrequests/*/*" in keys:
                change = "complete" if run.status.is_ended else "claimed" if run.started_at else "new"
                yield _event(["buildrequests", str(run.number), change], _request(run))

    # --- the tables ----------------------------------------------------------------------------------------------

    def _make_tables(self) -> None:
        """Made anew where something has changed: there may be 10,000 runs."""
        if self._made == (self.epoch, self.change):
            return
        self._made = (self.epoch, self.change)
        tables = self._fake.tables
        names = {row["name"]: row["builderid"] for row in tables["builders"]}
        tables["buildrequests"] = [_request(run) | {"builderid": names[run.workflow]} for run in self.runs]
        tables["builds"] = [build | {"builderid": names[run.workflow]} for run in self.runs for build in _builds(run)]
        tables["builds"].sort(key=lambda build: build["buildid"])
        tables["buildsets"] = [_buildset(run) for run in self.runs]
        tables["steps"] = [step for run in self.runs for step in _steps(run)]

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        names = {row["name"]: row for row in self._fake.tables["builders"]}
        build = _builds(run)[-1] | {"builderid": names[run.workflow]["builderid"]}
        more = {"buildrequest": _request(run) | {"complete": False, "complete_at": None, "results": -1}}
        more |= {"builder": names[run.workflow], "buildset": _buildset(run), "steps": []}
        return {"Content-Type": "application/json"}, json.dumps(build | more).encode()


def _event(key: list[str], message: Row) -> bytes:
    return f"event: event\ndata: {json.dumps({'key': key, 'message': message})}\n\n".encode()


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _results(native: str) -> Any:
    """A number that no release has had yet, for a word that nobody has heard of."""
    return RESULTS.get(native, native)


def _is_over(run: ScriptedRun) -> bool:
    """Buildbot has words for ends alone, so one that nobody has heard of is an end."""
    return run.status.is_ended or run.native not in BuildbotEngine.statuses


def _request(run: ScriptedRun) -> Row:
    ended = _is_over(run)
    row: Row = {"buildrequestid": run.number, "buildsetid": run.number, "submitted_at": _seconds(run.created_at)}
    row |= {"claimed": run.started_at is not None, "complete": ended, "priority": 0, "waited_for": False}
    row |= {"complete_at": _seconds(run.finished_at or run.changed_at) if ended else None}
    row |= {"results": _results(run.native) if ended else -1}
    return row | {"properties": {name: [value, "Force Build Form"] for name, value in run.parameters.items()}}


def _builds(run: ScriptedRun) -> list[Row]:
    """One for each try; an earlier one gave its request back."""
    now = ScriptedTry(run.attempt, run.status, run.native, run.started_at, run.finished_at, run.message)
    return [
        {
            "buildid": run.number * MAX_TRIES + one.number,
            "number": run.number * MAX_TRIES + one.number,
            "buildrequestid": run.number,
            "started_at": _seconds(one.started_at),
            "complete": one.status.is_ended,
            "complete_at": _seconds(one.finished_at) if one.status.is_ended else None,
            "results": None if not one.status.is_ended else _results(one.native if one is now else "RETRY"),
            "state_string": one.message or "building",
            "properties": {},
        }
        for one in (*run.tries, now)
        if one.started_at is not None
    ]


def _buildset(run: ScriptedRun) -> Row:
    parent = None if run.parent is None else run.parent.number * MAX_TRIES + run.parent.attempt
    return {"bsid": run.number, "reason": "forced", "parent_buildid": parent, "parent_relationship": None}


def _steps(run: ScriptedRun) -> Iterator[Row]:
    for place, step in enumerate(run.steps):
        over = step.status.is_ended
        yield {
            "stepid": run.number * 100 + place,
            "buildid": run.number * MAX_TRIES + step.attempt,
            "number": place % 2,
            "name": step.name,
            "complete": over,
            "results": _results(step.native) if over else None,
            "started_at": _seconds(step.started_at),
            "complete_at": _seconds(step.finished_at) if over else None,
            "state_string": step.name,
        }
