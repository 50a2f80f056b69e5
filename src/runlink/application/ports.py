"""What the use cases ask of the store, as protocols, and the plain rows that pass between them.

The store implements these; the application imports nothing of it. Everything here is bulk: lists in, lists out, a
handful of statements whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from runlink.application.access import Token
from runlink.application.items_ports import ItemLedger
from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    DomainEntity,
    DomainEvent,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
    OrchestrationInstance,
    Run,
    RunOrchestration,
)
from runlink.spi import Step

E = TypeVar("E", bound=DomainEntity)
T = TypeVar("T")


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


class LinkLedger(Protocol):
    """What linking reads and writes."""

    def known(self, engine_id: UUID, external_ids: Sequence[str]) -> dict[str, Known]: ...
    def tracked(self, ids: Sequence[UUID]) -> dict[UUID, Tracked]: ...
    def children(self, engine_id: UUID, external_ids: Sequence[str]) -> list[Tracked]: ...
    def steps_of(self, instance_ids: Sequence[UUID], external_ids: Sequence[str] | None = None) -> list[StepRow]: ...
    def attempts_of(self, instance_ids: Sequence[UUID]) -> list[AttemptRow]: ...
    def links_of(self, instance_ids: Sequence[UUID]) -> dict[UUID, list[RunOrchestration]]: ...
    def insert_links(self, links: Sequence[RunOrchestration], actor: str) -> None: ...
    def update_links(self, links: Sequence[RunOrchestration], actor: str) -> None: ...
    def insert_correlations(self, rows: Sequence[Correlation]) -> None: ...
    def kin(self, instance_ids: Sequence[UUID], side: str) -> list[Kin]: ...
    def forget_claims(self, instance_ids: Sequence[UUID]) -> None: ...
    def lock_automations(self, ids: Sequence[UUID]) -> None: ...
    def runs_by_key(
        self, automation_id: UUID, keys: Sequence[str], *, timed: bool = True
    ) -> dict[str, list[RunTimes]]: ...
    def insert_waiting(self, rows: Sequence[WaitingKey]) -> None: ...
    def take_waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]: ...
    def insert_runs(self, runs: Sequence[Run], actor: str) -> None: ...
    def engines(self, ids: Sequence[UUID]) -> dict[UUID, Engine]: ...


class Ledger(LinkLedger, ItemLedger, Protocol):
    """The bulk side of a unit of work: what the one write path reads and writes."""

    def check_fence(self, fence: int) -> None: ...
    def open_instances(self, engine_id: UUID) -> list[str]: ...
    def steps_wanted(self, engine_id: UUID, limit: int) -> list[str]: ...
    def insert_instances(self, rows: Sequence[Tracked], actor: str) -> None: ...
    def update_instances(self, rows: Sequence[Tracked], actor: str) -> None: ...
    def store_digests(self, rows: Sequence[tuple[UUID, bytes]]) -> None: ...
    def insert_attempts(self, rows: Sequence[AttemptRow]) -> None: ...
    def upsert_attempts(self, rows: Sequence[AttemptRow]) -> None: ...
    def step_digests(self, instance_ids: Sequence[UUID]) -> dict[tuple[UUID, str, int], bytes]: ...
    def steps(self, instance_ids: Sequence[UUID]) -> dict[UUID, dict[tuple[str, int], Step]]: ...
    def insert_steps(self, rows: Sequence[StepRow]) -> None: ...
    def upsert_steps(self, rows: Sequence[StepRow]) -> None: ...
    def insert_observations(self, rows: Sequence[ObservationRow]) -> None: ...
    def instances_after(
        self, after: UUID | None, *, since: datetime, engine_id: UUID | None, limit: int
    ) -> list[Tracked]: ...
    def count_instances(self, *, since: datetime, engine_id: UUID | None) -> int: ...
    def correlations_of(self, instance_ids: Sequence[UUID], side: str) -> list[Correlation]: ...
    def correlated(self, topics: Iterable[str], values: Iterable[str], side: str) -> list[Correlation]: ...
    def waiting(self, automation_id: UUID, keys: Sequence[str]) -> list[WaitingKey]: ...
    def lock_runs(self, ids: Sequence[UUID]) -> list[Run]: ...
    def update_runs(self, runs: Sequence[Run], actor: str) -> None: ...
    def set_quiet(self, rows: Sequence[tuple[UUID, datetime | None]]) -> None: ...
    def quiet_runs(self, now: datetime, limit: int) -> list[UUID]: ...
    def silent_runs(self, automation_id: UUID, since: datetime, limit: int) -> list[tuple[Run, datetime]]: ...
    def linked(self, run_ids: Sequence[UUID]) -> list[Linked]: ...
    def open_item_executions(self, run_ids: Sequence[UUID]) -> list[ItemExecution]: ...
    def insert_events(self, events: Sequence[DomainEvent], recorded_at: datetime, actor: str) -> None: ...
    def cursors(self, engine_id: UUID, feed: str) -> dict[str, str]: ...
    def store_cursors(self, engine_id: UUID, feed: str, cursors: Mapping[str, str | None], now: datetime) -> None: ...
    def quarantine(self, engine_id: UUID, feed: str, rows: Sequence[Quarantined], now: datetime) -> None: ...
    def automation_ids(self, names: Iterable[str]) -> dict[str, UUID]: ...
    def baseline_at(self, engine_id: UUID) -> datetime | None: ...
    def finish_baseline(self, engine_id: UUID, now: datetime) -> None: ...


class Repository(Protocol[E]):
    """Entities of one kind, one at a time."""

    def add(self, entity: E) -> None: ...
    def get(self, entity_id: UUID) -> E | None: ...
    def update(self, entity: E) -> None: ...
    def delete(self, entity: E, *, at: datetime | None = None) -> None: ...
    def restore(self, entity: E, *, at: datetime | None = None) -> None: ...
    def list(
        self, *, after: UUID | None = None, limit: int = 100, include_inactive: bool = False, **equals: Any
    ) -> list[E]: ...


class History(Protocol):
    """The append-only history of item executions."""

    def add(self, record: ItemStateHistory) -> None: ...
    def get(self, record_id: UUID) -> ItemStateHistory | None: ...
    def list(self, *, after: UUID | None = None, limit: int = 100, **equals: Any) -> list[ItemStateHistory]: ...


class Reports(Protocol):
    """Joined, read-only listings, as plain dicts: times aware, ids as UUID."""

    def instances(
        self,
        *,
        engine: str | None = None,
        workflow: str | None = None,
        status: str | None = None,
        linked: bool | None = None,
        run_id: UUID | None = None,
        since: datetime | None = None,
        before: UUID | None = None,
        limit: int = 50,
        instance_ids: Sequence[UUID] | None = None,
        instance_id: UUID | None = None,
        external_id: str | None = None,
    ) -> list[dict[str, Any]]: ...
    def runs(
        self,
        *,
        automation: str | None = None,
        status: str | None = None,
        correlation_id: str | None = None,
        silent: bool = False,
        before: UUID | None = None,
        limit: int = 50,
        since: datetime | None = None,
        run_id: UUID | None = None,
        linked: bool | None = None,
    ) -> list[dict[str, Any]]: ...
    def candidate_runs(
        self,
        *,
        keys: Sequence[str],
        begin: datetime | None,
        end: datetime | None,
        automation: str | None = None,
        limit: int = 500,
    ) -> list[dict[str, Any]]: ...
    def candidate_instances(
        self, *, begin: datetime | None, end: datetime | None, engine: str | None = None, limit: int = 500
    ) -> list[dict[str, Any]]: ...
    def linked_instances(self, run_ids: Sequence[UUID], *, limit: int = 500) -> list[dict[str, Any]]: ...
    def links(self, *, run_id: UUID | None = None, instance_id: UUID | None = None) -> list[dict[str, Any]]: ...
    def attempts(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]: ...
    def steps(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]: ...
    def observations(self, instance_ids: Sequence[UUID]) -> list[dict[str, Any]]: ...
    def events(
        self, *, run_id: UUID | None = None, until: datetime | None = None, limit: int = 200
    ) -> list[dict[str, Any]]: ...
    def quarantine(
        self, *, engine: str | None = None, external_ids: Sequence[str] | None = None, limit: int = 50
    ) -> list[dict[str, Any]]: ...
    def item_counts(self, run_id: UUID, *, until: datetime | None = None) -> list[dict[str, Any]]: ...
    def feeds(self, engines: Sequence[str]) -> list[dict[str, Any]]: ...


class Access(Protocol):
    """Tokens and sessions."""

    def add_token(self, token: Token, digest: bytes) -> None: ...
    def token(self, digest: bytes) -> Token | None: ...
    def valid_token(self, name: str) -> Token | None: ...
    def revoke(self, token_id: UUID, now: datetime) -> None: ...
    def add_session(self, digest: bytes, token_id: UUID, now: datetime, expires_at: datetime) -> None: ...
    def end_sessions(self, before: datetime) -> None: ...


class Audit(Protocol):
    """Who changed what."""

    def add(
        self,
        action: str,
        subject_type: str,
        subject_id: UUID | None,
        at: datetime,
        *,
        address: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None: ...


class Health(Protocol):
    """How the feeds of engines are doing."""

    def began_at(self) -> datetime | None: ...
    def list(self) -> list[dict[str, Any]]: ...


class Deliveries(Protocol):
    """What engines pushed, as far as taking it in needs it."""

    def due(self, engine_id: UUID, now: datetime, limit: int = 50) -> list[DueDelivery]: ...
    def next_due_at(self, engine_id: UUID) -> datetime | None: ...
    def failed(self, delivery_id: UUID, reason: str, now: datetime, due_at: datetime | None) -> None: ...
    def done(self, ids: Sequence[UUID], now: datetime) -> None: ...


class UnitOfWork(Protocol):
    """One transaction: repositories for single entities, the ledger for bulk."""

    actor: str

    @property
    def automations(self) -> Repository[Automation]: ...
    @property
    def batches(self) -> Repository[Batch]: ...
    @property
    def items(self) -> Repository[Item]: ...
    @property
    def runs(self) -> Repository[Run]: ...
    @property
    def batch_executions(self) -> Repository[BatchExecution]: ...
    @property
    def item_executions(self) -> Repository[ItemExecution]: ...
    @property
    def item_state_history(self) -> History: ...
    @property
    def engines(self) -> Repository[Engine]: ...
    @property
    def orchestration_instances(self) -> Repository[OrchestrationInstance]: ...
    @property
    def run_orchestrations(self) -> Repository[RunOrchestration]: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def reports(self) -> Reports: ...
    @property
    def access(self) -> Access: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def feed_health(self) -> Health: ...


class Store(Protocol):
    """Where everything is kept."""

    def write(self, work: Callable[[Any], T], *, actor: str, urgent: bool = False) -> T: ...
    def reading(self) -> AbstractContextManager[Any]: ...
