"""runlink itself: plugins, events, the audit, and who is asking."""

from __future__ import annotations

from runlink.http import cursors, schemas
from runlink.http.api.shapes import CURSOR, LIMIT, ROOT, filter_by, page
from runlink.http.operations import Answer, Call, Operation
from runlink.store import SqlUnitOfWork

_TAG = "system"


def _plugins(_uow: SqlUnitOfWork, call: Call) -> Answer:
    return Answer(body={"items": list(call.service.plugins())})


def _events(uow: SqlUnitOfWork, call: Call) -> Answer:
    rows = uow.listings.events(
        after=cursors.number_at(call["cursor"]),
        run_id=call.optional_id("run_id"),
        event_type=call["type"],
        limit=call["limit"] + 1,
    )
    return page(rows, call["limit"], lambda row: row["position"])


def _audit(uow: SqlUnitOfWork, call: Call) -> Answer:
    rows = uow.audit.list(
        actor=call["actor"],
        action=call["action"],
        subject_id=call.optional_id("subject_id"),
        before=cursors.id_at(call["cursor"]),
        limit=call["limit"] + 1,
    )
    return page(rows, call["limit"], lambda row: row["id"])


def _session(_uow: SqlUnitOfWork, call: Call) -> Answer:
    principal = call.principal
    return Answer(
        body={
            "name": principal.name,
            "role": principal.role,
            "scopes": list(principal.scopes),
            "csrf_token": principal.csrf_token,
        }
    )


OPERATIONS = (
    Operation(
        method="GET",
        path=f"{ROOT}/plugins",
        name="plugins.list",
        tag=_TAG,
        summary="The plugins that were found",
        handler=_plugins,
        answer=schemas.obj({"items": {"type": "array", "items": schemas.PLUGIN}}),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/events",
        name="events.list",
        tag=_TAG,
        summary="What happened, oldest first, in the order of its commits",
        handler=_events,
        parameters=(
            filter_by("run_id", schemas.ID, "Only those of this Run."),
            filter_by("type", schemas.EVENT_TYPE, "Only those of this type."),
            CURSOR,
            LIMIT,
        ),
        answer=schemas.listed(schemas.EVENT),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/audit",
        name="audit.list",
        tag=_TAG,
        summary="Who changed what, newest first",
        handler=_audit,
        scope="admin",
        parameters=(
            filter_by("actor", schemas.NAME, "Only what this actor did: token:NAME, cli:USER."),
            filter_by("action", schemas.NAME, "Only this action: runs.create."),
            filter_by("subject_id", schemas.ID, "Only what was done to this."),
            CURSOR,
            LIMIT,
        ),
        answer=schemas.listed(schemas.AUDIT),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/session",
        name="session.show",
        tag=_TAG,
        summary="Who is asking, and what they may do",
        handler=_session,
        answer=schemas.SESSION,
    ),
)
