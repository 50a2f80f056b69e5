"""Executions of batches and items, moved by whoever carries them out, with each item's history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from runlink.application.errors import Missing
from runlink.domain import BatchExecution, InvalidStateError, ItemExecution, ValidationError
from runlink.http import cursors, schemas
from runlink.http.api.shapes import (
    ID,
    ROOT,
    VERSION,
    Rows,
    changed,
    detail,
    filter_by,
    listing,
    loaded,
    made,
    one,
    paged,
)
from runlink.http.operations import Answer, Call, Operation
from runlink.store import SqlUnitOfWork

_TAG = "executions"
_BATCHES, _ITEMS = "/batch-executions", "/item-executions"


def _open_run(uow: SqlUnitOfWork, run_id: UUID) -> None:
    """The Run takes new executions. Raises Missing, InvalidStateError."""
    found = uow.ledger.lock_runs([run_id])
    if not found:
        raise Missing(f"no run has the id {run_id}")
    if found[0].status.is_ended:
        raise InvalidStateError(f"Run {run_id} is {found[0].status} and takes no new executions")


def _create_batch_execution(uow: SqlUnitOfWork, call: Call) -> Answer:
    run_id, batch_id = UUID(call.body["run_id"]), UUID(call.body["batch_id"])
    _open_run(uow, run_id)
    run, batch = uow.runs.get(run_id), uow.batches.get(batch_id)
    if batch is None or run is None:
        raise Missing(f"no batch has the id {batch_id}")
    if batch.automation_id != run.automation_id:
        raise ValidationError(f"batch_id: batch {batch_id} belongs to another automation than run {run_id}")
    execution = BatchExecution(run_id=run_id, batch_id=batch_id)
    uow.batch_executions.add(execution)
    return made(uow, "batch_executions", _BATCHES, execution.id)


def _create_item_execution(uow: SqlUnitOfWork, call: Call) -> Answer:
    parent_id, item_id = UUID(call.body["batch_execution_id"]), UUID(call.body["item_id"])
    parent, item = uow.batch_executions.get(parent_id), uow.items.get(item_id)
    if parent is None or item is None:
        raise Missing(f"no {'batch execution' if parent is None else 'item'} has the id {parent_id or item_id}")
    if item.batch_id != parent.batch_id:
        raise ValidationError(f"item_id: item {item_id} belongs to another batch than batch execution {parent_id}")
    _open_run(uow, parent.run_id)
    execution = ItemExecution(
        run_id=parent.run_id,
        batch_execution_id=parent.id,
        item_id=item.id,
        max_attempts=call.body.get("max_attempts"),
    )
    uow.item_executions.add(execution)
    return made(uow, "item_executions", _ITEMS, execution.id)


def _move_batch(move: Callable[[BatchExecution, Call], None], uow: SqlUnitOfWork, call: Call) -> Answer:
    execution = loaded(uow.batch_executions, "batch execution", call)
    move(execution, call)
    uow.batch_executions.update(execution)
    return changed(uow, "batch_executions", execution.id, call.body or None)


def _move_item(move: Callable[[ItemExecution, Call], None], uow: SqlUnitOfWork, call: Call) -> Answer:
    execution = loaded(uow.item_executions, "item execution", call)
    move(execution, call)
    uow.item_executions.update(execution)
    return changed(uow, "item_executions", execution.id)


def _history(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    one(uow, "item_executions", call.id())
    after = cursors.id_at(call["cursor"])
    rows = uow.item_state_history.list(item_execution_id=call.id(), after=after, limit=limit)
    return [{name: getattr(row, name) for name in schemas.HISTORY["properties"]} for row in rows]


def _executed(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    one(uow, "batch_executions", call.id())
    after = cursors.number_at(call["cursor"])
    after = None if after is None else min(after, schemas.MAX_NUMBER)
    return uow.listings.executed_items(call.id(), status=call["status"], after=after, limit=limit)


def _moves(
    kind: str,
    path: str,
    row: Mapping[str, Any],
    handler: Callable[..., Answer],
    moves: Mapping[str, tuple[str, Callable[[Any, Call], None], Any]],
) -> list[Operation]:
    return [
        Operation(
            method="POST",
            path=f"{ROOT}{path}/{{id}}/{verb}",
            name=f"{kind}.{verb}",
            tag=_TAG,
            summary=summary,
            handler=partial(handler, move),
            scope="write",
            parameters=(ID, VERSION),
            body=body,
            answer=row,
            problems=("not-found", "invalid-state", "stale-version"),
            versioned=True,
        )
        for verb, (summary, move, body) in moves.items()
    ]


_OF_A_RUN = (
    filter_by("run_id", schemas.ID, "Only those of this Run."),
    filter_by("status", schemas.STATUS, "Only those with this status."),
)

OPERATIONS = (
    listing(
        "batch_executions",
        _BATCHES,
        tag=_TAG,
        summary="How batches fared in Runs, newest first",
        row=schemas.BATCH_EXECUTION,
        filters=(*_OF_A_RUN, filter_by("batch_id", schemas.ID, "Only those of this batch.")),
    ),
    Operation(
        method="POST",
        path=ROOT + _BATCHES,
        name="batch_executions.create",
        tag=_TAG,
        summary="Let a batch take part in a Run",
        handler=_create_batch_execution,
        scope="write",
        status=201,
        body=schemas.obj({"run_id": schemas.ID, "batch_id": schemas.ID}),
        answer=schemas.BATCH_EXECUTION,
        problems=("unknown-reference", "already-exists", "invalid-state", "refused"),
        versioned=True,
    ),
    detail(
        "batch_executions", f"{_BATCHES}/{{id}}", tag=_TAG, summary="How a batch fared", row=schemas.BATCH_EXECUTION
    ),
    paged(
        f"{_BATCHES}/{{id}}/items",
        name="batch_executions.items",
        tag=_TAG,
        summary="How the items of a batch fared in a Run, by their numbers",
        row=schemas.ITEM_EXECUTION,
        read=_executed,
        place=lambda row: row["sequence_number"],
        filters=(ID, filter_by("status", schemas.STATUS, "Only those with this status.")),
        problems=("not-found",),
    ),
    *_moves(
        "batch_executions",
        _BATCHES,
        schemas.BATCH_EXECUTION,
        _move_batch,
        {
            "start": ("A batch begins", lambda one, call: one.start(call.service.now()), None),
            "complete": ("A batch ends well", lambda one, call: one.complete(call.service.now()), None),
            "fail": ("A batch fails", lambda one, call: one.fail(call.service.now()), None),
            "cancel": ("A batch is cancelled", lambda one, call: one.cancel(call.service.now()), None),
        },
    ),
    listing(
        "item_executions",
        _ITEMS,
        tag=_TAG,
        summary="How items fared in Runs, newest first",
        row=schemas.ITEM_EXECUTION,
        filters=(
            *_OF_A_RUN,
            filter_by("batch_execution_id", schemas.ID, "Only those of this batch execution."),
            filter_by("item_id", schemas.ID, "Only those of this item."),
        ),
    ),
    Operation(
        method="POST",
        path=ROOT + _ITEMS,
        name="item_executions.create",
        tag=_TAG,
        summary="Let an item take part in a Run",
        handler=_create_item_execution,
        scope="write",
        status=201,
        body=schemas.obj(
            {
                "batch_execution_id": schemas.ID,
                "item_id": schemas.ID,
                "max_attempts": {"type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000},
            },
            required=("batch_execution_id", "item_id"),
        ),
        answer=schemas.ITEM_EXECUTION,
        problems=("unknown-reference", "already-exists", "invalid-state", "refused"),
        versioned=True,
    ),
    detail("item_executions", f"{_ITEMS}/{{id}}", tag=_TAG, summary="How an item fared", row=schemas.ITEM_EXECUTION),
    *_moves(
        "item_executions",
        _ITEMS,
        schemas.ITEM_EXECUTION,
        _move_item,
        {
            "start": ("An attempt begins", lambda one, call: one.start(call.service.now()), None),
            "complete": (
                "An item ends well",
                lambda one, call: one.complete(call.body.get("result_payload"), call.service.now()),
                schemas.obj({"result_payload": schemas.ANY}, required=()),
            ),
            "fail": (
                "An attempt fails; the item is retried while max_attempts allows",
                lambda one, call: one.fail(call.body.get("error_message"), call.service.now()),
                schemas.obj({"error_message": schemas.prose(10_000, "Why.")}, required=()),
            ),
            "cancel": ("An item is cancelled", lambda one, call: one.cancel(call.service.now()), None),
        },
    ),
    paged(
        f"{_ITEMS}/{{id}}/history",
        name="item_executions.history",
        tag=_TAG,
        summary="Every status change of an item's execution, oldest first",
        row=schemas.HISTORY,
        read=_history,
        filters=(ID,),
        problems=("not-found",),
    ),
)
