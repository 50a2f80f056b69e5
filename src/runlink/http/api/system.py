"""runlink itself: plugins, events, the audit, and who is asking."""

from __future__ import annotations

from runlink.http import cursors, schemas
from runlink.http.api.shapes import ROOT, Rows, filter_by, paged
from runlink.http.operations import Answer, Call, Operation
from runlink.store import SqlUnitOfWork

_TAG = "system"


def _plugins(_uow: SqlUnitOfWork, call: Call) -> Answer:
    return Answer(body={"items": list(call.service.plugins())})


def _events(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    after, run_id = cursors.number_at(call["cursor"]), call.optional_id("run_id")
    return uow.listings.events(after=after, run_id=run_id, event_type=call["type"], limit=limit)


def _audit(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    return uow.audit.list(
        actor=call["actor"],
        action=call["action"],
        subject_id=call.optional_id("subject_id"),
        before=cursors.id_at(call["cursor"]),
        limit=limit,
    )


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
    paged(
        "/events",
        name="events.list",
        tag=_TAG,
        summary="What happened, oldest first, in the order of its commits",
        row=schemas.EVENT,
        read=_events,
        place=lambda row: row["position"],
        filters=(
            filter_by("run_id", schemas.ID, "Only those of this Run."),
            filter_by("type", schemas.EVENT_TYPE, "Only those of this type."),
        ),
    ),
    paged(
        "/audit",
        name="audit.list",
        tag=_TAG,
        summary="Who changed what, newest first",
        scope="admin",
        row=schemas.AUDIT,
        read=_audit,
        filters=(
            filter_by("actor", schemas.NAME, "Only what this actor did: token:NAME, cli:USER."),
            filter_by("action", schemas.NAME, "Only this action: runs.create."),
            filter_by("subject_id", schemas.ID, "Only what was done to this."),
        ),
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
