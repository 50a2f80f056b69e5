"""What the one write path reads and writes, in a handful of statements per page: `application.ports.Ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from runlink.domain import DomainEvent
from runlink.store.ledger.feeds import FeedLedger
from runlink.store.ledger.instances import InstanceLedger
from runlink.store.ledger.items import ItemLedger
from runlink.store.ledger.runs import RunLedger
from runlink.store.outbox import NewEvents


class SqlLedger(InstanceLedger, RunLedger, ItemLedger, FeedLedger):
    """The bulk side of a unit of work."""

    def __init__(self, connection: sa.Connection, events: NewEvents) -> None:
        super().__init__(connection)
        self._events = events

    def insert_events(self, events: Sequence[DomainEvent], recorded_at: datetime, actor: str) -> None:
        """Events to the outbox, in order, at the end of the transaction."""
        self._events.add(events, recorded_at, actor)
