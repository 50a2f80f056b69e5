"""How a Prefect tells of a scripted life: the author's side of the contract."""

import functools
import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from prefect_stream import Stream, serve
from prefect_tables import TERMINAL, Row, Tables, json_of

from runlink.spi import ExecutionStatus
from runlink.testing import Reply, Request, ScriptedEngine, ScriptedRun

S = ExecutionStatus
TOKEN = "runlink:s3cret-0f-prefect"


def _id(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


class PrefectEngine(ScriptedEngine):
    """A native word is `TYPE/Name`. What the engine counts and what it does not is the same to Prefect: states."""

    statuses: ClassVar = {
        "PENDING/Pending": S.PENDING,
        "RUNNING/Running": S.PROCESSING,
        "COMPLETED/Completed": S.COMPLETED,
        "FAILED/Failed": S.FAILED,
        "CANCELLED/Cancelled": S.CANCELLED,
        "SCHEDULED/AwaitingRetry": S.RETRYING,
        "SCHEDULED/Scheduled": S.PENDING,
        "SCHEDULED/Late": S.PENDING,
        "SCHEDULED/AwaitingConcurrencySlot": S.PENDING,
        "PENDING/Submitting": S.PENDING,
        "RUNNING/Retrying": S.RETRYING,
        "PAUSED/Paused": S.PROCESSING,
        "PAUSED/Suspended": S.PROCESSING,
        "CANCELLING/Cancelling": S.PROCESSING,
        "COMPLETED/Cached": S.COMPLETED,
        "FAILED/TimedOut": S.FAILED,
        "CRASHED/Crashed": S.FAILED,
    }

    def __init__(self) -> None:
        super().__init__()
        self._purged: set[str] = set()
        self._built: tuple[int, int, int, Tables] | None = None

    def external_id(self, run: ScriptedRun) -> str:
        return _id("run", run.epoch, run.number)

    def forget(self) -> None:
        """Events are purged."""
        self._purged = {event["id"] for event in self._tables().events}
        self._built = None

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        kind, _, name = run.native.partition("/")
        body = {"event": f"prefect.flow-run.{name}", "flow_run_id": self.external_id(run)}
        return {"Content-Type": "application/json"}, json.dumps(body | {"state_type": f"StateType.{kind}"}).encode()

    def answer(self, request: Request) -> Any:
        parts = request.parts[1:]
        if parts == ["events", "out"]:
            return Reply(hand_over=functools.partial(self._stream, request))
        tables = self._tables()
        status, body = tables.answer(request.method, parts, request.query, json_of(request.body))
        return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _stream(self, request: Request, connection: Any) -> None:
        def events(asked: Row) -> list[Row]:
            with self.lock:
                return self._tables().select_events({"occurred": {"until": _text(self.now)}} | asked)

        stream = Stream(connection, request.path, request.headers)
        serve(stream, token=TOKEN, select_events=events, stopping=self._server.stopping.is_set)

    # --- its tables ------------------------------------------------------------------------------------------------

    def _tables(self) -> Tables:
        """Made anew when anything changed."""
        key = (self.epoch, self.change, len(self._purged))
        if self._built is None or self._built[:3] != key:
            self._built = (*key, self._make())
        tables = self._built[3]
        tables.now = str(_text(self.now))
        return tables

    def _make(self) -> Tables:
        tables, histories = Tables(self.url), dict[int, list[Row]]()
        for then in self.changes():
            if then.deleted:
                continue
            states = histories.setdefault(then.number, [])
            state = self._state(then)
            if state["id"] not in self._purged:
                tables.events.append(self._event(then, state, states[-1] if states else None))
            states.append(state)
        for run in self.runs:
            row = self._row(run, histories[run.number])
            tables.rows["flow_runs"].append(row)
            tables.states[row["id"]] = histories[run.number]
            tables.rows["task_runs"] += [self._task(run, row, n) for n in range(len(run.steps))]
            if run.parent is not None:
                tables.rows["task_runs"].append(self._child(run))
        names = {run.workflow for run in self.runs}
        tables.rows["flows"] = [{"id": _id("flow", name), "name": name} for name in sorted(names)]
        return tables

    def _state(self, run: ScriptedRun) -> Row:
        kind, _, name = run.native.partition("/")
        state = {"id": _id("state", run.epoch, run.number, run.change), "type": kind, "name": name or kind}
        return state | {"timestamp": _text(run.changed_at), "message": run.message}

    def _event(self, run: ScriptedRun, state: Row, before: Row | None) -> Row:
        return {
            "id": state["id"],
            "event": f"prefect.flow-run.{state['name']}",
            "occurred": state["timestamp"],
            "resource": {"prefect.resource.id": f"prefect.flow-run.{self.external_id(run)}"},
            "payload": {"initial_state": before, "validated_state": state},
        }

    def _row(self, run: ScriptedRun, states: list[Row]) -> Row:
        runs = [state["timestamp"] for state in states if state["type"] == "RUNNING"]
        last = states[-1]
        return {
            "id": self.external_id(run),
            "name": "scripted-lemur",
            "created": _text(run.created_at),
            "flow_id": _id("flow", run.workflow),
            "deployment_id": None,
            "state_id": last["id"],
            "state_type": last["type"],
            "state_name": last["name"],
            "state": last,
            "run_count": len(runs),
            "start_time": runs[0] if runs else None,
            "end_time": last["timestamp"] if last["type"] in TERMINAL else None,
            "expected_start_time": _text(run.created_at),
            "auto_scheduled": False,
            "empirical_policy": {"retry_type": None},
            "parameters": run.parameters,
            "tags": [f"run_id:run-{run.number}"],
            "labels": {},
            "parent_task_run_id": None if run.parent is None else _id("child", run.epoch, run.number),
        }

    def _task(self, run: ScriptedRun, row: Row, place: int) -> Row:
        step = run.steps[place]
        kind, _, name = step.native.partition("/")
        return {
            "id": _id("task", row["id"], place),
            "name": f"{step.name}-abc",
            "dynamic_key": "abc00000-0000-4000-8000-000000000000",
            "flow_run_id": row["id"],
            "flow_run_run_count": step.attempt,
            "run_count": 1,
            "state_id": _id("task-state", row["id"], place, step.native),
            "state_type": kind,
            "state_name": name,
            "state": {"message": "", "timestamp": _text(step.finished_at or step.started_at)},
            "expected_start_time": _text(step.started_at),
            "start_time": _text(step.started_at),
            "end_time": _text(step.finished_at),
        }

    def _child(self, run: ScriptedRun) -> Row:
        parent = run.parent
        assert parent is not None
        return {
            "id": _id("child", run.epoch, run.number),
            "name": "child-0",
            "dynamic_key": "0",
            "flow_run_id": self.external_id(parent),
            "flow_run_run_count": 0,
            "run_count": 1,
            "state_id": _id("child-state", run.number),
            "state_type": "COMPLETED",
            "state_name": "Completed",
            "state": {"message": "", "timestamp": _text(run.created_at)},
            "expected_start_time": _text(run.created_at),
            "start_time": _text(run.created_at),
            "end_time": _text(run.created_at),
        }
