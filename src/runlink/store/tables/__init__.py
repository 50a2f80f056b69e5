"""The schema. Whoever needs a column's meaning or an index comes here; migrations are made from this.

The ten tables of `entities` are the ten entities; the rest is what the one write path, the feeds and the server need.
"""

from __future__ import annotations

from runlink.store.tables.columns import IS_WAITING, OPEN_STATUSES, STATUSES, metadata
from runlink.store.tables.entities import (
    IS_OPEN,
    automations,
    batch_executions,
    batches,
    engines,
    item_executions,
    item_state_history,
    items,
    orchestration_instances,
    run_orchestrations,
    runs,
)
from runlink.store.tables.events import WAS_SENT, outbox, retention_marks, subscribers, subscription_events
from runlink.store.tables.feeding import IS_DEAD, WAS_PROCESSED, deliveries, feed_cursors, feeds, leases, quarantine
from runlink.store.tables.instances import (
    correlations,
    instance_attempts,
    instance_steps,
    instance_texts,
    observations,
    run_texts,
    unlinked_instances,
    unlinked_runs,
    waiting_keys,
)
from runlink.store.tables.serving import audit, idempotency_keys, sessions, tokens
from runlink.store.tables.steps_as_items import item_fits, item_keys, item_steps

__all__ = [
    "IS_DEAD",
    "IS_OPEN",
    "IS_WAITING",
    "OPEN_STATUSES",
    "STATUSES",
    "WAS_PROCESSED",
    "WAS_SENT",
    "audit",
    "automations",
    "batch_executions",
    "batches",
    "correlations",
    "deliveries",
    "engines",
    "feed_cursors",
    "feeds",
    "idempotency_keys",
    "instance_attempts",
    "instance_steps",
    "instance_texts",
    "item_executions",
    "item_fits",
    "item_keys",
    "item_state_history",
    "item_steps",
    "items",
    "leases",
    "metadata",
    "observations",
    "orchestration_instances",
    "outbox",
    "quarantine",
    "retention_marks",
    "run_orchestrations",
    "run_texts",
    "runs",
    "sessions",
    "subscribers",
    "subscription_events",
    "tokens",
    "unlinked_instances",
    "unlinked_runs",
    "waiting_keys",
]
