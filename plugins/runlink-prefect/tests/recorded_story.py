"""The story that the recordings tell, as tables at any of its moments.

Recording 100 has every event of the flow runs and task runs of four minutes, in which flows succeeded, failed, were
retried, mapped, cancelled, run again in place and run again after a cancellation. From them come the states, and from
these the rows, filled up with what other recordings say of each. An event is there from when Prefect received it.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from prefect_tables import TERMINAL, Row, Tables, moment

RECORDINGS = Path(__file__).with_name("recordings")
END = "2026-11-23T14:42:30+00:00"
BEGIN = "2026-11-23T14:38:38+00:00"


@cache
def recording(name: str) -> Row:
    """The one recorded exchange whose file name begins with `name`."""
    (path,) = RECORDINGS.glob(f"{name}*.json")
    exchange: Row = json.loads(path.read_text("utf-8"))
    return exchange


def answer(name: str) -> Any:
    """The JSON of a recorded answer."""
    return recording(name)["response"]["json"]


@cache
def story() -> tuple[Row, ...]:
    """Its events, in the order in which they occurred."""
    events = [frame["msg"]["event"] for frame in recording("100")["frames"] if frame["msg"].get("type") == "event"]
    return tuple(sorted(events, key=lambda event: moment(event["occurred"])))


@cache
def moments() -> tuple[str, ...]:
    """The times just after something happened or was received, and the end."""
    return (*sorted({event[name] for event in story() for name in ("occurred", "received")}, key=moment), END)


def tables_at(when: str, url: str = "http://prefect.test") -> Tables:
    """What Prefect's tables hold at a moment."""
    tables, now = Tables(url), moment(when)
    tables.now = when
    tables.rows["flows"] = answer("007")
    tables.rows["deployments"] = answer("006")
    histories: dict[str, list[Row]] = {}
    for event in story():
        kind, _, id_ = event["resource"]["prefect.resource.id"].removeprefix("prefect.").partition(".")
        if kind == "flow-run" and moment(event["received"]) <= now:
            tables.events.append(event)
        written = event["occurred"] if kind == "flow-run" else event["received"]
        if moment(written) <= now and not event["event"].endswith("heartbeat"):
            histories.setdefault(id_, []).append(event)
    for id_, events in histories.items():
        tables.states[id_] = [_state(event) for event in events]
        kind = "flow_runs" if "flow-run." in events[0]["resource"]["prefect.resource.id"] else "task_runs"
        tables.rows[kind].append((_flow_run if kind == "flow_runs" else _task_run)(id_, events, tables.states[id_]))
    return tables


def _state(event: Row) -> Row:
    resource = event["resource"]
    return {
        "id": event["id"],
        "type": resource["prefect.state-type"],
        "name": resource["prefect.state-name"],
        "timestamp": event["occurred"],
        "message": resource["prefect.state-message"],
    }


def _progress(states: list[Row]) -> Row:
    last = states[-1]
    runs = [state["timestamp"] for state in states if state["type"] == "RUNNING"]
    return {
        "state_id": last["id"],
        "state_type": last["type"],
        "state_name": last["name"],
        "state": last,
        "run_count": len(runs),
        "start_time": runs[0] if runs else None,
        "end_time": last["timestamp"] if last["type"] in TERMINAL else None,
    }


def _flow_run(id_: str, events: list[Row], states: list[Row]) -> Row:
    templates = {row["id"]: row for row in (*answer("030_poll_02"), *answer("043"))}
    related = {one["prefect.resource.role"]: one["prefect.resource.id"] for one in events[0]["related"]}
    tags = [one["prefect.resource.id"] for one in events[0]["related"] if one["prefect.resource.role"] == "tag"]
    tags = [tag.removeprefix("prefect.tag.") for tag in tags]
    other = {
        "id": id_,
        "name": events[0]["resource"]["prefect.resource.name"],
        "created": states[0]["timestamp"],
        "flow_id": related["flow"].removeprefix("prefect.flow."),
        "deployment_id": related["deployment"].removeprefix("prefect.deployment."),
        "tags": tags,
        "labels": {},
        "parameters": dict(tag.split(":") for tag in tags if tag.startswith("run_id:")),
        "idempotency_key": None,
        "expected_start_time": states[0]["timestamp"],
    }
    row = templates.get(id_) or {**answer("043")[0], **other}
    return {**row, **_progress(states), "empirical_policy": {"retry_type": _retry_type(states)}}


def _retry_type(states: list[Row]) -> str | None:
    kind = None
    for before, state in zip([None, *states], states, strict=False):
        if state["name"] == "AwaitingRetry":
            kind = "reschedule" if before is not None and before["type"] in TERMINAL else "in_process"
        elif state["type"] == "RUNNING" and kind == "reschedule":
            kind = None
    return kind


def _task_run(id_: str, events: list[Row], states: list[Row]) -> Row:
    files = ("060", "061", "062", "063", "064")
    templates = {row["id"]: row for name in files for row in answer(name)}
    run = next(one for one in events[0]["related"] if one["prefect.resource.role"] == "flow-run")
    name = events[0]["resource"]["prefect.resource.name"]
    other = {
        "id": id_,
        "name": name,
        "dynamic_key": f"{name[-3:]}00000-0000-4000-8000-000000000000",
        "flow_run_id": run["prefect.resource.id"].removeprefix("prefect.flow-run."),
        "flow_run_run_count": 1,
        "expected_start_time": states[0]["timestamp"],
    }
    return {**(templates.get(id_) or {**answer("060")[0], **other}), **_progress(states)}
