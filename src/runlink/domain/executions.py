"""How batches and items fare within a Run: BatchExecution, ItemExecution, its history, and what an ended Run does to
those still open. Come here for the retry rule and for RUN_END_EFFECT."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from runlink.domain.entity import Lifecycle, RepeatableLifecycle
from runlink.domain.errors import InvalidStateError
from runlink.domain.events import BatchExecutionFailed, ItemExecutionFailed
from runlink.domain.run import Run
from runlink.domain.status import ExecutionStatus
from runlink.domain.values import (
    KEEP,
    NOT_GIVEN,
    Keep,
    checked_count,
    checked_id,
    checked_json,
    checked_optional_time,
    checked_status,
    checked_time,
    moment_of,
    new_id,
    refusal,
    same_json,
    utc_now,
)


@dataclass(kw_only=True, eq=False)
class BatchExecution(RepeatableLifecycle):
    """How one Batch fares within one Run; a Run has one of a Batch, so what is run again is a higher attempt."""

    run_id: UUID
    batch_id: UUID

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.run_id, "run_id")
        checked_id(self.batch_id, "batch_id")

    def start(self, at: datetime | None = None) -> None:
        """Begin."""
        self._enter(ExecutionStatus.PROCESSING, self._check(ExecutionStatus.PROCESSING, at))

    def complete(self, at: datetime | None = None) -> None:
        """End well."""
        self._enter(ExecutionStatus.COMPLETED, self._check(ExecutionStatus.COMPLETED, at))

    def fail(self, at: datetime | None = None) -> None:
        """End in failure."""
        moment = self._check(ExecutionStatus.FAILED, at)
        self._enter(ExecutionStatus.FAILED, moment)
        self._record(
            BatchExecutionFailed(
                occurred_at=moment, batch_execution_id=self.id, run_id=self.run_id, batch_id=self.batch_id
            )
        )

    def cancel(self, at: datetime | None = None) -> None:
        """Stop; also before the start."""
        self._enter(ExecutionStatus.CANCELLED, self._check(ExecutionStatus.CANCELLED, at))

    def reopen(self, attempt: int, at: datetime | None = None) -> None:
        """Go on after the end, as a higher attempt: PROCESSING, without the earlier end's time."""
        moment = self._check_reopen(attempt, at)
        self.attempt = attempt
        self.finished_at = None
        self._enter(ExecutionStatus.PROCESSING, moment)

    def restate(
        self, started_at: datetime | None = None, finished_at: datetime | None = None, at: datetime | None = None
    ) -> bool:
        """Other times of the same status, as when an item is found to have begun earlier; no event.

        A time that is None is kept. False when nothing differs.
        """
        moment = moment_of(at)
        started = checked_optional_time(started_at, "started_at") or self.started_at
        finished = checked_optional_time(finished_at, "finished_at") or self.finished_at
        if (started, finished) == (self.started_at, self.finished_at):
            return False
        self.started_at, self.finished_at = started, finished
        self._changed(moment)
        return True


@dataclass(frozen=True, kw_only=True)
class ItemStateHistory:
    """One status change of an ItemExecution, for good: no version, no soft deletion, never updated.

    `changed_at` is the time of the change, `created_at` the time it was written down; `previous_status` is None
    where there was none.
    """

    id: UUID = field(default_factory=new_id)
    item_execution_id: UUID
    previous_status: ExecutionStatus | None = None
    new_status: ExecutionStatus
    changed_at: datetime = NOT_GIVEN
    created_at: datetime = NOT_GIVEN
    created_by: str | None = None

    def __post_init__(self) -> None:
        checked_id(self.id, "id")
        checked_id(self.item_execution_id, "item_execution_id")
        checked_status(self.new_status, "new_status")
        if self.previous_status is not None:
            checked_status(self.previous_status, "previous_status")
        now = utc_now()
        for name in ("changed_at", "created_at"):
            value = getattr(self, name)
            object.__setattr__(self, name, now if value is NOT_GIVEN else checked_time(value, name))


@dataclass(kw_only=True, eq=False)
class ItemExecution(Lifecycle):
    """How one Item fares within one Run, attempt by attempt.

    Every status change leaves an ItemStateHistory, to be taken with `pull_history()` and stored with the change.
    `started_at` is the start of the first attempt; `finished_at` stays None while another attempt is to come.
    """

    run_id: UUID
    batch_execution_id: UUID
    item_id: UUID
    result_payload: Any = None
    error_message: str | None = None
    attempt_count: int = 0
    max_attempts: int | None = None
    _history: list[ItemStateHistory] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.run_id, "run_id")
        checked_id(self.batch_execution_id, "batch_execution_id")
        checked_id(self.item_id, "item_id")
        checked_json(self.result_payload, "result_payload")
        checked_count(self.attempt_count, "attempt_count", least=0)
        if self.max_attempts is not None:
            checked_count(self.max_attempts, "max_attempts", least=0)
            if self.attempt_count > self.max_attempts:
                raise refusal("attempt_count", f"{self.attempt_count} is more than max_attempts, {self.max_attempts}")

    def start(self, at: datetime | None = None) -> None:
        """Begin the next attempt; refused when `max_attempts` have been made."""
        moment = self._check(ExecutionStatus.PROCESSING, at)
        if self.max_attempts is not None and self.attempt_count >= self.max_attempts:
            raise InvalidStateError(
                f"{self._label()} has made {self.attempt_count} of {self.max_attempts} attempts and cannot start "
                "again; allow one more with expect_attempts() or end it with fail()"
            )
        self.attempt_count += 1
        self._enter(ExecutionStatus.PROCESSING, moment)

    def complete(self, result_payload: Any = None, at: datetime | None = None) -> None:
        """End well, with an optional result."""
        moment = self._check(ExecutionStatus.COMPLETED, at)
        self.result_payload = checked_json(result_payload, "result_payload")
        self._enter(ExecutionStatus.COMPLETED, moment)

    def fail(self, error_message: str | None = None, at: datetime | None = None) -> None:
        """End this attempt in failure: RETRYING while `max_attempts` allows another, else FAILED."""
        self._fail(ExecutionStatus.RETRYING if self.can_retry() else ExecutionStatus.FAILED, error_message, at)

    def give_up(self, error_message: str | None = None, at: datetime | None = None) -> None:
        """End in failure for good, whatever `max_attempts` would still allow; also while waiting for a retry."""
        self._fail(ExecutionStatus.FAILED, error_message, at)

    def cancel(self, at: datetime | None = None) -> None:
        """Stop; also before the start or between attempts."""
        self._enter(ExecutionStatus.CANCELLED, self._check(ExecutionStatus.CANCELLED, at))

    def can_retry(self) -> bool:
        """Whether another attempt is allowed. Without `max_attempts` there is none."""
        return not self.status.is_ended and self.max_attempts is not None and self.attempt_count < self.max_attempts

    def expect_attempts(self, max_attempts: int, at: datetime | None = None) -> None:
        """Set `max_attempts` from evidence, such as whether the engine will try again; never below `attempt_count`."""
        moment = moment_of(at)
        expected = max(checked_count(max_attempts, "max_attempts", least=0), self.attempt_count)
        if expected != self.max_attempts:
            self.max_attempts = expected
            self._changed(moment)

    def restate(
        self,
        *,
        result_payload: Any = KEEP,
        error_message: str | Keep | None = KEEP,
        started_at: datetime | Keep | None = KEEP,
        finished_at: datetime | Keep | None = KEEP,
        at: datetime | None = None,
    ) -> bool:
        """The same status told more exactly, as when the message comes after the end: no event, no history.

        What is left out is kept. False when nothing differs.
        """
        moment = moment_of(at)
        told = {
            "result_payload": result_payload,
            "error_message": error_message,
            "started_at": started_at,
            "finished_at": finished_at,
        }
        news = {
            name: value
            for name, value in told.items()
            if value is not KEEP and not same_json(value, getattr(self, name))
        }
        if not news:
            return False
        checked_json(news.get("result_payload"), "result_payload")
        for name in ("started_at", "finished_at"):
            if name in news:
                news[name] = checked_optional_time(news[name], name)
        for name, value in news.items():
            setattr(self, name, value)
        self._changed(moment)
        return True

    def pull_history(self) -> list[ItemStateHistory]:
        """The status changes since the last call, oldest first; they are handed over once."""
        history, self._history = self._history, []
        return history

    def _fail(self, target: ExecutionStatus, error_message: str | None, at: datetime | None) -> None:
        moment = self._check(target, at)
        self.error_message = error_message
        self._enter(target, moment)
        self._record(
            ItemExecutionFailed(
                occurred_at=moment,
                item_execution_id=self.id,
                run_id=self.run_id,
                batch_execution_id=self.batch_execution_id,
                item_id=self.item_id,
                status=target,
                attempt=self.attempt_count,
                error_message=error_message,
            )
        )

    def _enter(self, target: ExecutionStatus, moment: datetime) -> None:
        previous_status = self.status
        super()._enter(target, moment)
        self._history.append(
            ItemStateHistory(
                item_execution_id=self.id, previous_status=previous_status, new_status=target, changed_at=moment
            )
        )


# --- the end of a Run -------------------------------------------------------------------------------------------

_S = ExecutionStatus

RUN_END_EFFECT: Mapping[tuple[ExecutionStatus, ExecutionStatus], ExecutionStatus] = MappingProxyType(
    {
        # the Run is, an execution is: the execution becomes
        (_S.CANCELLED, _S.PENDING): _S.CANCELLED,
        (_S.CANCELLED, _S.PROCESSING): _S.CANCELLED,
        (_S.CANCELLED, _S.RETRYING): _S.CANCELLED,
        (_S.FAILED, _S.PENDING): _S.CANCELLED,
        (_S.FAILED, _S.PROCESSING): _S.FAILED,
        (_S.FAILED, _S.RETRYING): _S.FAILED,
    }
)
"""What an ended Run does to its batch and item executions; a pair that is not named stays as it is."""


def settle_executions(
    run: Run,
    batch_executions: Iterable[BatchExecution],
    item_executions: Iterable[ItemExecution],
    at: datetime | None = None,
) -> list[BatchExecution | ItemExecution]:
    """Apply RUN_END_EFFECT to the executions of an ended Run, and return those that changed, items first.

    Raises InvalidStateError while the Run is open, and ValidationError for an execution of another Run.
    """
    if not run.status.is_ended:
        raise InvalidStateError(f"Run {run.id} is {run.status}; its executions are settled when it has ended")
    moment = moment_of(at)
    executions: list[BatchExecution | ItemExecution] = [*item_executions, *batch_executions]
    for execution in executions:
        if execution.run_id != run.id:
            raise refusal("run_id", f"{type(execution).__name__} {execution.id} belongs to Run {execution.run_id}")
    return [execution for execution in executions if _settle(execution, run, moment)]


def _settle(execution: BatchExecution | ItemExecution, run: Run, moment: datetime) -> bool:
    effect = RUN_END_EFFECT.get((run.status, execution.status))
    if effect is ExecutionStatus.CANCELLED:
        execution.cancel(moment)
    elif effect is ExecutionStatus.FAILED and isinstance(execution, ItemExecution):
        execution.give_up(f"run failed: {run.error_summary or 'no reason given'}", moment)
    elif effect is ExecutionStatus.FAILED and isinstance(execution, BatchExecution):
        execution.fail(moment)
    return effect is not None
