"""What the end of a Run does to its open batch and item executions. Whoever ends Runs comes here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from runlink.application.ports import UnitOfWork
from runlink.domain import BatchExecution, ItemExecution, Run, settle_executions

ACTOR: Final = "rule:roll-up"
"""Who the transitions of Runs, and what their ends settle, are written by. A Run that somebody else ended is left
alone."""


def settle(uow: UnitOfWork, runs: Sequence[Run], now: datetime) -> None:
    """What ended Runs do to their open batch and item executions (RUN_END_EFFECT), in a handful of statements."""
    if not runs:
        return
    batches, items = uow.ledger.open_executions([run.id for run in runs])
    if not (batches or items):
        return
    of_batches: dict[UUID, list[BatchExecution]] = {}
    of_items: dict[UUID, list[ItemExecution]] = {}
    for batch in batches:
        of_batches.setdefault(batch.run_id, []).append(batch)
    for item in items:
        of_items.setdefault(item.run_id, []).append(item)
    for run in runs:
        settle_executions(run, of_batches.get(run.id, ()), of_items.get(run.id, ()), at=run.finished_at)
    batches = [one for one in batches if one.version != one.stored_version]
    items = [one for one in items if one.version != one.stored_version]
    uow.ledger.update_item_executions(items, ACTOR)
    uow.ledger.insert_history([record for one in items for record in one.pull_history()], ACTOR, now)
    uow.ledger.update_batch_executions(batches, ACTOR)
    uow.ledger.insert_events([event for one in (*items, *batches) for event in one.pull_events()], now, ACTOR)
