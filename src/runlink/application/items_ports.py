"""What following items asks of the store, in bulk: a part of `Ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from uuid import UUID

from runlink.domain import Automation, Batch, BatchExecution, ExecutionStatus, Item, ItemExecution, ItemStateHistory

if TYPE_CHECKING:
    from runlink.application.ports import StepRow

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


class ItemLedger(Protocol):
    """Batches, items, their executions and the steps they follow, in bulk."""

    def carriers(self, instance_ids: Sequence[UUID]) -> list[Carrier]: ...
    def carriers_of(self, run_ids: Sequence[UUID]) -> list[Carrier]: ...
    def steps_of(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[StepRow]: ...
    def parent_steps(self, instance_ids: Sequence[UUID]) -> dict[UUID, set[str]]: ...
    def automations(self, ids: Sequence[UUID]) -> dict[UUID, Automation]: ...
    def batches_named(self, automation_ids: Sequence[UUID], names: Sequence[str]) -> list[Batch]: ...
    def items_numbered(self, batch_ids: Sequence[UUID], numbers: Sequence[int]) -> list[ItemRow]: ...
    def items_keyed(self, batch_ids: Sequence[UUID], keys: Sequence[str]) -> list[ItemRow]: ...
    def last_numbers(self, batch_ids: Sequence[UUID]) -> dict[UUID, int]: ...
    def insert_batches(self, batches: Sequence[Batch], actor: str) -> None: ...
    def insert_items(self, items: Sequence[Item], keys: Sequence[tuple[UUID, str, UUID]], actor: str) -> None: ...
    def item_steps(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[ItemStep]: ...
    def insert_item_steps(self, rows: Sequence[ItemStep]) -> None: ...
    def upsert_item_steps(self, rows: Sequence[ItemStep]) -> None: ...
    def delete_item_steps(self, rows: Sequence[ItemStep]) -> None: ...
    def tracks(self, run_ids: Sequence[UUID], item_ids: Sequence[UUID]) -> list[StoredTrack]: ...
    def batch_executions(self, run_ids: Sequence[UUID]) -> list[BatchExecution]: ...
    def insert_batch_executions(self, executions: Sequence[BatchExecution], actor: str) -> None: ...
    def update_batch_executions(self, executions: Sequence[BatchExecution], actor: str) -> None: ...
    def item_executions(self, run_ids: Sequence[UUID], item_ids: Sequence[UUID]) -> list[ItemExecution]: ...
    def insert_item_executions(self, executions: Sequence[ItemExecution], actor: str) -> None: ...
    def update_item_executions(self, executions: Sequence[ItemExecution], actor: str) -> None: ...
    def insert_history(self, records: Sequence[ItemStateHistory], actor: str, now: datetime) -> None: ...
    def tallies(self, run_ids: Sequence[UUID]) -> list[Tallied]: ...
    def fittings(self, instance_ids: Sequence[UUID]) -> list[Fitting]: ...
    def fits(self, engine_ids: Sequence[UUID], workflows: Sequence[str]) -> list[Fit]: ...
    def upsert_fits(self, fits: Sequence[Fit]) -> None: ...
