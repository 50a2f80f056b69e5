"""DomainEntity, the common part of nine of the ten entities (all but ItemStateHistory), and the lifecycle of those
that execute. Come here for identity, versions, soft deletion, recorded events, and how a status is changed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from runlink.domain.errors import InvalidStateError
from runlink.domain.events import DomainEvent
from runlink.domain.status import TRANSITIONS, ExecutionStatus
from runlink.domain.values import (
    NOT_GIVEN,
    checked_count,
    checked_id,
    checked_optional_time,
    checked_status,
    checked_time,
    moment_of,
    new_id,
    utc_now,
)


@dataclass(kw_only=True, eq=False)
class DomainEntity:
    """A thing with an identity: equal to another when type and `id` are, whatever else differs.

    `version` rises by one with every change, and with nothing else: the store's optimistic lock compares it.
    `updated_at` never moves back, also when a change is told with an earlier time.
    """

    id: UUID = field(default_factory=new_id)
    created_at: datetime = NOT_GIVEN
    updated_at: datetime = NOT_GIVEN
    created_by: str | None = None
    updated_by: str | None = None
    version: int = 1
    is_active: bool = True
    _events: list[DomainEvent] = field(default_factory=list, init=False, repr=False)
    _stored_version: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        checked_id(self.id, "id")
        checked_count(self.version, "version", least=1)
        self.created_at = utc_now() if self.created_at is NOT_GIVEN else checked_time(self.created_at, "created_at")
        updated_at = self.updated_at
        self.updated_at = self.created_at if updated_at is NOT_GIVEN else checked_time(updated_at, "updated_at")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, DomainEntity) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def stored_version(self) -> int:
        """The version that a store last read or wrote; 0 when none has it. What an update is compared with."""
        return self._stored_version

    def mark_stored(self) -> None:
        """For stores: the present version is what is kept."""
        self._stored_version = self.version

    def pull_events(self) -> list[DomainEvent]:
        """The events since the last call, oldest first; they are handed over once."""
        events, self._events = self._events, []
        return events

    def deactivate(self, at: datetime | None = None, by: str | None = None) -> bool:
        """Soft delete. Returns False, and changes nothing, when it is already inactive."""
        return self._set_active(False, moment_of(at), by)

    def restore(self, at: datetime | None = None, by: str | None = None) -> bool:
        """Undo `deactivate`. Returns False, and changes nothing, when it is active."""
        return self._set_active(True, moment_of(at), by)

    def _set_active(self, active: bool, moment: datetime, by: str | None) -> bool:
        if self.is_active is active:
            return False
        self.is_active = active
        self._changed(moment, by)
        return True

    def _changed(self, moment: datetime, by: str | None = None) -> None:
        """Count one change; every method that changes something calls this exactly once."""
        self.version += 1
        self.updated_at = max(moment, self.updated_at)
        if by is not None:
            self.updated_by = by

    def _record(self, event: DomainEvent) -> None:
        self._events.append(event)

    def _label(self) -> str:
        return f"{type(self).__name__} {self.id}"


@dataclass(kw_only=True, eq=False)
class Lifecycle(DomainEntity):
    """An entity that executes: a status that follows TRANSITIONS, and the times it began and ended.

    A method first asks `_check`, which may refuse and changes nothing, and then calls `_enter`, which cannot fail.
    """

    _way_back: ClassVar[str] = "it has ended and stays so"

    status: ExecutionStatus = ExecutionStatus.PENDING
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_status(self.status)
        self.started_at = checked_optional_time(self.started_at, "started_at")
        self.finished_at = checked_optional_time(self.finished_at, "finished_at")

    def _check(self, target: ExecutionStatus, at: datetime | None) -> datetime:
        """Refuse an illegal transition; else the moment it happens."""
        if not self.status.can_transition_to(target):
            raise self._illegal(target)
        return moment_of(at)

    def _enter(self, target: ExecutionStatus, moment: datetime) -> None:
        """Take the new status: one change. `started_at` keeps the first start."""
        self.status = target
        if target is ExecutionStatus.PROCESSING and self.started_at is None:
            self.started_at = moment
        if target.is_ended:
            self.finished_at = moment
        self._changed(moment)

    def _illegal(self, target: ExecutionStatus) -> InvalidStateError:
        following = " or ".join(TRANSITIONS[self.status])
        what_next = f"it may become {following}" if following else self._way_back
        return InvalidStateError(f"{self._label()} is {self.status} and cannot become {target}; {what_next}")


@dataclass(kw_only=True, eq=False)
class RepeatableLifecycle(Lifecycle):
    """A lifecycle that can begin again after its end, as a higher `attempt`: the only way back from an ended status."""

    _way_back: ClassVar[str] = "it has ended, and only a reopening leads back"

    attempt: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_count(self.attempt, "attempt", least=1)

    def _check_reopen(self, attempt: int, at: datetime | None) -> datetime:
        checked_count(attempt, "attempt", least=1)
        if not self.status.is_ended:
            raise InvalidStateError(f"{self._label()} is {self.status}, not ended; only an ended one can be reopened")
        if attempt <= self.attempt:
            raise InvalidStateError(
                f"{self._label()} is at attempt {self.attempt} and cannot be reopened as attempt {attempt}; "
                f"give at least {self.attempt + 1}"
            )
        return moment_of(at)
