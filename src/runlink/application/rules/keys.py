"""What rules look for in an instance: JMESPath, templates, and values as text. Pure: no store, no clock.

`rules` makes rules ready with these; `config` comes here to check expressions before a rule is believed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from runlink.application.rows import AttemptRow, StepRow
from runlink.domain import MAX_KEY_LENGTH, Engine, OrchestrationInstance
from runlink.spi import Attempt, Observation, Revision, Step

KeyOf = Callable[[Mapping[str, Any]], Any]

_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PORTS: Final = {"http": 80, "https": 443}
_MAX_VALUES: Final = 100
_LOOKS: Final = ("field", "current", "identity", "index", "slice")
"""The parts of an expression that look at what it is asked about; all others are made of these and of literals."""
_decode = msgspec.json.decode


class RuleFailed(Exception):
    """A rule cannot be applied to one instance; the message says why."""


def view(
    instance: OrchestrationInstance,
    engine: Engine,
    steps: Sequence[StepRow] | None = None,
    attempts: Sequence[AttemptRow] | None = None,
) -> dict[str, Any]:
    """An instance as rules see it: the observation's fields by name, with `engine` and `type`; times as ISO 8601 text.

    `created_at`, `started_at` and `finished_at` are the engine's; `steps` are in the order in which they began, none
    where none are told; `attempts` are all that are known, by number.
    """
    return {
        "engine": engine.name,
        "type": engine.type,
        "external_id": instance.external_id,
        "workflow": instance.workflow,
        "status": instance.status.value,
        "native_status": instance.native_status,
        "attempt": instance.attempt,
        "revision": instance.revision,
        "url": instance.url,
        "parent": instance.parent_external_id,
        "parameters": instance.parameters,
        "labels": instance.labels,
        "message": instance.message,
        "metadata": instance.instance_metadata,
        "created_at": instance.queued_at and instance.queued_at.isoformat(),
        "started_at": instance.started_at and instance.started_at.isoformat(),
        "finished_at": instance.finished_at and instance.finished_at.isoformat(),
        "steps": [step_view(row) for row in sorted(steps or (), key=_place_of)],
        "attempts": [_attempt_view(row) for row in attempts or ()],
    }


def _attempt_view(row: AttemptRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "status": row.status.value,
        "native_status": row.native_status,
        "started_at": row.started_at and row.started_at.isoformat(),
        "finished_at": row.finished_at and row.finished_at.isoformat(),
        "message": row.message,
        "url": row.url,
    }


def step_view(row: StepRow, *, times: bool = True) -> dict[str, Any]:
    """A step as rules see it; times as ISO 8601 text."""
    return {
        "external_id": row.external_id,
        "name": row.name,
        "status": row.status.value,
        "native_status": row.native_status,
        "attempt": row.attempt,
        "final": row.final,
        "started_at": row.started_at.isoformat() if times and row.started_at else None,
        "finished_at": row.finished_at.isoformat() if times and row.finished_at else None,
        "message": row.message,
        "inputs": None if row.inputs is None else _decode(row.inputs),
        "outputs": None if row.outputs is None else _decode(row.outputs),
        "parent": row.parent,
    }


def _place_of(row: StepRow) -> tuple[bool, float, str, int]:
    """Where a step stands among the others, whoever tells of them: by its beginning, those without one last."""
    began_s = row.started_at.timestamp() if row.started_at is not None else 0.0
    return row.started_at is None, began_s, row.external_id, row.attempt


def observation(
    instance: OrchestrationInstance,
    steps: Sequence[StepRow] | None = None,
    attempts: Sequence[AttemptRow] | None = None,
) -> Observation:
    """An instance as an adapter would tell it now, for the hook `runlink_link`."""
    epoch, _, number = (instance.revision or "").rpartition(":")
    return Observation(
        external_id=instance.external_id,
        workflow=instance.workflow or "(unknown)",
        status=instance.status,
        native_status=instance.native_status or "",
        attempt=instance.attempt,
        revision=Revision(int(number), epoch) if number else None,
        created_at=instance.queued_at,
        started_at=instance.started_at,
        finished_at=instance.finished_at,
        url=instance.url,
        parent=instance.parent_external_id,
        parameters=instance.parameters,
        labels=instance.labels,
        message=instance.message,
        metadata=instance.instance_metadata,
        steps=None if steps is None else tuple(_step(row) for row in sorted(steps, key=_place_of)),
        attempts=None if attempts is None else tuple(_attempt(row) for row in attempts),
    )


def _attempt(row: AttemptRow) -> Attempt:
    told = {name: getattr(row, name) for name in Attempt.__struct_fields__}
    return Attempt(**told | {"native_status": row.native_status or ""})


def _step(row: StepRow) -> Step:
    inputs, outputs = (None if text is None else _decode(text) for text in (row.inputs, row.outputs))
    told = {name: getattr(row, name) for name in Step.__struct_fields__ if name not in ("inputs", "outputs")}
    return Step(**told | {"native_status": row.native_status or "", "inputs": inputs, "outputs": outputs})


def compile_key(expression: str) -> KeyOf:
    """As `compile_expression`, for what must differ from instance to instance. Raises ValueError for one that looks at
    nothing."""
    search = compile_expression(expression)
    if not any(node["type"] in _LOOKS for node in _nodes(jmespath.compile(expression).parsed)):
        raise ValueError(f"{expression!r} is the same for every instance; name a field, such as parameters.RUN_ID")
    return search


def compile_expression(expression: str) -> KeyOf:
    """A JMESPath, ready to be searched with. Raises ValueError with the place for one that cannot be parsed, or that
    calls a function there is not.

    A plain path (`parameters.RUN_ID`) is walked directly: it is what nearly all rules are, and jmespath takes ten
    times as long for it.
    """
    try:
        compiled = jmespath.compile(expression)
        for node in _nodes(compiled.parsed):
            if node["type"] == "function_expression":
                _check_call(expression, node)
    except JMESPathError as error:
        raise ValueError(f"{expression!r} is not JMESPath{_place(error)}") from error
    except RecursionError:
        raise ValueError(f"{expression[:40]!r}… is too deeply nested to be read") from None
    path = plain_path(compiled.parsed)
    if path is None:
        return compiled.search  # type: ignore[no-any-return]

    def walk(data: Any) -> Any:
        for name in path:
            if not isinstance(data, Mapping):
                return None
            data = data.get(name)
        return data

    return walk


def _place(error: JMESPathError) -> str:
    position = getattr(error, "lex_position", None)
    reason = str(getattr(error, "msg", "") or error).splitlines()[0].rstrip(": ")
    if position is None:
        return f": {reason}"
    return f"{f' at character {position + 1}' if position >= 0 else ' at its end'}: {reason}"


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("children", ()):
        if isinstance(child, Mapping):
            yield from _nodes(child)


def _check_call(expression: str, call: Mapping[str, Any]) -> None:
    """jmespath itself finds these out only when it is asked."""
    known = Functions.FUNCTION_TABLE.get(call["value"])
    if known is None:
        raise ValueError(f"{expression!r} calls {call['value']}(), and JMESPath has no such function")
    signature, given = known["signature"], len(call["children"])
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not variadic):
        wanted = f"{'at least ' if variadic else ''}{len(signature)}"
        raise ValueError(f"{expression!r} calls {call['value']}() with {given} arguments; it takes {wanted}")


def plain_path(node: Mapping[str, Any]) -> list[str] | None:
    """The names of an expression that is nothing but names with dots between; else None."""
    if node["type"] == "field":
        return [node["value"]]
    if node["type"] == "subexpression":
        parts = [plain_path(child) for child in node["children"]]
        return None if None in parts else [name for part in parts if part for name in part]
    return None


def compile_template(template: str, *, extra: tuple[str, ...] = ()) -> KeyOf:
    """Text with JMESPaths in braces; `{{` and `}}` are braces. Gives None when a part is not there or not text.

    `extra` are names beside the observation's that the caller hands in. Raises ValueError.
    """
    parts: list[str | KeyOf] = []
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        parts.append(template[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[1] is None:
            raise ValueError(f"{template!r} has a single {match[0]!r} at character {match.start() + 1}; write it twice")
        else:
            parts.append(compile_key(match[1].strip() or "?"))
    parts.append(template[end:])
    if not any(callable(part) for part in parts):
        among = f"{{{extra[0]}}}" if extra else "{parameters.RUN_ID}"
        raise ValueError(f"{template!r} is the same for every instance; put a path in braces, such as {among}")

    def fill(data: Mapping[str, Any]) -> str | None:
        texts = [part if isinstance(part, str) else as_key(part(data)) for part in parts]
        return None if None in texts else "".join(text or "" for text in texts)

    return fill


def as_key(value: Any) -> str | None:
    """A key as text: numbers as they are written, nothing for None, empty text, truth values, lists and objects.

    Raises RuleFailed for one that is too long.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > MAX_KEY_LENGTH:
            raise RuleFailed(f"the key {text[:40]!r}… has {len(text)} characters; at most {MAX_KEY_LENGTH} can be kept")
        return text or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def as_values(value: Any) -> list[str]:
    """What can be compared across engines: text and numbers, each of a list; addresses in one form; long ones hashed.

    At most 100 of one instance.
    """
    given = value if isinstance(value, list | tuple) else [value]
    found: dict[str, None] = {}
    for one in given[:_MAX_VALUES]:
        text = one.strip() if isinstance(one, str) else as_key(one)
        if text:
            text = normal_url(text)
            found[text if len(text) <= MAX_KEY_LENGTH else hashlib.blake2b(text.encode()).hexdigest()] = None
    return list(found)


def normal_url(text: str) -> str:
    """One form of an http address, whoever wrote it: scheme and host in lower case, no user, no default port, no
    fragment, no slash at the end. Any other text stays as it is."""
    if text[:4].lower() != "http" or "://" not in text[:8]:
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # no address after all
        return text
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS.get(parts.scheme.lower()):
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme.lower(), host, parts.path.rstrip("/"), parts.query, ""))
