"""What waits for somebody: instances without a Run, Runs without an instance, and what could not be taken in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from runlink.application.inbox import unlinked_instances, unlinked_runs
from runlink.http import cursors, schemas
from runlink.http.api.shapes import CURSOR, LIMIT, ROOT, filter_by, page
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.store import SqlUnitOfWork

_TAG = "inbox"
_ENGINE = filter_by("engine", schemas.TEXT, "Only those of the engine of this name.")
_FEW = Parameter(
    name="limit",
    where="query",
    schema={"type": "integer", "minimum": 1, "maximum": 100},
    description="At most so many; each is compared with every candidate.",
    default=25,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 250_000_000_000_000_000  # in the year 9892


def _shown(row: Mapping[str, Any], schema: schemas.Schema) -> dict[str, Any]:
    return {name: row[name] for name in schema["properties"]}


def _instances(uow: SqlUnitOfWork, call: Call) -> Answer:
    rows = unlinked_instances(
        uow,
        call.service.rules(),
        engine=call["engine"],
        before=cursors.id_at(call["cursor"]),
        limit=call["limit"] + 1,
    )
    return page([_shown(row, schemas.INBOX_INSTANCE) for row in rows], call["limit"], lambda row: row["id"])


def _runs(uow: SqlUnitOfWork, call: Call) -> Answer:
    rows = unlinked_runs(
        uow,
        call.service.rules(),
        automation=call["automation"],
        before=cursors.id_at(call["cursor"]),
        limit=call["limit"] + 1,
    )
    return page([_shown(row, schemas.INBOX_RUN) for row in rows], call["limit"], lambda row: row["id"])


def _quarantine(uow: SqlUnitOfWork, call: Call) -> Answer:
    rows = uow.reports.quarantine(engine=call["engine"], before=_place_at(call["cursor"]), limit=call["limit"] + 1)
    return page(rows, call["limit"], _place_of)


def _place_of(row: Mapping[str, Any]) -> int:
    """In a cursor: when it was seen last, and half of its fingerprint for those seen at once."""
    seen_us = (row["last_seen_at"] - _EPOCH) // timedelta(microseconds=1)
    return int(seen_us) << 64 | int(row["fingerprint"][:16], 16)


def _place_at(cursor: str | None) -> tuple[datetime, str] | None:
    place = cursors.id_at(cursor)
    if place is None:
        return None
    seen_us = min(place.int >> 64, _LAST_US)
    return _EPOCH + timedelta(microseconds=seen_us), f"{place.int & (1 << 64) - 1:016x}"


OPERATIONS = (
    Operation(
        method="GET",
        path=f"{ROOT}/inbox/instances",
        name="inbox.instances",
        tag=_TAG,
        summary="Instances without a Run, newest first, and the Runs they may belong to",
        handler=_instances,
        parameters=(_ENGINE, CURSOR, _FEW),
        answer=schemas.listed(schemas.INBOX_INSTANCE),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/inbox/runs",
        name="inbox.runs",
        tag=_TAG,
        summary="Runs without an instance, newest first, and the instances that may belong to them",
        handler=_runs,
        parameters=(
            filter_by("automation", schemas.TEXT, "Only those of the automation of this name."),
            CURSOR,
            _FEW,
        ),
        answer=schemas.listed(schemas.INBOX_RUN),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/quarantine",
        name="quarantine.list",
        tag=_TAG,
        summary="What engines told and could not be taken in, latest first",
        handler=_quarantine,
        parameters=(_ENGINE, CURSOR, LIMIT),
        answer=schemas.listed(schemas.QUARANTINED),
    ),
)
