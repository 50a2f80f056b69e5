"""What the one write path reads and writes, in a handful of statements per page: `application.ports.Ledger`."""

from __future__ import annotations

from runlink.store.ledger_feeds import FeedLedger
from runlink.store.ledger_instances import InstanceLedger
from runlink.store.ledger_items import ItemLedger
from runlink.store.ledger_runs import RunLedger


class SqlLedger(InstanceLedger, RunLedger, ItemLedger, FeedLedger):
    """The bulk side of a unit of work."""
