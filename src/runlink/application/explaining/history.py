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
_STEP_NOT_TOLD: Final = dict.fromkeys(("native_status", "started_at", "finished_at", "message"))
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


def steps_then(
    steps: Sequence[Mapping[str, Any]], observations: Sequence[Mapping[str, Any]], then: datetime
) -> tuple[list[Row], bool]:
    """The steps as they were known then, and whether that is certain.

    `observations` are all of the instance, oldest first. They tell of steps one by one, but for many that changed at
    once: where that leaves it open what was known of a step, its engine's clock decides, and it is not certain.
    """
    known = _StepsTold(observations, then)
    if not (known.later or known.many_later):
        return [dict(step) for step in steps], True
    found, certain = [], True
    for step in steps:
        key = step["external_id"], step["attempt"]
        if key in known.told:
            found.append(_as_told(step, known.told[key]))
            certain = certain and key not in known.perhaps_changed
        elif key in known.later and not known.many_before:
            continue
        elif key not in known.later and known.many_before != known.many_later:  # told once, among many
            found += [dict(step)] if known.many_before else []
        else:
            found += _by_its_clock(step, then)
            certain = False
    return found, certain


class _StepsTold:
    """What the lines of a history tell of steps: how each was `told` last until then, those only told `later`, and
    whether many at once were told of `before` and `later`, which may have changed any that was told."""

    def __init__(self, observations: Sequence[Mapping[str, Any]], then: datetime) -> None:
        self.told: dict[tuple[str, int], Row] = {}
        self.later: set[tuple[str, int]] = set()
        self.perhaps_changed: set[tuple[str, int]] = set()
        self.many_before = self.many_later = False
        for seen in observations:
            changes = seen["changes"]
            given = changes.get("steps") if isinstance(changes, Mapping) else None
            if isinstance(given, int):
                self._many(before=seen["recorded_at"] <= then)
            for one in given if isinstance(given, list) else ():
                self._one(one, before=seen["recorded_at"] <= then)

    def _many(self, *, before: bool) -> None:
        self.many_before, self.many_later = self.many_before or before, self.many_later or not before
        if before:
            self.perhaps_changed |= self.told.keys()

    def _one(self, told: Mapping[str, Any], *, before: bool) -> None:
        key = told["external_id"], told["attempt"]
        if before:
            self.told[key] = _STEP_NOT_TOLD | {name: _value(name, value) for name, value in told.items()}
            self.perhaps_changed.discard(key)
        else:
            self.later.add(key)


def _as_told(step: Mapping[str, Any], told: Mapping[str, Any]) -> Row:
    """Without outputs where its status was another: they came later."""
    return {**step, **told, **({} if told["status"] == step["status"] else {"outputs": None})}


def _by_its_clock(step: Mapping[str, Any], then: datetime) -> list[Row]:
    """The step if it had begun by then, open if it had not ended; one without times is left out."""
    if step["started_at"] is None or step["started_at"] > then:
        return []
    if step["finished_at"] is not None and step["finished_at"] > then:
        unknown = dict.fromkeys(("finished_at", "native_status", "message", "outputs"))
        return [{**step, **unknown, "status": "PROCESSING"}]
    return [dict(step)]


def links_then(links: Sequence[Row], events: Sequence[Mapping[str, Any]], then: datetime) -> dict[UUID, Row]:
    """The links that were in force then, as they were made, by instance. The first sync of an engine leaves no events:
    there the link's own time counts."""
    last: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event["type"] in ("instance.linked", "instance.unlinked") and event["recorded_at"] <= then:
            last[str(event["data"]["run_orchestration_id"])] = event
    known: dict[UUID, Row] = {}
    for link in links:
        about = last.get(str(link["id"]))
        if about is None:
            if link["created_at"] <= then and link["attached_at"] <= then:
                known[link["orchestration_instance_id"]] = link
        elif about["type"] == "instance.linked":
            attached = {"attached_at": about["occurred_at"], "rule": about["data"]["rule"]}
            known[link["orchestration_instance_id"]] = {**link, **attached}
    return known


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
                "status": data.get("new_status", status),
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
