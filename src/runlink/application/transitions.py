"""Runs that are started and ended by hand: by a program through the API, or a person. Links and feeds do not come here.

A Run that a hand has ended is left alone by roll-up until somebody reopens it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.ports import UnitOfWork
from runlink.domain import ItemExecution, Run, settle_executions


def move_run(uow: UnitOfWork, run_id: UUID, move: Callable[[Run], None], *, now: datetime) -> Run:
    """Does `move` to a Run, locked, and settles its executions once it has ended. Raises Missing, InvalidStateError."""
    found = uow.ledger.lock_runs([run_id])
    if not found:
        raise Missing(f"no run has the id {run_id}")
    run = found[0]
    move(run)
    uow.runs.update(run)
    if run.status.is_ended:
        uow.ledger.set_quiet([(run.id, None)])
        for execution in settle_executions(run, *uow.ledger.open_executions(run.id), at=now):
            if isinstance(execution, ItemExecution):
                uow.item_executions.update(execution)
            else:
                uow.batch_executions.update(execution)
    return run
