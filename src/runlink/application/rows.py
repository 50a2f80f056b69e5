"""The plain rows that pass between the use cases and the store, in bulk. `ports` says who asks for which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from runlink.domain import ExecutionStatus, OrchestrationInstance


class Known(NamedTuple):
    """The little that must be read of an instance to tell that nothing changed."""

    id: UUID
    digest: bytes | None
    is_active: bool = True


@dataclass(slots=True)
class Tracked:
    """An instance with the host's bookkeeping.

    digest          of the last complete observation; None makes the next one be compared field by field
    attempt_offset  attempts the host counted and the engine did not (re-runs in place)
    missing_since   when the engine first said it has no such instance
    steps_state     None not read, "read", "final" (read after the end), "unknown" (not to be had)
    """

    instance: OrchestrationInstance
    digest: bytes | None = None
    attempt_offset: int = 0
    missing_since: datetime | None = None
    steps_state: str | None = None


class AttemptRow(NamedTuple):
    """One try of an instance."""

    instance_id: UUID
    number: int
    status: ExecutionStatus
    native_status: str | None
    started_at: datetime | None
    finished_at: datetime | None
    message: str | None
    url: str | None


class StepRow(NamedTuple):
    """One step of an instance, at one attempt."""

    instance_id: UUID
    external_id: str
    attempt: int
    name: str
    status: ExecutionStatus
    native_status: str | None
    final: bool | None
    started_at: datetime | None
    finished_at: datetime | None
    message: str | None
    inputs: str | None
    outputs: str | None
    parent: str | None
    digest: bytes


class ObservationRow(NamedTuple):
    """One line of an instance's append-only history; `changes` is JSON text."""

    instance_id: UUID
    observed_at: datetime
    recorded_at: datetime
    feed: str
    attempt: int
    status: ExecutionStatus
    native_status: str | None
    digest: bytes | None
    changes: str | None


class WaitingKey(NamedTuple):
    """A key that a rule found in an instance while no Run had it."""

    instance_id: UUID
    rule: str
    automation_id: UUID
    key: str


class RunTimes(NamedTuple):
    """A Run that has a key, and when it was made and started: of several with one key, time decides.

    Where it is the only one, its times may not have been read.
    """

    id: UUID
    created_at: datetime
    started_at: datetime | None


class Correlation(NamedTuple):
    """A value by which instances of two engines are known to belong together, as one of them has it.

    topic  which rule compares it; side  "parent" for who is looked for, "child" for who looks
    """

    topic: str
    side: str
    value: str
    instance_id: UUID


class Kin(NamedTuple):
    """A child and a parent that have the same value under a topic."""

    topic: str
    value: str
    child_id: UUID
    parent_id: UUID


class Linked(NamedTuple):
    """What roll-up needs of an instance that is linked to a Run."""

    run_id: UUID
    engine: str
    external_id: str
    workflow: str | None
    status: ExecutionStatus
    native_status: str | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    vanished_at: datetime | None
    message: str | None
    parent_external_id: str | None
    observed_at: datetime | None = None
    failed_step: str | None = None
    """Of a failed instance, the step that was begun last of those that failed in its latest attempt."""
    instance_id: UUID | None = None


class Quarantined(NamedTuple):
    """An item of an engine's answer that could not be taken in."""

    fingerprint: str
    external_id: str | None
    reason: str
    raw: str


class DeliveryRow(NamedTuple):
    """A delivery as it came. `headers` are without secrets, `body` is unpacked, `signed` says whether the scheme by
    which it was proved covers the body."""

    id: UUID
    engine_id: UUID
    delivery_id: str | None
    received_at: datetime
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    signed: bool


class DueDelivery(NamedTuple):
    """A delivery that is to be processed; `attempts` are those before this one."""

    row: DeliveryRow
    attempts: int
