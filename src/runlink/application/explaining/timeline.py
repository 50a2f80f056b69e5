"""A Run as bars on one time axis, across engines: the Run, its instances, their attempts and steps.

`explain` comes here; the terminal and the dashboard draw what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from runlink.domain import ExecutionStatus

Bar = dict[str, Any]


def timeline(told: Mapping[str, Any], *, now: datetime) -> list[Bar]:
    """The bars of an explanation, each below the one it belongs to, parts of steps too.

    Keys: `kind` (run, instance, attempt, step), `depth`, `label`, `engine`, `external_id`, `status`, `attempt`,
    `queued_at`, `started_at`, `until`, `is_open`. `until` is the end, the vanishing, or `now` for what is open; None
    for what never began. Times are the engines' own.
    """
    run = {**told, "queued_at": told["created_at"]}
    bars = [_bar("run", 0, f"Run {told['correlation_id'] or told['id']}", run, now)]
    for row in told["instances"]:
        bars.extend(_instance(row, now))
    return bars


def _instance(row: Mapping[str, Any], now: datetime) -> Iterator[Bar]:
    of = {"engine": row["engine"], "external_id": row["external_id"]}
    yield _bar("instance", 1, f"{row['engine']} {row['workflow'] or row['external_id']}", row, now, **of)
    if len(row["attempts"]) > 1:
        for attempt in row["attempts"]:
            facts = {**attempt, "attempt": attempt["number"]}
            yield _bar("attempt", 2, f"attempt {attempt['number']}", facts, now, **of)
    for level, step in _nested(row["steps"]):
        again = f" (attempt {step['attempt']})" if step["attempt"] > 1 else ""
        yield _bar("step", 2 + level, f"{step['name']}{again}", step, now, **of)


def _nested(steps: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each step once, with how deep it lies: behind the one it is a part of, in the order that was given."""
    last = {step["external_id"]: number for number, step in enumerate(steps)}  # of several attempts
    parts: dict[int | None, list[int]] = {}
    for number, step in enumerate(steps):
        parent = last.get(step["parent"]) if step.get("parent") is not None else None
        parts.setdefault(None if parent == number else parent, []).append(number)
    waiting = [(0, number) for number in reversed(parts.get(None, ()))]
    seen: set[int] = set()
    while waiting:
        level, number = waiting.pop()
        seen.add(number)
        yield level, steps[number]
        waiting += [(level + 1, part) for part in reversed(parts.get(number, ()))]
    yield from ((0, step) for number, step in enumerate(steps) if number not in seen)  # an engine may tell of a circle


def _bar(kind: str, depth: int, label: str, row: Mapping[str, Any], now: datetime, **of: str) -> Bar:
    is_open = row.get("vanished_at") is None and not ExecutionStatus(row["status"]).is_ended
    began = row.get("queued_at") or row.get("started_at")
    end = row.get("finished_at") or row.get("vanished_at")
    return {
        "kind": kind,
        "depth": depth,
        "label": label,
        "engine": of.get("engine"),
        "external_id": of.get("external_id"),
        "status": row["status"],
        "attempt": row.get("attempt", 1),
        "queued_at": row.get("queued_at"),
        "started_at": row.get("started_at"),
        "until": end or (now if is_open and began is not None else None),
        "is_open": is_open,
    }
