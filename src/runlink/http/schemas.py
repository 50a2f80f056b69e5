"""JSON Schemas of what the API takes and gives: the words of the specification. `api/` comes here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runlink.domain import EVENT_TYPES, ExecutionStatus

Schema = dict[str, Any]

MAX_NUMBER: Final = 2**31 - 1


def obj(properties: Mapping[str, Schema], *, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    """An object with these members and no other; all of them are there unless `required` says which."""
    names = list(properties) if required is None else list(required)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": names,
        "additionalProperties": False,
        **more,
    }


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """A page of a listing."""
    cursor = {"type": ["string", "null"], "description": "Give it as `cursor` for the next page; null at the end."}
    return obj({"items": {"type": "array", "items": schema}, "next_cursor": cursor})


ANY: Final[Schema] = {"description": "Any JSON value."}
TEXT: Final[Schema] = {"type": "string"}
MAYBE_TEXT: Final = nullable(TEXT)
ID: Final[Schema] = {"type": "string", "format": "uuid"}
MAYBE_ID: Final = nullable(ID)
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
MAYBE_TIME: Final = nullable(TIME)
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
MAYBE_NUMBER: Final = nullable(NUMBER)
BOOLEAN: Final[Schema] = {"type": "boolean"}
OBJECT: Final[Schema] = {"type": "object"}
MAYBE_OBJECT: Final = nullable(OBJECT)
STATUS: Final[Schema] = {"type": "string", "enum": [status.value for status in ExecutionStatus]}
EVENT_TYPE: Final[Schema] = {"type": "string", "enum": sorted(EVENT_TYPES)}

_LINE: Final = (
    r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$"
)
"""One line that does not begin with a space; text that is only space would be empty."""


def line(maximum: int, description: str) -> Schema:
    """A name or key that is given: one line of text, not empty."""
    return {"type": "string", "minLength": 1, "maxLength": maximum, "pattern": _LINE, "description": description}


NAME: Final[Schema] = {"type": "string", "maxLength": 1000, "pattern": r"^[^\u0000\ufffd]*$"}
"""A name to look for: any text that a database can hold."""


def prose(maximum: int, description: str) -> Schema:
    """A text that is given, of any lines, or null."""
    return {"type": ["string", "null"], "maxLength": maximum, "pattern": r"^[^\u0000]*$", "description": description}


_ENTITY: Final[Mapping[str, Schema]] = {
    "id": ID,
    "created_at": TIME,
    "updated_at": TIME,
    "created_by": MAYBE_TEXT,
    "updated_by": MAYBE_TEXT,
    "version": {"type": "integer", "minimum": 1, "description": "Rises with every change; the ETag."},
    "is_active": BOOLEAN,
}
_LIFECYCLE: Final[Mapping[str, Schema]] = {"status": STATUS, "started_at": MAYBE_TIME, "finished_at": MAYBE_TIME}

AUTOMATION: Final = obj(
    {**_ENTITY, "name": TEXT, "description": MAYBE_TEXT, "batch_schema": MAYBE_OBJECT, "item_schema": MAYBE_OBJECT}
)
BATCH: Final = obj({**_ENTITY, "automation_id": ID, "automation": TEXT, "name": TEXT, "payload": ANY, "items": COUNT})
ITEM: Final = obj({**_ENTITY, "batch_id": ID, "sequence_number": COUNT, "payload": ANY})
RUN: Final = obj(
    {
        **_ENTITY,
        **_LIFECYCLE,
        "automation_id": ID,
        "automation": TEXT,
        "correlation_id": MAYBE_TEXT,
        "error_summary": MAYBE_TEXT,
        "cancellation_reason": MAYBE_TEXT,
        "attempt": COUNT,
        "silent_since": MAYBE_TIME,
        "instances": {**COUNT, "description": "How many instances count for it."},
    }
)
TRAIL: Final = obj(
    {
        "engine": TEXT,
        "type": TEXT,
        "status": {**STATUS, "description": "Of several instances the one that tells most: a failure before all."},
        "instances": COUNT,
    }
)
LISTED_RUN: Final = obj(
    {
        **RUN["properties"],
        "trail": {"type": "array", "items": TRAIL, "description": "The engines it passed, in their order."},
    }
)
BATCH_EXECUTION: Final = obj({**_ENTITY, **_LIFECYCLE, "run_id": ID, "batch_id": ID, "batch": TEXT, "items": COUNT})
ITEM_EXECUTION: Final = obj(
    {
        **_ENTITY,
        **_LIFECYCLE,
        "run_id": ID,
        "batch_execution_id": ID,
        "item_id": ID,
        "batch_id": ID,
        "batch": TEXT,
        "sequence_number": COUNT,
        "result_payload": ANY,
        "error_message": MAYBE_TEXT,
        "attempt_count": COUNT,
        "max_attempts": nullable(COUNT),
    }
)
HISTORY: Final = obj(
    {
        "id": ID,
        "item_execution_id": ID,
        "previous_status": nullable(STATUS),
        "new_status": STATUS,
        "changed_at": TIME,
        "created_at": TIME,
        "created_by": MAYBE_TEXT,
    }
)
FEED: Final = obj(
    {
        "feed": TEXT,
        "state": TEXT,
        "since": MAYBE_TIME,
        "last_success_at": MAYBE_TIME,
        "last_news_at": MAYBE_TIME,
        "failures": COUNT,
        "last_error": {
            **MAYBE_TEXT,
            "description": "It stays when it is over: then the state is ok, new or missing, and `failures` is 0.",
        },
        "last_error_at": MAYBE_TIME,
        "last_duration_s": MAYBE_NUMBER,
        "requests": COUNT,
        "relists": COUNT,
        "told": {**COUNT, "description": "Instances that moved by a delivery."},
        "missed": {**COUNT, "description": "Instances that moved, and only a poll told of it."},
        "skew_s": MAYBE_NUMBER,
    }
)
ENGINE: Final = obj(
    {
        **_ENTITY,
        "name": TEXT,
        "type": TEXT,
        "url": MAYBE_TEXT,
        "product": MAYBE_TEXT,
        "product_version": MAYBE_TEXT,
        "feeds": {"type": "array", "items": FEED},
        "open": {**COUNT, "description": "How many of its instances have not ended."},
        "budget": {
            **nullable(obj({"left": COUNT, "per_minute": NUMBER})),
            "description": "Requests that may be made at once now, and in a minute; null where nobody asks it now.",
        },
    }
)
INSTANCE: Final = obj(
    {
        **_ENTITY,
        **_LIFECYCLE,
        "engine_id": ID,
        "engine": TEXT,
        "external_id": TEXT,
        "workflow": MAYBE_TEXT,
        "native_status": MAYBE_TEXT,
        "attempt": COUNT,
        "url": MAYBE_TEXT,
        "message": MAYBE_TEXT,
        "revision": MAYBE_TEXT,
        "parent_external_id": MAYBE_TEXT,
        "parameters": ANY,
        "labels": ANY,
        "instance_metadata": ANY,
        "duration_seconds": MAYBE_NUMBER,
        "queued_at": MAYBE_TIME,
        "observed_at": MAYBE_TIME,
        "vanished_at": MAYBE_TIME,
    }
)
ATTEMPT: Final = obj(
    {
        "number": COUNT,
        **_LIFECYCLE,
        "native_status": MAYBE_TEXT,
        "message": MAYBE_TEXT,
        "url": MAYBE_TEXT,
    }
)
STEP: Final = obj(
    {
        "external_id": TEXT,
        "attempt": COUNT,
        "name": TEXT,
        **_LIFECYCLE,
        "native_status": MAYBE_TEXT,
        "final": nullable(BOOLEAN),
        "message": MAYBE_TEXT,
        "inputs": ANY,
        "outputs": ANY,
        "parent": MAYBE_TEXT,
    }
)
OBSERVATION: Final = obj(
    {
        "observed_at": TIME,
        "recorded_at": TIME,
        "feed": TEXT,
        "attempt": COUNT,
        "status": STATUS,
        "native_status": MAYBE_TEXT,
        "changes": ANY,
    }
)
LINK: Final = obj(
    {
        **_ENTITY,
        "run_id": ID,
        "orchestration_instance_id": ID,
        "attached_at": TIME,
        "rule": MAYBE_TEXT,
        "key": MAYBE_TEXT,
        "pinned": BOOLEAN,
    }
)
DELIVERY_STATE: Final[Schema] = {"type": "string", "enum": ["waiting", "done", "dead"]}
_DELIVERY: Final[Mapping[str, Schema]] = {
    "id": ID,
    "engine": TEXT,
    "external_id": {**MAYBE_TEXT, "description": "What its sender calls it."},
    "received_at": TIME,
    "path": TEXT,
    "signed": {**BOOLEAN, "description": "Whether the proof of where it comes from covers the body."},
    "state": DELIVERY_STATE,
    "attempts": COUNT,
    "due_at": {**MAYBE_TIME, "description": "When it is to be tried (again)."},
    "processed_at": MAYBE_TIME,
    "reason": {**MAYBE_TEXT, "description": "Why it was not taken in."},
    "bytes": COUNT,
}
DELIVERY: Final = obj(_DELIVERY)
DELIVERY_CONTENT: Final = obj(
    {**_DELIVERY, "headers": {"type": "array", "items": {"type": "array", "items": TEXT}}, "body": TEXT}
)
_SUGGESTED: Final[Mapping[str, Schema]] = {
    "score": {"type": "integer", "minimum": 0, "maximum": 100},
    "reasons": {"type": "array", "items": TEXT},
}
INBOX_INSTANCE: Final = obj(
    {
        "id": ID,
        "engine": TEXT,
        "external_id": TEXT,
        "workflow": MAYBE_TEXT,
        "status": STATUS,
        "native_status": MAYBE_TEXT,
        "queued_at": MAYBE_TIME,
        "started_at": MAYBE_TIME,
        "finished_at": MAYBE_TIME,
        "url": MAYBE_TEXT,
        "message": MAYBE_TEXT,
        "parameters": ANY,
        "labels": ANY,
        "suggestions": {
            "type": "array",
            "items": obj(
                {**_SUGGESTED, "run_id": ID, "automation": TEXT, "correlation_id": MAYBE_TEXT, "status": STATUS}
            ),
        },
    }
)
INBOX_RUN: Final = obj(
    {
        "id": ID,
        "automation": TEXT,
        "correlation_id": MAYBE_TEXT,
        "status": STATUS,
        "created_at": TIME,
        "started_at": MAYBE_TIME,
        "silent_since": MAYBE_TIME,
        "suggestions": {
            "type": "array",
            "items": obj(
                {
                    **_SUGGESTED,
                    "instance_id": ID,
                    "engine": TEXT,
                    "external_id": TEXT,
                    "workflow": MAYBE_TEXT,
                    "status": STATUS,
                }
            ),
        },
    }
)
QUARANTINED: Final = obj(
    {
        "engine": TEXT,
        "fingerprint": TEXT,
        "external_id": MAYBE_TEXT,
        "feed": TEXT,
        "reason": TEXT,
        "raw": {**MAYBE_TEXT, "description": "What the engine told, shortened."},
        "first_seen_at": TIME,
        "last_seen_at": TIME,
        "count": {**COUNT, "description": "How often it came."},
    }
)
PLUGIN: Final = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
EVENT: Final = obj(
    {
        "position": COUNT,
        "type": TEXT,
        "run_id": MAYBE_ID,
        "occurred_at": TIME,
        "recorded_at": TIME,
        "data": OBJECT,
    }
)
AUDIT: Final = obj(
    {
        "id": ID,
        "at": TIME,
        "actor": TEXT,
        "action": TEXT,
        "subject_type": TEXT,
        "subject_id": MAYBE_ID,
        "address": MAYBE_TEXT,
        "details": MAYBE_OBJECT,
    }
)
SESSION: Final = obj(
    {
        "name": MAYBE_TEXT,
        "role": MAYBE_TEXT,
        "scopes": {"type": "array", "items": TEXT},
        "csrf_token": {**MAYBE_TEXT, "description": "What writes of this browser's session carry as X-CSRF-Token."},
    }
)
EXPLANATION: Final = {"type": "object", "properties": {"id": ID, "status": STATUS}, "required": ["id", "status"]}
