"""Run, one execution of an Automation. Come here for what a Run may do and which events it leaves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.domain.entity import RepeatableLifecycle
from runlink.domain.errors import InvalidStateError
from runlink.domain.events import RunCancelled, RunCompleted, RunFailed, RunReopened, RunStarted
from runlink.domain.status import ExecutionStatus
from runlink.domain.values import checked_id, checked_optional_time, moment_of


@dataclass(kw_only=True, eq=False)
class Run(RepeatableLifecycle):
    """One execution of an Automation, whichever engines carry it out.

    Every transition is one change, takes its time as `at` (now when left out), and raises InvalidStateError,
    changing nothing, when the status does not allow it.
    """

    automation_id: UUID
    correlation_id: str | None = None
    cancellation_reason: str | None = None
    error_summary: str | None = None
    silent_since: datetime | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.automation_id, "automation_id")
        self.silent_since = checked_optional_time(self.silent_since, "silent_since")

    def start(self, at: datetime | None = None) -> None:
        """Begin."""
        moment = self._check(ExecutionStatus.PROCESSING, at)
        self._enter(ExecutionStatus.PROCESSING, moment)
        self._record(RunStarted(**self._facts(moment)))

    def complete(self, at: datetime | None = None) -> None:
        """End well."""
        moment = self._check(ExecutionStatus.COMPLETED, at)
        self._enter(ExecutionStatus.COMPLETED, moment)
        self._record(RunCompleted(**self._facts(moment)))

    def fail(self, error_summary: str | None = None, at: datetime | None = None) -> None:
        """End in failure."""
        moment = self._check(ExecutionStatus.FAILED, at)
        self.error_summary = error_summary
        self._enter(ExecutionStatus.FAILED, moment)
        self._record(RunFailed(**self._facts(moment), error_summary=error_summary))

    def cancel(self, reason: str | None = None, at: datetime | None = None) -> None:
        """Stop; also before the start."""
        moment = self._check(ExecutionStatus.CANCELLED, at)
        self.cancellation_reason = reason
        self._enter(ExecutionStatus.CANCELLED, moment)
        self._record(RunCancelled(**self._facts(moment), cancellation_reason=reason))

    def restate(self, reason: str | None, finished_at: datetime | None = None, at: datetime | None = None) -> bool:
        """Another reason for the same end, as when a second instance is found to have failed, too; no event.

        Replaces `error_summary` or `cancellation_reason`, and `finished_at` when it is given. False when the reason is
        the known one; refused with InvalidStateError unless the Run has failed or was cancelled.
        """
        moment = moment_of(at)
        kept = {ExecutionStatus.FAILED: "error_summary", ExecutionStatus.CANCELLED: "cancellation_reason"}
        if self.status not in kept:
            raise InvalidStateError(f"{self._label()} is {self.status}; only a failed or cancelled one has a reason")
        if getattr(self, kept[self.status]) == reason:
            return False
        setattr(self, kept[self.status], reason)
        self.finished_at = checked_optional_time(finished_at, "finished_at") or self.finished_at
        self._changed(moment)
        return True

    def reopen(self, attempt: int, at: datetime | None = None) -> None:
        """Go on after the end, as a higher attempt: PROCESSING, without the earlier end's time and reasons."""
        moment = self._check_reopen(attempt, at)
        previous_status = self.status
        self.attempt = attempt
        self.finished_at = self.error_summary = self.cancellation_reason = None
        self._enter(ExecutionStatus.PROCESSING, moment)
        self._record(RunReopened(**self._facts(moment), previous_status=previous_status))

    def _facts(self, moment: datetime) -> dict[str, Any]:
        return {
            "occurred_at": moment,
            "run_id": self.id,
            "automation_id": self.automation_id,
            "correlation_id": self.correlation_id,
            "attempt": self.attempt,
        }
