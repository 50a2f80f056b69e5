"""OrchestrationInstance, one run of a workflow in its engine. Come here for how what an engine tells becomes its state.

`first_seen` and `observe` take what an engine told; the transitions are for those who act on an instance themselves.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self, TypedDict, Unpack
from uuid import UUID

from runlink.domain.entity import RepeatableLifecycle
from runlink.domain.errors import InvalidStateError
from runlink.domain.events import InstanceStatusChanged, InstanceVanished
from runlink.domain.status import ExecutionStatus
from runlink.domain.values import (
    checked_count,
    checked_id,
    checked_optional_time,
    checked_status,
    checked_text,
    checked_time,
    moment_of,
    refusal,
    same_json,
)


class InstanceFacts(TypedDict, total=False):
    """What an engine may tell of an instance beside its status; left out or None: not told."""

    attempt: int | None
    observed_at: datetime | None
    native_status: str | None
    started_at: datetime | None
    finished_at: datetime | None
    queued_at: datetime | None
    workflow: str | None
    url: str | None
    message: str | None
    revision: str | None
    parent_external_id: str | None
    parameters: dict[str, Any] | None
    labels: dict[str, Any] | None
    metadata: dict[str, Any] | None


_FACTS: Final = frozenset(InstanceFacts.__annotations__)
_TIMES: Final = ("started_at", "finished_at", "queued_at", "observed_at")


@dataclass(kw_only=True, eq=False)
class OrchestrationInstance(RepeatableLifecycle):
    """One run of a workflow in an external engine, as far as it is known.

    `queued_at`, `started_at`, `finished_at` are the engine's times, `native_status` its word for `status`, and
    `revision` its own ordering where it has one. `observed_at` is when the host began the latest read that told of it;
    `vanished_at` when the engine was found to have it no more, though it had not ended.
    """

    engine_id: UUID
    external_id: str
    duration_seconds: float | None = None
    instance_metadata: dict[str, Any] | None = None
    workflow: str | None = None
    native_status: str | None = None
    url: str | None = None
    message: str | None = None
    revision: str | None = None
    parent_external_id: str | None = None
    parameters: dict[str, Any] | None = None
    labels: dict[str, Any] | None = None
    queued_at: datetime | None = None
    observed_at: datetime | None = None
    vanished_at: datetime | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_id(self.engine_id, "engine_id")
        self.external_id = checked_text(self.external_id, "external_id")
        self.queued_at = checked_optional_time(self.queued_at, "queued_at")
        self.observed_at = checked_optional_time(self.observed_at, "observed_at")
        self.vanished_at = checked_optional_time(self.vanished_at, "vanished_at")

    # --- what the engine tells ----------------------------------------------------------------------------------

    @classmethod
    def first_seen(
        cls,
        engine_id: UUID,
        external_id: str,
        status: ExecutionStatus,
        *,
        at: datetime,
        **facts: Unpack[InstanceFacts],
    ) -> Self:
        """An instance seen for the first time, at version 1 in the status it was seen in, with its event.

        Only times that were told are known; `finished_at` counts for an ended status alone.
        """
        moment = checked_time(at, "at")
        told = _told(facts)
        if not checked_status(status).is_ended:
            told.pop("finished_at", None)
        instance = cls(
            engine_id=engine_id, external_id=external_id, status=status, created_at=moment, updated_at=moment, **told
        )
        instance._measure()
        instance._record_status(None, moment)
        return instance

    def observe(self, status: ExecutionStatus, *, at: datetime, **facts: Unpack[InstanceFacts]) -> bool:
        """Take in the state the engine shows now; False when it is what was known. All of it is one change.

        What is not told is kept. A status is reached by the legal steps in between, a higher attempt from its
        beginning, without the times and message of the one before. Raises InvalidStateError, changing nothing, when
        no way leads to the status or the attempt is a lower one. `at` stands in for a time that was not told only
        where the host watched it come about: the start when it is now PROCESSING, the end when it has now ended.
        A sighting takes back `vanish`. `observed_at`, which only moves forward, and `revision` are no change by
        themselves.
        """
        moment = checked_time(at, "at")
        told = _told(facts)
        observed_at: datetime | None = told.pop("observed_at", None)
        revision: str | None = told.pop("revision", self.revision)
        attempt = checked_count(told.get("attempt", self.attempt), "attempt", least=1)
        path = self._path_to(checked_status(status), attempt)
        renewed = attempt > self.attempt
        moved = renewed or bool(path)
        if not status.is_ended:
            told.pop("finished_at", None)
        elif moved:
            told.setdefault("finished_at", moment)
        if moved and status is ExecutionStatus.PROCESSING and (renewed or self.started_at is None):
            told.setdefault("started_at", moment)
        if renewed:
            told = {"started_at": None, "finished_at": None, "duration_seconds": None, "message": None} | told
        told |= {"status": status, "vanished_at": None}

        previous_status = self.status
        changed = self._take(told)
        if observed_at is not None and (self.observed_at is None or observed_at > self.observed_at):
            self.observed_at = observed_at
        self.revision = revision
        if changed:
            self._changed(moment)
        if moved:
            self._record_status(previous_status, moment, path[:-1])
        return changed

    def fill_in(self, *, at: datetime, **facts: Unpack[InstanceFacts]) -> bool:
        """Take from an earlier state, which a later one has overtaken on its way, what is not known otherwise; False
        when that is nothing. The status stays as it is.

        The start counts for the present attempt alone, and only where it does not lie behind the end.
        """
        told = _told(facts)
        names = ("workflow", "url", "parent_external_id", "parameters", "labels", "instance_metadata", "queued_at")
        news = {name: told[name] for name in names if name in told and getattr(self, name) is None}
        started_at: datetime | None = told.get("started_at")
        is_present = self.started_at is None and told.get("attempt", self.attempt) == self.attempt
        if is_present and started_at is not None and started_at <= (self.finished_at or started_at):
            news["started_at"] = started_at
        if changed := self._take(news):
            self._changed(checked_time(at, "at"))
        return changed

    def vanish(self, at: datetime | None = None) -> bool:
        """Note that the engine no longer has it. False when that is noted already; refused when it has ended."""
        moment = moment_of(at)
        if self.status.is_ended:
            raise InvalidStateError(f"{self._label()} is {self.status}; what has ended cannot vanish any more")
        if self.vanished_at is not None:
            return False
        self.vanished_at = moment
        self._changed(moment)
        self._record(
            InstanceVanished(
                occurred_at=moment,
                orchestration_instance_id=self.id,
                engine_id=self.engine_id,
                external_id=self.external_id,
                attempt=self.attempt,
                native_status=self.native_status,
                last_status=self.status,
            )
        )
        return True

    def rename(self, external_id: str, at: datetime | None = None) -> bool:
        """Take the id that supersedes the present one, as when a queue item became a build. False when it has it."""
        moment = moment_of(at)
        external_id = checked_text(external_id, "external_id")
        if external_id == self.external_id:
            return False
        self.external_id = external_id
        self._changed(moment)
        return True

    # --- transitions --------------------------------------------------------------------------------------------

    def start(self, at: datetime | None = None) -> None:
        """Begin."""
        self._enter(ExecutionStatus.PROCESSING, self._check(ExecutionStatus.PROCESSING, at))

    def complete(self, at: datetime | None = None) -> None:
        """End well."""
        self._enter(ExecutionStatus.COMPLETED, self._check(ExecutionStatus.COMPLETED, at))

    def fail(self, message: str | None = None, at: datetime | None = None) -> None:
        """End in failure; without a message the known one stays."""
        moment = self._check(ExecutionStatus.FAILED, at)
        self.message = self.message if message is None else message
        self._enter(ExecutionStatus.FAILED, moment)

    def cancel(self, at: datetime | None = None) -> None:
        """Stop; also before the start."""
        self._enter(ExecutionStatus.CANCELLED, self._check(ExecutionStatus.CANCELLED, at))

    def reopen(
        self, attempt: int, at: datetime | None = None, status: ExecutionStatus = ExecutionStatus.PROCESSING
    ) -> None:
        """Begin again after the end, as a higher attempt: PROCESSING from `at`, or PENDING without a start."""
        if status not in (ExecutionStatus.PENDING, ExecutionStatus.PROCESSING):
            raise refusal("status", f"an instance is reopened as PENDING or PROCESSING, not {status!r}")
        moment = self._check_reopen(attempt, at)
        self.attempt = attempt
        self.started_at = self.finished_at = self.duration_seconds = self.message = None
        self._enter(status, moment)

    # --- inside -------------------------------------------------------------------------------------------------

    def _path_to(self, status: ExecutionStatus, attempt: int) -> tuple[ExecutionStatus, ...]:
        """The statuses to enter; a higher attempt sets out from PENDING."""
        if attempt < self.attempt:
            raise InvalidStateError(
                f"{self._label()} ({self.external_id!r}) is at attempt {self.attempt}; "
                f"attempt {attempt} is over and cannot be observed any more"
            )
        origin = self.status if attempt == self.attempt else ExecutionStatus.PENDING
        path = origin.path_to(status)
        if path is None:
            raise self._illegal(status)
        return path

    def _take(self, told: dict[str, Any]) -> bool:
        """Keep what differs from what is known; whether anything did."""
        known = self.__dict__
        news = {field: value for field, value in told.items() if not same_json(value, known[field])}
        for field, value in news.items():
            setattr(self, field, value)
        if "started_at" in news or "finished_at" in news:
            self._measure()
        return bool(news)

    def _enter(self, target: ExecutionStatus, moment: datetime) -> None:
        previous_status = self.status
        super()._enter(target, moment)
        self.vanished_at = None
        self._measure()
        self._record_status(previous_status, moment)

    def _measure(self) -> None:
        """The duration from the engine's times; clocks that disagree make it 0, never less."""
        if self.started_at is not None and self.finished_at is not None:
            self.duration_seconds = max(0.0, (self.finished_at - self.started_at).total_seconds())

    def _record_status(
        self, previous_status: ExecutionStatus | None, moment: datetime, passed: tuple[ExecutionStatus, ...] = ()
    ) -> None:
        self._record(
            InstanceStatusChanged(
                occurred_at=moment,
                orchestration_instance_id=self.id,
                engine_id=self.engine_id,
                external_id=self.external_id,
                attempt=self.attempt,
                native_status=self.native_status,
                previous_status=previous_status,
                new_status=self.status,
                passed=passed,
                started_at=self.started_at,
                finished_at=self.finished_at,
                message=self.message,
            )
        )


def _told(facts: InstanceFacts) -> dict[str, Any]:
    """The facts that were told, by field, times in UTC. An unknown name is a mistake in the call: TypeError."""
    if not facts.keys() <= _FACTS:
        raise TypeError(f"no such fact of an instance: {', '.join(sorted(facts.keys() - _FACTS))}")
    told: dict[str, Any] = {name: value for name, value in facts.items() if value is not None}
    for name in _TIMES:
        if name in told:
            told[name] = checked_time(told[name], name)
    if "metadata" in told:
        told["instance_metadata"] = told.pop("metadata")
    return told
