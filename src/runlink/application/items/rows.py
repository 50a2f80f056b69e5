"""The plain rows of items that pass between the use cases and the store, in bulk. `ports` says who asks for which."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from runlink.application.rows import StepRow
from runlink.domain import ExecutionStatus

ACTOR: Final = "rule:items"
"""Who batches, items and executions are written by. An execution that somebody else ended is left alone."""


class Carrier(NamedTuple):
    """An instance that counts for a Run, as item rules are chosen by it."""

    instance_id: UUID
    run_id: UUID
    engine_id: UUID
    engine: str
    workflow: str
    automation_id: UUID
    automation: str
    correlation_id: str | None
    is_open: bool

    @property
    def run_key(self) -> str:
        """What people call the Run by."""
        return self.correlation_id or str(self.run_id)


class ItemRow(NamedTuple):
    """An item that exists; `key` where it was found by one."""

    id: UUID
    batch_id: UUID
    sequence_number: int
    payload: Any
    is_active: bool
    key: str | None = None


class ItemStep(NamedTuple):
    """Which item a step is for a Run; what does not fit."""

    instance_id: UUID
    external_id: str
    run_id: UUID
    rule: str
    item_id: UUID | None
    max_attempts: int | None
    differs: str | None
    problem: str | None


class StoredTrack(NamedTuple):
    """One attempt of a step that is an item for a Run, with what puts it in order among others."""

    item_step: ItemStep
    begun_at: datetime | None
    instance_external_id: str
    is_open: bool
    row: StepRow


class Tallied(NamedTuple):
    """How many active item executions of a batch execution have a status, the first start and the last end."""

    batch_execution_id: UUID
    status: ExecutionStatus
    number: int
    started_at: datetime | None
    finished_at: datetime | None


class Fitting(NamedTuple):
    """How the steps of one instance fit a rule: how many count, give no item, and have other payloads; the first
    reasons."""

    instance_id: UUID
    rule: str
    counted: int
    unfit: int
    differing: int
    problem: str | None
    difference: str | None


class Fit(NamedTuple):
    """How the steps of a workflow fit a rule, as the instance that was begun last shows it."""

    engine_id: UUID
    workflow: str
    rule: str
    instance_id: UUID
    begun_at: datetime
    seen_at: datetime
    drifted_since: datetime | None
    reason: str | None
    counted: int
    unfit: int
    differing: int
