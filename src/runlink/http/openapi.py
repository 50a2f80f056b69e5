"""The published specification, OpenAPI 3.1, and the page that shows it without a script or anything from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Final

from runlink.http import schemas
from runlink.http.operations import Operation
from runlink.http.problems import KINDS, MEDIA_TYPE, URN

ALWAYS: Final = ("unauthenticated", "forbidden", "misdirected", "too-many-requests", "internal", "store-unavailable")
"""What any operation may answer."""
_PROBLEM: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": [URN + name for name in KINDS]},
        "title": schemas.TEXT,
        "status": {"type": "integer"},
        "detail": schemas.TEXT,
        "errors": {"type": "array", "items": schemas.TEXT},
    },
    "required": ["type", "title", "status", "detail"],
}


_HEAD: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>runlink API</title>'
    '<link rel="stylesheet" href="/static/plain.css"></head><body><main><h1>runlink API</h1>'
    '<p>The same for programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
)
_DESCRIPTION: Final = (
    "Every error is an RFC 9457 problem. Listings go on with `cursor`. What has a version has it as ETag, too; give it "
    "as If-Match to change exactly what you saw."
)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The specification of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runlink",
            "version": version("runlink"),
            "summary": "One record of every run, whichever engine ran it.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`runlink tokens create` makes one."},
            },
        },
    }


def problems_of(operation: Operation) -> list[str]:
    """The types of problems that an operation may answer."""
    found = [*ALWAYS, *operation.problems]
    if operation.parameters or operation.body is not None or operation.writes:
        found.append("invalid-request")
    if operation.writes:
        found += ["csrf", "too-large", "timeout"]
    if operation.body is not None:
        found += ["unsupported-media-type", "refused"]
    if any(p.name == "If-Match" and p.required for p in operation.parameters):
        found.append("version-required")
    return list(dict.fromkeys(found))


def _operation(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {str(operation.status): _success(operation)}
    if operation.again:
        responses["200"] = {**_success(operation), "description": operation.again}
    by_status: dict[int, list[str]] = {}
    for name in problems_of(operation):
        by_status.setdefault(KINDS[name].status, []).append(name)
    for status, names in sorted(by_status.items()):
        responses[str(status)] = {
            "description": "; ".join(f"{KINDS[name].title} (`{name}`)" for name in names),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.description} Needs the scope `{operation.scope}`.".strip(),
        "security": [{"token": []}, {}] if operation.scope == "read" else [{"token": []}],
        "parameters": [
            {
                "name": p.name,
                "in": p.where,
                "required": p.required,
                "description": p.description,
                "schema": {**p.schema, **({} if p.default is None else {"default": p.default})},
            }
            for p in operation.parameters
        ],
        "responses": responses,
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"required": operation.demands_body, "content": content}
    return described


def _success(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {"description": operation.summary}
    if operation.status != 204:
        media_type = "text/event-stream" if operation.name == "stream.follow" else "application/json"
        found["content"] = {media_type: {"schema": operation.answer}}
    if operation.versioned:
        found["headers"] = {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}}
    return found


def page(operations: Sequence[Operation]) -> str:
    """The specification for people."""
    parts = [_HEAD]
    for tag in dict.fromkeys(operation.tag for operation in operations):
        parts.append(f"<h2>{html.escape(tag)}</h2>")
        parts += [_shown(operation) for operation in operations if operation.tag == tag]
    return "".join([*parts, "</main></body></html>"])


def _shown(operation: Operation) -> str:
    e = html.escape
    title = f"<summary><code>{operation.method} {e(operation.path)}</code> {e(operation.summary)}</summary>"
    parts = [
        f'<details id="{e(operation.name)}">{title}',
        f"<p>{e(operation.description)} Scope: {operation.scope}.</p>",
    ]
    if operation.parameters:
        rows = (
            f"<tr><td><code>{e(p.name)}</code></td><td>{p.where}{', required' if p.required else ''}</td>"
            f"<td>{e(p.description)}</td><td><code>{e(json.dumps(p.schema))}</code></td></tr>"
            for p in operation.parameters
        )
        parts.append(f"<table><thead><tr><th>parameter<th>in<th>what<th>form</tr></thead>{''.join(rows)}</table>")
    if operation.body is not None:
        parts.append(f"<h3>Body</h3><pre>{e(json.dumps(operation.body, indent=2))}</pre>")
    parts.append(f"<h3>Answer {operation.status}</h3><pre>{e(json.dumps(operation.answer, indent=2))}</pre>")
    named = ", ".join(f"{KINDS[name].status} {name}" for name in problems_of(operation))
    parts.append(f"<p>Problems: {e(named)}.</p></details>")
    return "".join(parts)
