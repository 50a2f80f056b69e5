"""How Dagster answers: a scripted engine's life as rows of the fake, and so as GraphQL."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import graphql
from fake_dagster import HERE, INTERRUPTION, FakeDagster, Row, full

from runlink.spi import ExecutionStatus
from runlink.testing import Reply, Request, ScriptedEngine, ScriptedRun
from runlink_dagster.translate import STATUSES

_STEP = {"SUCCESS": "SUCCESS", "FAILURE": "FAILURE", "CANCELED": "FAILURE"}


class DagsterEngine(ScriptedEngine):
    statuses = STATUSES
    lacks: ClassVar[Mapping[str, str]] = {
        "attempts": "Dagster repeats a run as a new run, which names it as its parent",
        "reruns": "Dagster repeats a run as a new run, which names it as its parent",
    }

    def __init__(self) -> None:
        super().__init__()
        self._fake = _Fake(self)

    def external_id(self, run: ScriptedRun) -> str:
        return f"{run.epoch:08}-0000-4000-8000-{run.number:012}"

    def answer(self, request: Request) -> Any:
        match request.method, request.path:
            case "POST", "/graphql":
                status, body = self._fake.ask(request.json["query"], request.json["variables"])
                return body if status == 200 else Reply(status, {}, str(body).encode())
            case "GET", _:
                return Reply(200, {"Content-Type": "text/html"}, b"<!DOCTYPE html>")
        return 405


class _Fake(FakeDagster):
    """Rows are made when they are asked for: there may be 10,000."""

    # A release may bring a status that nobody has heard of.
    schema = graphql.build_schema(
        (HERE / "schema.graphql").read_text("utf-8").replace("enum RunStatus {", "scalar RunStatus enum Known {")
    )

    def __init__(self, engine: DagsterEngine) -> None:
        super().__init__()
        self._engine = engine

    def select(self, wanted: Mapping[str, Any], cursor: str | None, limit: int | None) -> list[Row]:
        runs = list(reversed(self._engine.runs))
        if cursor:
            last = self._engine.find(cursor)
            runs = [] if last is None else [run for run in runs if run.number < last.number]
        if wanted.get("runIds"):
            ids = set(wanted["runIds"])
            runs = [run for run in runs if self._engine.external_id(run) in ids]
        if wanted.get("statuses"):
            runs = [run for run in runs if run.native in wanted["statuses"]]
        if wanted.get("updatedAfter"):
            runs = [run for run in runs if run.changed_at.timestamp() > wanted["updatedAfter"]]
        return [self._row(run) for run in (runs[:limit] if limit else runs)]

    def find(self, run_id: str) -> Row | None:
        run = self._engine.find(run_id)
        return None if run is None else self._row(run)

    def _row(self, run: ScriptedRun) -> Row:
        began, ended = _seconds(run.started_at), _seconds(run.finished_at)
        if ended is not None and began == ended:
            began = ended - 0.001  # as one and the same they would mean that it never started
        row: Row = {"runId": self._engine.external_id(run), "status": run.native, "jobName": run.workflow}
        row |= {"parentRunId": self._engine.external_id(run.parent) if run.parent else None, "rootRunId": None}
        row |= {"creationTime": _seconds(run.created_at), "updateTime": _seconds(run.changed_at), "startTime": began}
        row |= {"endTime": ended, "tags": [], "runConfig": run.parameters, "repositoryOrigin": None}
        row["stepStats"] = [
            {
                "stepKey": step.name,
                "status": _STEP.get(step.native, "IN_PROGRESS"),
                "startTime": _seconds(step.started_at),
                "endTime": _seconds(step.finished_at),
                "attempts": [{"startTime": _seconds(step.started_at), "endTime": _seconds(step.finished_at)}]
                if step.status.is_ended
                else [],
            }
            for step in run.steps
        ]
        row["events"] = list(_events(run))
        return full(row)


def _events(run: ScriptedRun) -> Any:
    yield {"__typename": "EngineEvent", "message": "Started process for run."}
    if run.status is ExecutionStatus.FAILED:
        own = {"className": "ValueError", "message": run.message, "errorChain": []}
        wrapped = {"className": "DagsterExecutionStepExecutionError", "message": "Error occurred while executing op"}
        error = wrapped | {"errorChain": [{"message": "", "error": own, "isExplicitLink": True}]}
        yield {"__typename": "ExecutionStepFailureEvent", "stepKey": "test", "message": "", "error": error}
        yield {"__typename": "RunFailureEvent", "message": "Steps failed: ['test'].", "error": error}
    if run.status is ExecutionStatus.CANCELLED:
        yield {"__typename": "ExecutionStepFailureEvent", "stepKey": "test", "message": "", "error": INTERRUPTION}
        yield {"__typename": "RunCanceledEvent", "message": run.message, "error": None}


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
