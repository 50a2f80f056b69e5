"""What engines pushed: what became of each delivery, what it said, and once more."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from runlink.http import cursors, schemas
from runlink.http.api.shapes import ID, ROOT, Rows, filter_by, paged
from runlink.http.operations import Answer, Call, Operation
from runlink.http.problems import Problem
from runlink.store import SqlUnitOfWork

_TAG = "deliveries"


def _list(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    before = cursors.id_at(call["cursor"])
    return uow.deliveries.list(engine=call["engine"], state=call["state"], before=before, limit=limit)


def _show(uow: SqlUnitOfWork, call: Call) -> Answer:
    row = _one(uow, call.id())
    headers, body = uow.deliveries.content(row["id"]) or ([], b"")
    return Answer(body={**row, "headers": headers, "body": body.decode("utf-8", "backslashreplace")})


def _replay(uow: SqlUnitOfWork, call: Call) -> Answer:
    before = _one(uow, call.id())
    uow.deliveries.replay([before["id"]], call.service.now())
    details = {name: before[name] for name in ("engine", "state", "attempts")}
    return Answer(body=_one(uow, before["id"]), subject=("delivery", before["id"]), details=details)


def _one(uow: SqlUnitOfWork, delivery_id: UUID) -> dict[str, Any]:
    rows = uow.deliveries.list(delivery=delivery_id, limit=1)
    if not rows:
        raise Problem("not-found", f"there is no delivery {delivery_id}")
    return rows[0]


OPERATIONS = (
    paged(
        "/deliveries",
        name="deliveries.list",
        tag=_TAG,
        summary="What engines pushed, newest first",
        row=schemas.DELIVERY,
        read=_list,
        filters=(
            filter_by("engine", schemas.NAME, "Only those of the engine of this name."),
            filter_by("state", schemas.DELIVERY_STATE, "Only those that wait, are done, or are dead."),
        ),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/deliveries/{{id}}",
        name="deliveries.show",
        tag=_TAG,
        summary="A delivery with its headers, which hold no secrets, and its body",
        description="What is no UTF-8 in the body is spelt out.",
        handler=_show,
        parameters=(ID,),
        answer=schemas.DELIVERY_CONTENT,
        problems=("not-found",),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/deliveries/{{id}}/replay",
        name="deliveries.replay",
        tag=_TAG,
        summary="Have a delivery taken in once more, as if it had just come",
        description="The daemon does so within seconds, whatever became of the delivery before.",
        handler=_replay,
        scope="write",
        status=202,
        parameters=(ID,),
        answer=schemas.DELIVERY,
        problems=("not-found",),
    ),
)
