"""What an observation tells, in the words of the store: facts, attempts, steps. Ingest comes here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from runlink.application.ingest.decide import Read
from runlink.application.rows import AttemptRow, StepRow, Tracked
from runlink.domain import OrchestrationInstance
from runlink.spi import Observation, Step, Unknown

MAX_STEPS_TOLD: Final = 200
"""Steps that one line of the history tells of one by one; of more that changed at once it keeps how many."""
_MAX_MESSAGE_CHARS: Final = 500
_json = msgspec.json.Encoder(order="deterministic")


def facts_told(o: Observation, read: Read) -> dict[str, Any]:
    """What an observation tells, by the names of OrchestrationInstance.observe."""
    return {
        "observed_at": read.began_at,
        "native_status": o.native_status,
        "started_at": o.started_at,
        "finished_at": o.finished_at,
        "queued_at": o.created_at,
        "workflow": o.workflow,
        "url": o.url,
        "message": o.message,
        "revision": None if o.revision is None else str(o.revision),
        "parent_external_id": o.parent,
        "parameters": o.parameters,
        "labels": o.labels,
        "metadata": o.metadata,
    }


_FACTS = (
    "external_id", "workflow", "status", "native_status", "attempt", "queued_at", "started_at", "finished_at", "url",
    "message", "parent_external_id", "parameters", "labels", "instance_metadata", "vanished_at",
)  # fmt: skip


def facts_of(instance: OrchestrationInstance) -> dict[str, Any]:
    """What the history compares."""
    return {name: getattr(instance, name) for name in _FACTS}


def steps_told(rows: Sequence[StepRow]) -> list[dict[str, Any]] | int:
    """What the history keeps of steps that were told: how each is, without inputs and outputs, or how many they are."""
    if len(rows) > MAX_STEPS_TOLD:
        return len(rows)
    return [_step_told(row) for row in rows]


def _step_told(row: StepRow) -> dict[str, Any]:
    told = {
        "external_id": row.external_id,
        "attempt": row.attempt,
        "status": row.status.value,
        "native_status": row.native_status,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "message": row.message and row.message[:_MAX_MESSAGE_CHARS],
    }
    return {name: value for name, value in told.items() if value is not None}


def steps_state(o: Observation) -> str | None:
    """What an observation says of its steps, as Tracked.steps_state keeps it; None when it says nothing."""
    if o.steps is None or not o.complete:
        return None
    if isinstance(o.steps, Unknown):
        return "unknown"
    return "final" if o.status.is_ended else "read"


def attempt_rows(tracked: Tracked, o: Observation) -> list[AttemptRow]:
    """The present attempt, and earlier ones where the engine tells of them."""
    i = tracked.instance
    row = AttemptRow(i.id, i.attempt, i.status, i.native_status, i.started_at, i.finished_at, i.message, i.url)
    if not o.attempts:
        return [row]
    offset = tracked.attempt_offset
    earlier = {
        a.number: AttemptRow(
            i.id, a.number + offset, a.status, a.native_status, a.started_at, a.finished_at, a.message, a.url
        )
        for a in o.attempts
        if a.number + offset < i.attempt
    }
    return [*earlier.values(), row]


def with_known(o: Observation, known: Mapping[tuple[str, int], Step]) -> Observation:
    """An observation in part, its steps with what is known of them, in whatever order the two were told: None is *not
    told*, and of a step that begins again under its id and attempt the last time counts. `known` is by external id and
    attempt."""
    told = o.steps if isinstance(o.steps, tuple) else ()
    return msgspec.structs.replace(o, steps=tuple(_filled(s, known.get((s.external_id, s.attempt))) for s in told))


def _filled(step: Step, known: Step | None) -> Step:
    if known is None:
        return step
    later, earlier = (known, step) if _is_past(step, known) else (step, known)
    names = [f for f in step.__struct_fields__ if getattr(later, f) is None]
    if _is_another_round(earlier, later):  # how that one ended says nothing of this one
        names = [f for f in names if f in ("inputs", "parent")]
    starts = [at for at in (later.started_at, earlier.started_at) if at is not None and at <= (later.finished_at or at)]
    filled = {f: getattr(earlier, f) for f in names} | {"started_at": max(starts, default=later.started_at)}
    return msgspec.structs.replace(later, **filled)


def _is_another_round(earlier: Step, later: Step) -> bool:
    """Whether a step had ended and has begun again since."""
    if not earlier.status.is_ended:
        return False
    again = later.started_at is not None and earlier.finished_at is not None and later.started_at > earlier.finished_at
    return again or earlier.status is not later.status


def _is_past(step: Step, known: Step) -> bool:
    """Whether something later than this is known of a step: by the engine's times where both have one, else by what
    cannot be undone."""
    told_at, known_at = (each.finished_at or each.started_at for each in (step, known))
    if told_at is None or known_at is None or told_at == known_at:
        return known.status.is_ended and not step.status.is_ended
    return told_at < known_at


def step_row(instance_id: UUID, step: Step) -> StepRow:
    """A step with its digest."""
    return StepRow(
        instance_id,
        step.external_id,
        step.attempt,
        step.name,
        step.status,
        step.native_status,
        step.final,
        step.started_at,
        step.finished_at,
        step.message,
        None if step.inputs is None else _json.encode(step.inputs).decode(),
        None if step.outputs is None else _json.encode(step.outputs).decode(),
        step.parent,
        hashlib.blake2b(_json.encode(step), digest_size=16).digest(),
    )
