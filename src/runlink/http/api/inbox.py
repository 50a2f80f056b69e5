"""What waits for somebody: what belongs together and is not linked, and what could not be taken in.

`POST /links` makes the link that a suggestion proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from runlink.application.linking.inbox import instances_without_run, runs_without_instance
from runlink.http import cursors, schemas
from runlink.http.api.shapes import LIMIT, Rows, filter_by, paged
from runlink.http.operations import Call, Parameter
from runlink.store import SqlUnitOfWork

_TAG = "inbox"
_FEWER: Final = Parameter(
    name="limit",
    where="query",
    schema={"type": "integer", "minimum": 1, "maximum": 100},
    description=LIMIT.description,
    default=50,
)
_WHOSE: Final = (
    filter_by("engine", schemas.NAME, "Only instances of the engine of this name, also as suggestions."),
    filter_by("automation", schemas.NAME, "Only Runs of the automation of this name, also as suggestions."),
    filter_by("since", schemas.TIME, "Only what began or was made at this time or later."),
)


def _waiting(
    find: Callable[..., list[dict[str, Any]]], row: Mapping[str, Any], uow: SqlUnitOfWork, call: Call, limit: int
) -> Rows:
    rows = find(
        uow,
        call.service.rules(),
        engine=call["engine"],
        automation=call["automation"],
        since=call.moment("since"),
        before=cursors.id_at(call["cursor"]),
        limit=limit,
    )
    return [{name: one[name] for name in row["properties"]} for one in rows]


def _instances(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    return _waiting(instances_without_run, schemas.INBOX_INSTANCE, uow, call, limit)


def _runs(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    return _waiting(runs_without_instance, schemas.INBOX_RUN, uow, call, limit)


def _quarantine(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    behind = None if call["cursor"] is None else cursors.seen_at(call["cursor"])
    return uow.reports.quarantine(engine=call["engine"], before=behind, limit=limit)


OPERATIONS = (
    paged(
        "/inbox/instances",
        name="inbox.instances",
        tag=_TAG,
        summary="Instances that count for no Run, newest first, with the Runs they may belong to",
        description="`POST /api/v1/links` makes the link of a suggestion.",
        row=schemas.INBOX_INSTANCE,
        read=_instances,
        filters=_WHOSE,
        limit=_FEWER,
    ),
    paged(
        "/inbox/runs",
        name="inbox.runs",
        tag=_TAG,
        summary="Runs for which nothing counts, newest first, with the instances that may",
        description="`POST /api/v1/links` makes the link of a suggestion.",
        row=schemas.INBOX_RUN,
        read=_runs,
        filters=_WHOSE,
        limit=_FEWER,
    ),
    paged(
        "/quarantine",
        name="quarantine.list",
        tag=_TAG,
        summary="What engines told and could not be taken in, latest first",
        row=schemas.QUARANTINED,
        read=_quarantine,
        place=lambda row: cursors.seen(row["last_seen_at"], row["fingerprint"]),
        filters=(filter_by("engine", schemas.NAME, "Only what the engine of this name told."),),
    ),
)
