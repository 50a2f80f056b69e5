"""How Airflow answers: a scripted engine's life told through its REST API v2 and its OpenLineage events."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from runlink.testing import Reply, Request, ScriptedEngine, ScriptedRun
from runlink_airflow.translate import RUN_STATES, external_id

PASSWORD = "p4ssw0rd-of-airflow"
MOST_ROWS = 100
TASK_STATES = {"success": "success", "failed": "failed", "running": "running", "queued": None}


class AirflowEngine(ScriptedEngine):
    statuses = RUN_STATES
    lacks: ClassVar = {
        "attempts": "Airflow counts how often a run was cleared and does not tell",
        "messages": "Airflow gives no reason; the adapter names the tasks that failed",
        "parents": "no run says which one triggered it; where the tasks of that one are read, it is found (test_traps)",
    }
    workflows = ("etl", "équipe.données-2_日本")

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0

    def external_id(self, run: ScriptedRun) -> str:
        return external_id(run.workflow, self._run_id(run), run.created_at)

    @staticmethod
    def _run_id(run: ScriptedRun) -> str:
        return f"manual__{run.number}+00:00"

    def restarted(self) -> None:
        """With another secret, so the tokens of before are none any more."""
        self.tokens += 1

    def answer(self, request: Request) -> Any:
        if request.path == "/auth/token":
            return self._token(request)
        if request.headers.get("authorization") != f"Bearer t{self.tokens}":
            return _said(403, "Invalid JWT token")
        match request.parts[2:]:
            case ["version"]:
                return {"version": "3.3.2"}
            case ["monitor", "health"]:
                return {"scheduler": {"status": "healthy"}}
            case ["eventLogs"]:
                return {"event_logs": [], "total_entries": 0}
            case ["dags", "~", "dagRuns"]:
                return self._list(request)
            case ["dags", dag_id, "dagRuns", run_id, *rest]:
                return self._one(dag_id, run_id, rest)
        return _said(404, "Not Found")

    def _token(self, request: Request) -> Any:
        if request.json != {"username": "runlink", "password": PASSWORD}:
            return _said(401, "Invalid credentials")
        return Reply(
            201, {"Content-Type": "application/json"}, json.dumps({"access_token": f"t{self.tokens}"}).encode()
        )

    def _list(self, request: Request) -> Any:
        since = request.query.get("updated_at_gte")
        after = request.query["cursor"] or "0"
        if not after.isdigit():
            return _said(400, "Invalid cursor token")
        found = [run for run in self.runs if since is None or self._updated_at(run) >= datetime.fromisoformat(since)]
        found = [run for run in found if run.native in request.queries.get("state", [run.native])]
        left = [run for run in found if run.number > int(after)]
        page = left[: min(MOST_ROWS, int(request.query["limit"]))]
        token = str(page[-1].number) if len(left) > len(page) else None
        return {"dag_runs": [self._row(run) for run in page], "total_entries": len(found), "next_cursor": token}

    def _updated_at(self, run: ScriptedRun) -> datetime:
        """Each scheduling decision touches a running run."""
        return self.now if run.native == "running" else run.changed_at

    def _one(self, dag_id: str, run_id: str, rest: list[str]) -> Any:
        run = next((run for run in self.runs if (run.workflow, self._run_id(run)) == (dag_id, run_id)), None)
        if run is None:
            return _said(404, f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found")
        if rest == ["taskInstances"]:
            rows = [self._task(run, step) for step in run.steps]
            return {"task_instances": rows, "total_entries": len(rows), "next_cursor": None}
        return self._row(run)

    def _row(self, run: ScriptedRun) -> dict[str, Any]:
        queued_at = run.created_at if run.begun == 1 else run.started_at
        return {
            "dag_run_id": self._run_id(run),
            "dag_id": run.workflow,
            "logical_date": None,
            "queued_at": _text(queued_at),
            "start_date": _text(run.started_at),
            "end_date": _text(run.finished_at),
            "run_after": _text(run.created_at),
            "last_scheduling_decision": _text(self.now),
            "run_type": "manual",
            "state": run.native,
            "triggered_by": "rest_api",
            "triggering_user_name": "ann",
            "conf": run.parameters,
            "note": None,
            "dag_versions": [],
        }

    def _task(self, run: ScriptedRun, step: Any) -> dict[str, Any]:
        return {
            "id": f"{run.epoch}-{run.number}-{step.name}",
            "task_id": step.name,
            "map_index": -1,
            "state": TASK_STATES.get(step.native, "running"),
            "try_number": 1,
            "max_tries": 0,
            "task_display_name": step.name,
            "start_date": _text(step.started_at),
            "end_date": _text(step.finished_at),
            "note": None,
            "operator": "_PythonDecoratedOperator",
            "rendered_fields": {},
        }

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        """What apache-airflow-providers-openlineage sends of a DAG run."""
        kind = {"success": "COMPLETE", "failed": "FAIL"}.get(run.native, "START")
        told = {
            "dag_id": run.workflow,
            "run_id": self._run_id(run),
            "run_after": _text(run.created_at),
            "start_date": _text(run.started_at),
            "end_date": _text(run.finished_at),
            "conf": run.parameters,
            "clear_number": run.begun - 1,
        }
        event = {
            "eventType": kind,
            "eventTime": _text(run.changed_at),
            "job": {"name": run.workflow, "facets": {"jobType": {"integration": "AIRFLOW"}}},
            "run": {
                "runId": str(UUID(int=run.number)),
                "facets": {"airflowDagRun": {"dagRun": {name: value for name, value in told.items() if value}}},
            },
        }
        return {"content-type": "application/json"}, json.dumps(event).encode()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _said(status: int, detail: str) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"detail": detail}).encode())
