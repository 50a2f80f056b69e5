"""The domain: the ten entities and their rules. Every other room comes here, and finds everything at this level.

It imports the standard library and jsonschema, knows no store and no engine, and does no input or output.
"""

from runlink.domain.automation import Automation, Batch, Item
from runlink.domain.entity import DomainEntity
from runlink.domain.errors import ConcurrencyError, DomainError, InvalidStateError, ValidationError
from runlink.domain.events import (
    EVENT_TYPES,
    BatchExecutionFailed,
    DomainEvent,
    Evidence,
    InstanceLinked,
    InstanceStatusChanged,
    InstanceUnlinked,
    InstanceVanished,
    ItemExecutionFailed,
    ItemsDrifted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    RunSilent,
    RunStarted,
)
from runlink.domain.executions import (
    RUN_END_EFFECT,
    BatchExecution,
    ItemExecution,
    ItemStateHistory,
    settle_executions,
)
from runlink.domain.instance import InstanceFacts, OrchestrationInstance
from runlink.domain.orchestration import Engine, RunOrchestration
from runlink.domain.run import MAX_KEY_LENGTH, Run, checked_key
from runlink.domain.schemas import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from runlink.domain.status import TRANSITIONS, ExecutionStatus
from runlink.domain.values import KEEP, Keep, checked_optional_time, new_id, utc_now

__all__ = [
    "EVENT_TYPES",
    "KEEP",
    "MAX_KEY_LENGTH",
    "MAX_SCHEMA_BYTES",
    "MAX_SCHEMA_DEPTH",
    "RUN_END_EFFECT",
    "TRANSITIONS",
    "Automation",
    "Batch",
    "BatchExecution",
    "BatchExecutionFailed",
    "ConcurrencyError",
    "DomainEntity",
    "DomainError",
    "DomainEvent",
    "Engine",
    "Evidence",
    "ExecutionStatus",
    "InstanceFacts",
    "InstanceLinked",
    "InstanceStatusChanged",
    "InstanceUnlinked",
    "InstanceVanished",
    "InvalidStateError",
    "Item",
    "ItemExecution",
    "ItemExecutionFailed",
    "ItemStateHistory",
    "ItemsDrifted",
    "Keep",
    "OrchestrationInstance",
    "Run",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunOrchestration",
    "RunReopened",
    "RunSilent",
    "RunStarted",
    "ValidationError",
    "checked_key",
    "checked_optional_time",
    "new_id",
    "settle_executions",
    "utc_now",
]
