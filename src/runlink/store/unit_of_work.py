"""One transaction with its repositories. Made by `SqlStore.unit_of_work`, `write` and `reading`."""

from __future__ import annotations

from functools import cached_property

import sqlalchemy as sa

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
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
from runlink.store.event_log import EventLog
from runlink.store.feed_health import FeedHealth
from runlink.store.ledger import SqlLedger
from runlink.store.listings import Listings
from runlink.store.outbox import Outbox
from runlink.store.reports import Reports
from runlink.store.repositories import EntityRepository, HistoryRepository
from runlink.store.subscriptions import Subscriptions


class SqlUnitOfWork:
    """One transaction; `actor` is written to `created_by` and `updated_by` of whatever it writes."""

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self.connection = connection
        self.actor = actor[:200]

    @cached_property
    def automations(self) -> EntityRepository[Automation]:
        return EntityRepository(self.connection, mapping.AUTOMATION, self.actor)

    @cached_property
    def batches(self) -> EntityRepository[Batch]:
        return EntityRepository(self.connection, mapping.BATCH, self.actor)

    @cached_property
    def items(self) -> EntityRepository[Item]:
        return EntityRepository(self.connection, mapping.ITEM, self.actor)

    @cached_property
    def runs(self) -> EntityRepository[Run]:
        return EntityRepository(self.connection, mapping.RUN, self.actor)

    @cached_property
    def batch_executions(self) -> EntityRepository[BatchExecution]:
        return EntityRepository(self.connection, mapping.BATCH_EXECUTION, self.actor)

    @cached_property
    def item_executions(self) -> EntityRepository[ItemExecution]:
        return EntityRepository(self.connection, mapping.ITEM_EXECUTION, self.actor)

    @cached_property
    def item_state_history(self) -> HistoryRepository:
        return HistoryRepository(self.connection, self.actor)

    @cached_property
    def engines(self) -> EntityRepository[Engine]:
        return EntityRepository(self.connection, mapping.ENGINE, self.actor)

    @cached_property
    def orchestration_instances(self) -> EntityRepository[OrchestrationInstance]:
        return EntityRepository(self.connection, mapping.INSTANCE, self.actor)

    @cached_property
    def run_orchestrations(self) -> EntityRepository[RunOrchestration]:
        return EntityRepository(self.connection, mapping.LINK, self.actor)

    @cached_property
    def ledger(self) -> SqlLedger:
        """The bulk side."""
        return SqlLedger(self.connection)

    @cached_property
    def outbox(self) -> Outbox:
        """The relay's side of the outbox."""
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
