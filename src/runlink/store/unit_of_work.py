"""One transaction with its repositories. Made by `SqlStore.unit_of_work`, `write` and `reading`."""

from __future__ import annotations

from functools import cached_property
from typing import Final, TypeVar

import sqlalchemy as sa

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    DomainEntity,
    Engine,
    Item,
    ItemExecution,
    OrchestrationInstance,
    Run,
    RunOrchestration,
)
from runlink.store import mapping
from runlink.store.access import Access, Audit, IdempotencyKeys
from runlink.store.deliveries import Deliveries
from runlink.store.event_log import Committed, EventLog
from runlink.store.feed_health import FeedHealth
from runlink.store.ledger import SqlLedger
from runlink.store.listings import Listings
from runlink.store.outbox import NewEvents, Outbox
from runlink.store.reports import Reports
from runlink.store.repositories import EntityRepository, HistoryRepository
from runlink.store.subscriptions import Subscriptions

E = TypeVar("E", bound=DomainEntity)
TOLD_AT_ONCE: Final = 100
"""Of how many events of one transaction is told what they are about: whoever wants to know of more reads them."""


class SqlUnitOfWork:
    """One transaction; `actor` is written to `created_by` and `updated_by` of whatever it writes."""

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self.connection = connection
        self.actor = actor[:200]
        self._events = NewEvents(connection)

    def finish(self, *, heard: bool) -> Committed:
        """Writes down what waits for the end of the transaction, and gives its events. Commit at once after it.

        heard   whether somebody wants to know what they are about
        """
        events = self._events.waiting
        about = self.event_log.about(events) if heard and len(events) <= TOLD_AT_ONCE else None
        return Committed(self._events.write(), about)

    @cached_property
    def automations(self) -> EntityRepository[Automation]:
        return self._repository(mapping.AUTOMATION)

    @cached_property
    def batches(self) -> EntityRepository[Batch]:
        return self._repository(mapping.BATCH)

    @cached_property
    def items(self) -> EntityRepository[Item]:
        return self._repository(mapping.ITEM)

    @cached_property
    def runs(self) -> EntityRepository[Run]:
        return self._repository(mapping.RUN)

    @cached_property
    def batch_executions(self) -> EntityRepository[BatchExecution]:
        return self._repository(mapping.BATCH_EXECUTION)

    @cached_property
    def item_executions(self) -> EntityRepository[ItemExecution]:
        return self._repository(mapping.ITEM_EXECUTION)

    @cached_property
    def item_state_history(self) -> HistoryRepository:
        return HistoryRepository(self.connection, self.actor)

    @cached_property
    def engines(self) -> EntityRepository[Engine]:
        return self._repository(mapping.ENGINE)

    @cached_property
    def orchestration_instances(self) -> EntityRepository[OrchestrationInstance]:
        return self._repository(mapping.INSTANCE)

    @cached_property
    def run_orchestrations(self) -> EntityRepository[RunOrchestration]:
        return self._repository(mapping.LINK)

    @cached_property
    def ledger(self) -> SqlLedger:
        """The bulk side."""
        return SqlLedger(self.connection, self._events)

    @cached_property
    def outbox(self) -> Outbox:
        """The subscribers' side of the outbox."""
        return Outbox(self.connection)

    @cached_property
    def deliveries(self) -> Deliveries:
        """What engines pushed."""
        return Deliveries(self.connection)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """What subscriptions are to be told."""
        return Subscriptions(self.connection)

    @cached_property
    def event_log(self) -> EventLog:
        """The outbox as its readers see it."""
        return EventLog(self.connection)

    @cached_property
    def feed_health(self) -> FeedHealth:
        """How each engine's feeds are doing."""
        return FeedHealth(self.connection)

    @cached_property
    def access(self) -> Access:
        """Tokens and sessions."""
        return Access(self.connection)

    @cached_property
    def idempotency_keys(self) -> IdempotencyKeys:
        """What repeated requests made the first time."""
        return IdempotencyKeys(self.connection, self.actor)

    @cached_property
    def audit(self) -> Audit:
        """Who changed what."""
        return Audit(self.connection, self.actor)

    @cached_property
    def listings(self) -> Listings:
        """What the API lists and shows."""
        return Listings(self.connection)

    @cached_property
    def reports(self) -> Reports:
        """Joined, read-only listings for people and programs."""
        return Reports(self.connection)

    def _repository(self, kind: mapping.EntityMapping[E]) -> EntityRepository[E]:
        return EntityRepository(self.connection, kind, self.actor, self._events)
