"""Every promise of the adapter interface, kept against a scripted Buildbot that answers as the recorded one did."""

from datetime import datetime, timedelta
from typing import Any

import httpx
from fake_buildbot import FakeBuildbot

from runlink.spi import ExecutionStatus
from runlink.testing import (
    AdapterContract,
    EngineSettings,
    Reply,
    Request,
    ScriptedEngine,
    ScriptedRun,
    ScriptedStep,
    record,
    replay,
)
from runlink_buildbot import BuildbotAdapter
from runlink_buildbot.translate import RESULTS, RETRY, external_id

S = ExecutionStatus
NUMBERS = {word: number for number, (word, _) in RESULTS.items()}


class ScriptedBuildbot(ScriptedEngine):
    """A run is a build request with one build; a word that Buildbot does not have is a result that it does not have."""

    statuses = {
        "pending": S.PENDING,
        "building": S.PROCESSING,
        **{word: status for number, (word, status) in RESULTS.items() if number != RETRY},
    }
    lacks = {
        "attempts": "a build request ends once: Buildbot tries again before its end (test_story.py has it, recorded)",
        "reruns": "a rebuild is another build request",
    }

    def __init__(self) -> None:
        super().__init__()
        self._master = FakeBuildbot()
        self._tables_at = (0, 0)

    def external_id(self, run: ScriptedRun) -> str:
        return external_id({"buildrequestid": run.number, "submitted_at": _seconds(run.created_at)})

    def answer(self, request: Request) -> Reply:
        params = [(name, value) for name, values in request.queries.items() for value in values]
        asked = httpx.Request(request.method, httpx.URL(f"http://b{request.path}", params=params))
        asked.headers["accept"] = request.headers.get("accept", "*/*")
        self._master.requests.clear()
        self._follow()
        answer = self._master.answer(asked)
        return Reply(answer.status_code, {"Content-Type": answer.headers["content-type"]}, answer.content)

    def _follow(self) -> None:
        """The tables as the runs are now."""
        if self._tables_at == (self.epoch, self.change):
            return
        self._tables_at = (self.epoch, self.change)
        self._master.tables |= {
            "builders": [{"builderid": n, "name": name, "tags": []} for n, name in enumerate(self.workflows, 1)],
            "buildrequests": [self._request(run) for run in self.runs],
            "buildsets": [self._buildset(run) for run in self.runs],
            "builds": [self._build(run) for run in self.runs if run.started_at],
            "steps": [self._step(run, n, step) for run in self.runs for n, step in enumerate(run.steps)],
        }

    def _request(self, run: ScriptedRun) -> dict[str, Any]:
        complete = run.status.is_ended or run.native not in self.statuses
        return {
            "buildrequestid": run.number,
            "buildsetid": run.number,
            "builderid": self.workflows.index(run.workflow) + 1,
            "submitted_at": _seconds(run.created_at),
            "priority": 0,
            "claimed": run.started_at is not None,
            "claimed_at": _seconds(run.started_at),
            "claimed_by_masterid": None,
            "waited_for": False,
            "complete": complete,
            "complete_at": _seconds(run.finished_at or run.changed_at) if complete else None,
            "results": NUMBERS.get(run.native, run.native) if complete else -1,
            "properties": {name: [value, "Force Build Form"] for name, value in run.parameters.items()},
        }

    def _buildset(self, run: ScriptedRun) -> dict[str, Any]:
        parent = run.parent and run.parent.number
        return {"bsid": run.number, "reason": "scripted", "parent_buildid": parent, "parent_relationship": None}

    def _build(self, run: ScriptedRun) -> dict[str, Any]:
        complete = run.status.is_ended
        return {
            "buildid": run.number,
            "number": run.number,
            "buildrequestid": run.number,
            "builderid": self.workflows.index(run.workflow) + 1,
            "started_at": _seconds(run.started_at),
            "complete": complete,
            "complete_at": _seconds(run.finished_at),
            "results": NUMBERS[run.native] if complete else None,
            "state_string": run.message or "building",
            "properties": {},
        }

    def _step(self, run: ScriptedRun, number: int, step: ScriptedStep) -> dict[str, Any]:
        return {
            "stepid": run.number * 10 + number,
            "buildid": run.number,
            "number": number,
            "name": step.name,
            "started_at": _seconds(step.started_at),
            "complete": step.status.is_ended,
            "complete_at": _seconds(step.finished_at),
            "results": NUMBERS[step.native] if step.status.is_ended else None,
            "state_string": step.name,
        }


def _seconds(moment: datetime | None) -> Any:
    return None if moment is None else int(moment.timestamp())


class TestBuildbot(AdapterContract):
    adapter = BuildbotAdapter
    engine = ScriptedBuildbot
    config = {"user": "runlink", "password": "p4ssword-0f-buildbot"}


# --- recordings ---------------------------------------------------------------------------------------------------


def test_what_is_recorded_makes_the_same_tables(tmp_path):
    with ScriptedBuildbot() as buildbot:
        parent = buildbot.start()
        for number in range(40):
            run = buildbot.start(pending=number % 5 == 0, parent=parent)
            buildbot.advance(1)
            if number % 4:
                buildbot.end(run, ExecutionStatus.FAILED if number % 3 else ExecutionStatus.COMPLETED)
        settings = EngineSettings(name="ci", type="buildbot", url=buildbot.url)
        since = buildbot.now - timedelta(days=1)
        live = record(BuildbotAdapter, settings, tmp_path / "one", since=since, now=lambda: buildbot.now)
        assert live.error is None
        assert live.instances == 41
        assert live.requests == buildbot.requests
    again = replay(BuildbotAdapter, tmp_path / "one")
    assert again.is_same, again.differences
    assert again.tables == live.tables
