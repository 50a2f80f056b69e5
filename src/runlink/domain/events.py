"""What happened in the domain, as values. Subscribers come here for what an event carries; entities create them.

An event is recorded on its entity, taken from there with `pull_events()`, and stored with the change that caused it.
`EVENT_TYPES` leads from the stored name to the class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar
from uuid import UUID

from runlink.domain.status import ExecutionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEvent:
    """Something that has happened; `occurred_at` is the time of the change, in UTC."""

    type: ClassVar[str]

    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The observation that something was concluded from.

    `native_status` is the engine's word, and `observed_at` when the host began the read that told it.
    """

    orchestration_instance_id: UUID
    engine: str
    external_id: str
    workflow: str | None
    native_status: str | None
    observed_at: datetime | None


# --- runs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent(DomainEvent):
    """What all events of a Run carry. `because` is None where a person or a program decided."""

    run_id: UUID
    automation_id: UUID
    correlation_id: str | None
    attempt: int
    because: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(RunEvent):
    """A Run left PENDING for PROCESSING."""

    type: ClassVar[str] = "run.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted(RunEvent):
    """A Run ended well."""

    type: ClassVar[str] = "run.completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(RunEvent):
    """A Run ended in failure."""

    type: ClassVar[str] = "run.failed"

    error_summary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled(RunEvent):
    """A Run was stopped before its end."""

    type: ClassVar[str] = "run.cancelled"

    cancellation_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReopened(RunEvent):
    """An ended Run is PROCESSING again, or PENDING where it had never begun; `attempt` is the new one."""

    type: ClassVar[str] = "run.reopened"

    previous_status: ExecutionStatus
    new_status: ExecutionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSilent(RunEvent):
    """Nothing was learnt about an open Run for as long as its policy allows; the last news came at `silent_since`."""

    type: ClassVar[str] = "run.silent"

    silent_since: datetime


# --- batch and item executions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchExecutionFailed(DomainEvent):
    """A batch failed within its Run."""

    type: ClassVar[str] = "batch_execution.failed"

    batch_execution_id: UUID
    run_id: UUID
    batch_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemExecutionFailed(DomainEvent):
    """One attempt of an item failed: `status` is RETRYING when another follows, FAILED when it was the last."""

    type: ClassVar[str] = "item_execution.failed"

    item_execution_id: UUID
    run_id: UUID
    batch_execution_id: UUID
    item_id: UUID
    status: ExecutionStatus
    attempt: int
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsDrifted(DomainEvent):
    """The steps of a workflow no longer fit the rule that makes items of them; told once, until they fit again.

    `reason` is the first thing that does not fit, `orchestration_instance_id` the instance it was seen in.
    """

    type: ClassVar[str] = "items.drifted"

    engine_id: UUID
    workflow: str
    rule: str
    orchestration_instance_id: UUID
    reason: str


# --- instances and their links ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEvent(DomainEvent):
    """What all events of an OrchestrationInstance carry."""

    orchestration_instance_id: UUID
    engine_id: UUID
    external_id: str
    attempt: int
    native_status: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatusChanged(InstanceEvent):
    """An instance has another status or attempt than was known; `previous_status` is None at its first sighting.

    `passed` are the statuses that must lie between the two, in order, though nobody saw them.
    """

    type: ClassVar[str] = "instance.status_changed"

    previous_status: ExecutionStatus | None
    new_status: ExecutionStatus
    passed: tuple[ExecutionStatus, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceVanished(InstanceEvent):
    """The engine no longer has an instance that was open: it ended, nobody knows how."""

    type: ClassVar[str] = "instance.vanished"

    last_status: ExecutionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEvent(DomainEvent):
    """What both events of a RunOrchestration carry; `rule` is None for a link made by hand."""

    run_orchestration_id: UUID
    run_id: UUID
    orchestration_instance_id: UUID
    rule: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLinked(LinkEvent):
    """An instance now counts for a Run."""

    type: ClassVar[str] = "instance.linked"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceUnlinked(LinkEvent):
    """An instance no longer counts for a Run."""

    type: ClassVar[str] = "instance.unlinked"


EVENT_TYPES: Mapping[str, type[DomainEvent]] = MappingProxyType(
    {
        event.type: event
        for event in (
            RunStarted,
            RunCompleted,
            RunFailed,
            RunCancelled,
            RunReopened,
            RunSilent,
            BatchExecutionFailed,
            ItemExecutionFailed,
            ItemsDrifted,
            InstanceStatusChanged,
            InstanceVanished,
            InstanceLinked,
            InstanceUnlinked,
        )
    }
)
