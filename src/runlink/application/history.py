"""What was known of instances, links and Runs at an earlier time, folded from what is only ever appended to.

`explain` comes here for `as_of`. Everything is a pure function of rows as `Reports` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from runlink.domain import ExecutionStatus

Row = dict[str, Any]

_OF_OBSERVATION: Final = {"created_at": "queued_at", "parent": "parent_external_id", "metadata": "instance_metadata"}
"""The first observation of an instance is kept as it was told; later ones are changes by the entity's own names."""
_TIMES: Final = ("queued_at", "started_at", "finished_at", "vanished_at")
_LATER: Final = ("attempts", "steps", "runs", "observed_at", "duration_seconds")

_STATUS_OF_EVENT: Final = {
    "run.started": "PROCESSING",
    "run.completed": "COMPLETED",
    "run.failed": "FAILED",
    "run.cancelled": "CANCELLED",
    "run.reopened": "PROCESSING",
}


def instance_then(row: Mapping[str, Any], observations: Sequence[Mapping[str, Any]], then: datetime) -> Row | None:
    """The instance as it was known then, with its observations and attempts until then; None when it was not.

    `observations` are all of this instance, oldest first.
    """
    until = [dict(seen) for seen in observations if seen["recorded_at"] <= then]
    if not until:
        return None
    known: Row = dict.fromkeys(row) | {name: row[name] for name in ("id", "engine", "external_id", "workflow")}
    attempts: dict[int, Row] = {}
    for seen in until:
        changes: Row = seen["changes"] if isinstance(seen["changes"], dict) else {}
        told: Row = {_OF_OBSERVATION.get(name, name): value for name, value in changes.items()}
        known |= {name: _value(name, value) for name, value in told.items() if name in row and name not in _LATER}
        known |= {name: seen[name] for name in ("status", "native_status", "attempt", "observed_at")}
        attempts[seen["attempt"]] = _attempt(known)
    started, finished = known.get("started_at"), known.get("finished_at")
    known["duration_seconds"] = max(0.0, (finished - started).total_seconds()) if started and finished else None
    known["observations"] = until
    known["attempts"] = [attempts[number] for number in sorted(attempts)]
    return known


def steps_then(steps: Sequence[Mapping[str, Any]], then: datetime) -> list[Row]:
    """Steps as they were by their engine's clock: those that had begun, the ended ones as ended.

    When runlink learnt of a step is not kept; a step without times is left out.
    """
    found = []
    for step in steps:
        if step["started_at"] is None or step["started_at"] > then:
            continue
        if step["finished_at"] is not None and step["finished_at"] > then:
            step = {**step, "finished_at": None, "status": "PROCESSING", "native_status": None, "message": None}  # noqa: PLW2901
        found.append(dict(step))
    return found


def links_then(links: Sequence[Row], events: Sequence[Mapping[str, Any]], then: datetime) -> dict[UUID, Row]:
    """The links that were in force then, by instance. The first sync of an engine leaves no events: there the link's
    own time counts."""
    last: dict[str, bool] = {}
    for event in events:
        if event["type"] in ("instance.linked", "instance.unlinked") and event["recorded_at"] <= then:
            last[str(event["data"]["run_orchestration_id"])] = event["type"] == "instance.linked"
    return {
        link["orchestration_instance_id"]: link
        for link in links
        if last.get(str(link["id"]), link["created_at"] <= then and link["attached_at"] <= then)
    }


def statuses(
    events: Sequence[Mapping[str, Any]], observations: Mapping[UUID, Sequence[Mapping[str, Any]]]
) -> list[Row]:
    """Each change of a Run's status, oldest first.

    It tells what caused the change, when the engine said it happened, when runlink learnt it and by which feed.
    `because` is None where no observation caused it: `actor` decided.
    """
    found: list[Row] = []
    for event in events:
        status = _STATUS_OF_EVENT.get(event["type"])
        if status is None:
            continue
        data = event["data"]
        found.append(
            {
                "status": status,
                "attempt": data["attempt"],
                "occurred_at": event["occurred_at"],
                "recorded_at": event["recorded_at"],
                "actor": event["actor"],
                "reason": data.get("error_summary") or data.get("cancellation_reason"),
                "because": _because(data.get("because"), observations, event["recorded_at"]),
            }
        )
    return found


def run_then(row: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> Row:
    """A Run by its `statuses` until then."""
    known = dict(row) | dict.fromkeys(("started_at", "finished_at", "error_summary", "cancellation_reason"))
    known |= {"status": "PENDING", "attempt": 1, "silent_since": None}
    for one in told:
        known |= {"status": one["status"], "attempt": one["attempt"], "updated_by": one["actor"]}
        ended = ExecutionStatus(one["status"]).is_ended
        known["finished_at"] = one["occurred_at"] if ended else None
        known["error_summary"] = one["reason"] if one["status"] == "FAILED" else None
        known["cancellation_reason"] = one["reason"] if one["status"] == "CANCELLED" else None
        if one["status"] == "PROCESSING":
            known["started_at"] = known["started_at"] or one["occurred_at"]
    return known


def _because(
    because: Mapping[str, Any] | None, observations: Mapping[UUID, Sequence[Mapping[str, Any]]], recorded_at: datetime
) -> Row | None:
    """The evidence, with the line of the instance's history that told it."""
    if because is None:
        return None
    seen = observations.get(UUID(str(because["orchestration_instance_id"])), ())
    line = next((one for one in reversed(seen) if one["recorded_at"] <= recorded_at), None)
    return {
        **because,
        "observed_at": line["observed_at"] if line is not None else _time(because.get("observed_at")),
        "recorded_at": line["recorded_at"] if line is not None else None,
        "feed": line["feed"] if line is not None else None,
    }


def _attempt(known: Row) -> Row:
    names = ("status", "native_status", "started_at", "finished_at", "message", "url")
    return {"number": known["attempt"], **{name: known.get(name) for name in names}}


def _value(name: str, told: Any) -> Any:
    return _time(told) if name in _TIMES else told


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
