"""What the end of a Run does to its batch and item executions. Whoever ends Runs comes here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from runlink.application.items.rows import ACTOR as ITEMS
from runlink.application.items.rows import Tallied
from runlink.application.ports import Ledger, UnitOfWork
from runlink.domain import BatchExecution, ExecutionStatus, ItemExecution, Run, settle_executions

ACTOR: Final = "rule:roll-up"
"""Who the transitions of Runs, and what their ends settle, are written by. A Run that somebody else ended is left
alone."""


def is_stopped(run: Run) -> bool:
    """Whether it ended such that nothing of it goes on."""
    return run.status in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)


def settle(uow: UnitOfWork, runs: Sequence[Run], now: datetime) -> None:
    """What ended Runs do to their open batch and item executions (RUN_END_EFFECT), in a handful of statements.

    A batch execution that follows its items becomes what they are then: the order in which they ended, and the Run did,
    makes no difference.
    """
    if not runs:
        return
    items = uow.ledger.open_item_executions([run.id for run in runs])
    batches = [one for one in uow.ledger.batch_executions([run.id for run in runs]) if one.is_active]
    followed = [one for one in batches if _is_followed(one)]
    _settle_open(uow, runs, [one for one in batches if not _is_followed(one)], items, now)
    if followed:
        _settle_followed(uow, {run.id: run for run in runs}, followed, now)


def tallies_of(ledger: Ledger, run_ids: Sequence[UUID]) -> dict[UUID, list[Tallied]]:
    """The active item executions of these Runs, counted, by batch execution."""
    found: dict[UUID, list[Tallied]] = {}
    for tallied in ledger.tallies(run_ids):
        found.setdefault(tallied.batch_execution_id, []).append(tallied)
    return found


def _is_followed(batch: BatchExecution) -> bool:
    """Whether items rules moved it, and nobody else ended it since."""
    return batch.updated_by == ITEMS or (batch.updated_by == ACTOR and batch.created_by == ITEMS)


def _settle_open(
    uow: UnitOfWork,
    runs: Sequence[Run],
    batches: Sequence[BatchExecution],
    items: Sequence[ItemExecution],
    now: datetime,
) -> None:
    of_batches: dict[UUID, list[BatchExecution]] = {}
    of_items: dict[UUID, list[ItemExecution]] = {}
    for batch in batches:
        of_batches.setdefault(batch.run_id, []).append(batch)
    for item in items:
        of_items.setdefault(item.run_id, []).append(item)
    for run in runs:
        settle_executions(run, of_batches.get(run.id, ()), of_items.get(run.id, ()), at=run.finished_at)
    items = [one for one in items if one.version != one.stored_version]
    uow.ledger.update_item_executions(items, ACTOR)
    uow.ledger.insert_history([record for one in items for record in one.pull_history()], ACTOR, now)
    uow.ledger.insert_events([event for one in items for event in one.pull_events()], now, ACTOR)
    _store(uow, batches, now, ACTOR)


def _settle_followed(uow: UnitOfWork, runs: dict[UUID, Run], batches: Sequence[BatchExecution], now: datetime) -> None:
    from runlink.application.items.story import move_batch  # where there are no rules for items it is not needed

    tallies = tallies_of(uow.ledger, sorted({one.run_id for one in batches}))
    for batch in batches:
        if batch.id in tallies:
            move_batch(batch, tallies[batch.id], now)
        elif not batch.status.is_ended:
            batch.cancel(runs[batch.run_id].finished_at)
    _store(uow, batches, now, ITEMS)


def _store(uow: UnitOfWork, batches: Sequence[BatchExecution], now: datetime, actor: str) -> None:
    changed = [one for one in batches if one.version != one.stored_version]
    uow.ledger.update_batch_executions(changed, actor)
    uow.ledger.insert_events([event for one in changed for event in one.pull_events()], now, actor)
