"""Automations, batches and items: what is to be executed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from runlink.application.errors import Missing
from runlink.domain import KEEP, Automation, Batch, Item
from runlink.http import cursors, schemas
from runlink.http.api.shapes import (
    ID,
    REQUIRED_VERSION,
    ROOT,
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

_TAG = "work"
_SCHEMA = {"type": ["object", "null"], "description": "A JSON Schema; references lead into it alone."}
_NAME = schemas.line(200, "Unique among those it stands with.")
_REFUSED = ("not-found", "stale-version", "refused")


def _create_automation(uow: SqlUnitOfWork, call: Call) -> Answer:
    automation = Automation(**call.body)
    uow.automations.add(automation)
    return made(uow, "automations", "/automations", automation.id)


def _update_automation(uow: SqlUnitOfWork, call: Call) -> Answer:
    automation = loaded(uow.automations, "automation", call)
    automation.update_schemas(call.body.get("batch_schema", KEEP), call.body.get("item_schema", KEEP))
    uow.automations.update(automation)
    return changed(uow, "automations", automation.id)


def _automation(uow: SqlUnitOfWork, automation_id: UUID) -> Automation:
    found = uow.automations.get(automation_id)
    if found is None or not found.is_active:
        raise Missing(f"no automation has the id {automation_id}")
    return found


def _create_batch(uow: SqlUnitOfWork, call: Call) -> Answer:
    owner = _automation(uow, UUID(call.body["automation_id"]))
    payload = call.body.get("payload")
    if payload is not None or owner.batch_schema is not None:
        owner.validate_batch_payload(payload)
    batch = Batch(automation_id=owner.id, name=call.body["name"], payload=payload)
    uow.batches.add(batch)
    return made(uow, "batches", "/batches", batch.id)


def _update_batch(uow: SqlUnitOfWork, call: Call) -> Answer:
    batch = loaded(uow.batches, "batch", call)
    _automation(uow, batch.automation_id).validate_batch_payload(call.body["payload"])
    batch.update_payload(call.body["payload"])
    uow.batches.update(batch)
    return changed(uow, "batches", batch.id)


def _list_items(uow: SqlUnitOfWork, call: Call, limit: int) -> Rows:
    one(uow, "batches", call.id())
    after = cursors.number_at(call["cursor"])
    after = None if after is None else min(after, schemas.MAX_NUMBER)
    return uow.listings.items(call.id(), after=after, limit=limit)


def _create_items(uow: SqlUnitOfWork, call: Call) -> Answer:
    batch = one(uow, "batches", call.id())
    owner = _automation(uow, batch["automation_id"])
    payloads: list[Any] = call.body["payloads"]
    for payload in payloads:
        owner.validate_item_payload(payload)
    uow.ledger.lock_automations([owner.id])
    first = uow.reports.next_sequence_number(batch["id"])
    for number, payload in enumerate(payloads, start=first):
        uow.items.add(Item(batch_id=batch["id"], sequence_number=number, payload=payload))
    body = {"first_sequence_number": first, "count": len(payloads)}
    return Answer(body=body, status=201, subject=("batch", batch["id"]), details=body)


def _update_item(uow: SqlUnitOfWork, call: Call) -> Answer:
    item = loaded(uow.items, "item", call)
    batch = one(uow, "batches", item.batch_id)
    _automation(uow, batch["automation_id"]).validate_item_payload(call.body["payload"])
    item.update_payload(call.body["payload"])
    uow.items.update(item)
    return changed(uow, "items", item.id)


OPERATIONS = (
    listing(
        "automations",
        "/automations",
        tag=_TAG,
        summary="Automations: what Runs are executions of",
        row=schemas.AUTOMATION,
        filters=(filter_by("name", schemas.NAME, "Only the one of this name."),),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/automations",
        name="automations.create",
        tag=_TAG,
        summary="Make an automation",
        handler=_create_automation,
        scope="write",
        status=201,
        body=schemas.obj(
            {
                "name": _NAME,
                "description": schemas.prose(10_000, "What it is for."),
                "batch_schema": _SCHEMA,
                "item_schema": _SCHEMA,
            },
            required=("name",),
        ),
        answer=schemas.AUTOMATION,
        problems=("already-exists", "refused"),
        versioned=True,
    ),
    detail("automations", "/automations/{id}", tag=_TAG, summary="An automation", row=schemas.AUTOMATION),
    Operation(
        method="PATCH",
        path=f"{ROOT}/automations/{{id}}",
        name="automations.update",
        tag=_TAG,
        summary="Replace an automation's schemas",
        description="A schema that is left out stays; null takes it away.",
        handler=_update_automation,
        scope="write",
        parameters=(ID, REQUIRED_VERSION),
        body=schemas.obj({"batch_schema": _SCHEMA, "item_schema": _SCHEMA}, required=(), minProperties=1),
        answer=schemas.AUTOMATION,
        problems=_REFUSED,
        versioned=True,
    ),
    listing(
        "batches",
        "/batches",
        tag=_TAG,
        summary="Batches: named groups of items of an automation",
        row=schemas.BATCH,
        filters=(
            filter_by("automation", schemas.NAME, "Only those of the automation of this name."),
            filter_by("automation_id", schemas.ID, "Only those of this automation."),
            filter_by("name", schemas.NAME, "Only those of this name."),
        ),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/batches",
        name="batches.create",
        tag=_TAG,
        summary="Make a batch",
        description="The payload must fit the automation's `batch_schema`.",
        handler=_create_batch,
        scope="write",
        status=201,
        body=schemas.obj(
            {"automation_id": schemas.ID, "name": _NAME, "payload": schemas.ANY}, required=("automation_id", "name")
        ),
        answer=schemas.BATCH,
        problems=("already-exists", "unknown-reference", "refused"),
        versioned=True,
    ),
    detail("batches", "/batches/{id}", tag=_TAG, summary="A batch", row=schemas.BATCH),
    Operation(
        method="PATCH",
        path=f"{ROOT}/batches/{{id}}",
        name="batches.update",
        tag=_TAG,
        summary="Replace a batch's payload",
        handler=_update_batch,
        scope="write",
        parameters=(ID, REQUIRED_VERSION),
        body=schemas.obj({"payload": schemas.ANY}),
        answer=schemas.BATCH,
        problems=_REFUSED,
        versioned=True,
    ),
    paged(
        "/batches/{id}/items",
        name="items.list",
        tag=_TAG,
        summary="The items of a batch, by their number",
        row=schemas.ITEM,
        read=_list_items,
        place=lambda row: row["sequence_number"],
        filters=(ID,),
        problems=("not-found",),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/batches/{{id}}/items",
        name="items.create",
        tag=_TAG,
        summary="Add items to a batch, behind those that are there",
        description="All are added, or none when one does not fit the automation's `item_schema`.",
        handler=_create_items,
        scope="write",
        status=201,
        parameters=(ID,),
        body=schemas.obj({"payloads": {"type": "array", "items": schemas.ANY, "minItems": 1, "maxItems": 1000}}),
        answer=schemas.obj({"first_sequence_number": schemas.COUNT, "count": schemas.COUNT}),
        problems=("not-found", "refused"),
    ),
    detail("items", "/items/{id}", tag=_TAG, summary="An item", row=schemas.ITEM),
    Operation(
        method="PATCH",
        path=f"{ROOT}/items/{{id}}",
        name="items.update",
        tag=_TAG,
        summary="Replace an item's payload",
        handler=_update_item,
        scope="write",
        parameters=(ID, REQUIRED_VERSION),
        body=schemas.obj({"payload": schemas.ANY}),
        answer=schemas.ITEM,
        problems=_REFUSED,
        versioned=True,
    ),
)
