"""Run, one execution of an Automation. Come here for what a Run may do and which events it leaves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from runlink.domain.entity import RepeatableLifecycle
from runlink.domain.errors import InvalidStateError
from runlink.domain.events import Evidence, RunCancelled, RunCompleted, RunFailed, RunReopened, RunSilent, RunStarted
from runlink.domain.status import ExecutionStatus
from runlink.domain.values import (
    KEEP,
    Keep,
    checked_id,
    checked_optional_time,
    checked_text,
    checked_time,
    moment_of,
    refusal,
)

MAX_KEY_LENGTH: Final = 500
"""Characters of a key, a Run's `correlation_id`: longer ones fit no index, and a rule that finds one fails."""
_REASON = {ExecutionStatus.FAILED: "error_summary", ExecutionStatus.CANCELLED: "cancellation_reason"}


def checked_key(value: str) -> str:
    """A key that somebody gives for a Run, as rules find it: without white space round it. Raises ValidationError."""
    text = checked_text(value, "correlation_id")
    if len(text) > MAX_KEY_LENGTH:
        raise refusal("correlation_id", f"has {len(text)} characters; at most {MAX_KEY_LENGTH} can be kept")
    return text


@dataclass(kw_only=True, eq=False)
class Run(RepeatableLifecycle):
    """One execution of an Automation, whichever engines carry it out.

    Every transition is one change, takes its time as `at` (now when left out) and what it was concluded from as
    `because`, and raises InvalidStateError, changing nothing, when the status does not allow it. `silent_since` is when
    the last news came, of an open Run that was flagged for it.
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

    def start(self, at: datetime | None = None, because: Evidence | None = None) -> None:
        """Begin."""
        moment = self._check(ExecutionStatus.PROCESSING, at)
        self._enter(ExecutionStatus.PROCESSING, moment)
        self._record(RunStarted(**self._facts(moment, because)))

    def complete(self, at: datetime | None = None, because: Evidence | None = None) -> None:
        """End well."""
        moment = self._check(ExecutionStatus.COMPLETED, at)
        self._enter(ExecutionStatus.COMPLETED, moment)
        self._record(RunCompleted(**self._facts(moment, because)))

    def fail(
        self, error_summary: str | None = None, at: datetime | None = None, because: Evidence | None = None
    ) -> None:
        """End in failure."""
        moment = self._check(ExecutionStatus.FAILED, at)
        self.error_summary = error_summary
        self._enter(ExecutionStatus.FAILED, moment)
        self._record(RunFailed(**self._facts(moment, because), error_summary=error_summary))

    def cancel(self, reason: str | None = None, at: datetime | None = None, because: Evidence | None = None) -> None:
        """Stop; also before the start."""
        moment = self._check(ExecutionStatus.CANCELLED, at)
        self.cancellation_reason = reason
        self._enter(ExecutionStatus.CANCELLED, moment)
        self._record(RunCancelled(**self._facts(moment, because), cancellation_reason=reason))

    def restate(
        self,
        *,
        reason: str | Keep | None = KEEP,
        started_at: datetime | None = None,
        finished_at: datetime | None = None,
        at: datetime | None = None,
    ) -> bool:
        """What is now known better of the present state: an earlier start, another end of the same kind or another
        reason for it, as when a second instance is found to have failed, too. No event.

        `reason` replaces `error_summary` or `cancellation_reason`; a time that is None is kept. False when nothing
        differs. Refused with InvalidStateError where the status has no such reason or no end.
        """
        moment = moment_of(at)
        told: dict[str, Any] = {}
        if reason is not KEEP:
            if self.status not in _REASON:
                raise InvalidStateError(
                    f"{self._label()} is {self.status}; only a failed or cancelled one has a reason"
                )
            told[_REASON[self.status]] = reason
        if started_at is not None:
            told["started_at"] = checked_time(started_at, "started_at")
        if finished_at is not None:
            if not self.status.is_ended:
                raise InvalidStateError(f"{self._label()} is {self.status}; only an ended one has an end")
            told["finished_at"] = checked_time(finished_at, "finished_at")
        news = {name: value for name, value in told.items() if getattr(self, name) != value}
        for name, value in news.items():
            setattr(self, name, value)
        if news:
            self._changed(moment)
        return bool(news)

    def reopen(
        self,
        attempt: int,
        at: datetime | None = None,
        because: Evidence | None = None,
        status: ExecutionStatus = ExecutionStatus.PROCESSING,
    ) -> None:
        """Go on after the end, as a higher attempt, without the earlier end's time and reasons: PROCESSING, or PENDING
        where it had never begun."""
        if status is not ExecutionStatus.PROCESSING and not (
            status is ExecutionStatus.PENDING and self.started_at is None
        ):
            raise refusal("status", f"a run is reopened as PROCESSING, or as PENDING before its start, not {status!r}")
        moment = self._check_reopen(attempt, at)
        previous_status = self.status
        self.attempt = attempt
        self.finished_at = self.error_summary = self.cancellation_reason = None
        self._enter(status, moment)
        self._record(RunReopened(**self._facts(moment, because), previous_status=previous_status, new_status=status))

    def flag_silent(self, since: datetime, at: datetime | None = None) -> bool:
        """Note that nothing was learnt about it since `since`. False when that is noted already; refused with
        InvalidStateError when it has ended. Any transition, or `hear`, takes the flag back."""
        moment = moment_of(at)
        if self.status.is_ended:
            raise InvalidStateError(f"{self._label()} is {self.status}; what has ended is not waited for")
        if self.silent_since is not None:
            return False
        self.silent_since = checked_time(since, "since")
        self._changed(moment)
        self._record(RunSilent(**self._facts(moment, None), silent_since=self.silent_since))
        return True

    def hear(self, at: datetime | None = None) -> bool:
        """There was news: it is silent no more. False when it was not flagged."""
        moment = moment_of(at)
        if self.silent_since is None:
            return False
        self.silent_since = None
        self._changed(moment)
        return True

    def _enter(self, target: ExecutionStatus, moment: datetime) -> None:
        self.silent_since = None
        super()._enter(target, moment)

    def _facts(self, moment: datetime, because: Evidence | None) -> dict[str, Any]:
        return {
            "occurred_at": moment,
            "run_id": self.id,
            "automation_id": self.automation_id,
            "correlation_id": self.correlation_id,
            "attempt": self.attempt,
            "because": because,
        }
