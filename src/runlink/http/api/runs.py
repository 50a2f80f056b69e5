"""Runs: made, listed, explained, and moved by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from runlink.application import runs
from runlink.application.explaining.explain import explain
from runlink.domain import ConcurrencyError
from runlink.http import schemas
from runlink.http.api.shapes import ID, ROOT, VERSION, changed, detail, filter_by, listing, loaded, made, there
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.http.problems import Problem
from runlink.store import Row, SqlUnitOfWork

_TAG = "runs"
_KEY = Parameter(
    name="Idempotency-Key",
    where="header",
    schema={"type": "string", "pattern": "^[!-~]{1,200}$"},
    description="A request that is repeated with the same key gives the Run that the first one made.",
)


def _create(uow: SqlUnitOfWork, call: Call) -> Answer:
    key, digest = call["Idempotency-Key"], hashlib.sha256(call.body_bytes).digest()
    if key is not None and (known := uow.idempotency_keys.find(key)) is not None:
        if known[0] != digest:
            raise Problem("idempotency-key-reused", f"{key!r} came with another body before; take a new key")
        return there(uow, "runs", "/runs", known[1])
    run = runs.create_run(
        uow,
        call.service.rules(),
        UUID(call.body["automation_id"]),
        correlation_id=call.body.get("correlation_id"),
        now=call.service.now(),
    )
    if key is not None and not uow.idempotency_keys.add(key, digest, run.id, call.service.now()):
        raise ConcurrencyError(f"another request with the key {key!r} was quicker; send this one again")
    return made(uow, "runs", "/runs", run.id)


def _move(move: runs.Move, uow: SqlUnitOfWork, call: Call) -> Answer:
    loaded(uow.runs, "run", call)
    reason = call.body.get("reason") if call.body else None
    run = runs.move_run(uow, call.service.rules(), call.id(), move, reason=reason, now=call.service.now())
    return changed(uow, "runs", run.id, call.body or None)


def _explain(uow: SqlUnitOfWork, call: Call) -> Answer:
    now, as_of = call.service.now(), call.moment("as_of")
    if as_of is not None and as_of > now:
        raise Problem("refused", f"as_of: {as_of:%Y-%m-%d %H:%M:%S} is in the future")
    return Answer(body=explain(uow, call.service.rules(), call.id(), now=now, as_of=as_of))


def _add_trails(uow: SqlUnitOfWork, _call: Call, rows: Sequence[Row]) -> None:
    trails = uow.reports.trails([row["id"] for row in rows])
    for row in rows:
        row["trail"] = trails.get(row["id"], [])


def _transition(move: runs.Move, summary: str) -> Operation:
    with_reason = move in (runs.Move.FAIL, runs.Move.CANCEL)
    return Operation(
        method="POST",
        path=f"{ROOT}/runs/{{id}}/{move}",
        name=f"runs.{move}",
        tag=_TAG,
        summary=summary,
        handler=partial(_move, move),
        scope="write",
        parameters=(ID, VERSION),
        body=schemas.obj({"reason": schemas.prose(10_000, "Why.")}, required=()) if with_reason else None,
        answer=schemas.RUN,
        problems=("not-found", "invalid-state", "stale-version"),
        versioned=True,
    )


OPERATIONS = (
    listing(
        "runs",
        "/runs",
        tag=_TAG,
        summary="Runs, newest first",
        row=schemas.LISTED_RUN,
        shown=_add_trails,
        filters=(
            filter_by("automation", schemas.NAME, "Only those of the automation of this name."),
            filter_by("automation_id", schemas.ID, "Only those of this automation."),
            filter_by("status", schemas.STATUS, "Only those with this status."),
            filter_by("correlation_id", schemas.NAME, "Only those with this correlation id."),
            filter_by("search", schemas.line(200, "Text"), "Only those whose correlation id or reason holds this."),
        ),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/runs",
        name="runs.create",
        tag=_TAG,
        summary="Make a Run",
        description="Instances that were seen before and carry its key are linked at once.",
        handler=_create,
        scope="write",
        status=201,
        parameters=(_KEY,),
        body=schemas.obj(
            {
                "automation_id": schemas.ID,
                "correlation_id": schemas.nullable(schemas.line(500, "By which rules and people find it.")),
            },
            required=("automation_id",),
        ),
        answer=schemas.RUN,
        problems=("unknown-reference", "refused", "idempotency-key-reused", "stale-version"),
        versioned=True,
        again="Made before, by a request with the same key",
    ),
    detail("runs", "/runs/{id}", tag=_TAG, summary="A Run", row=schemas.LISTED_RUN, shown=_add_trails),
    _transition(runs.Move.START, "Start a Run by hand"),
    _transition(runs.Move.COMPLETE, "Complete a Run by hand"),
    _transition(runs.Move.FAIL, "Fail a Run by hand"),
    _transition(runs.Move.CANCEL, "Cancel a Run by hand"),
    _transition(runs.Move.REOPEN, "Give an ended Run back to its instances, as a new attempt"),
    Operation(
        method="GET",
        path=f"{ROOT}/runs/{{id}}/explain",
        name="runs.explain",
        tag=_TAG,
        summary="Why a Run is in its state: links, rules, observations, events, doubts",
        handler=_explain,
        parameters=(ID, filter_by("as_of", schemas.TIME, "As it was known at this time.")),
        answer=schemas.EXPLANATION,
        problems=("not-found", "refused"),
    ),
)
