"""JSON Schemas of payloads: Automation comes here to have a schema checked, and payloads checked against it.

A schema is data from outside: its size and depth are bounded, and nothing it refers to is ever fetched.
"""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from runlink.domain.errors import ValidationError
from runlink.domain.values import canonical_json

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_SCHEMA_DEPTH: Final = 32
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_MAX_PROBLEM_CHARACTERS: Final = 300


def check_schema(schema: object, field: str) -> None:
    """Refuse what is not a JSON Schema that can be used here; `field` names it in the error.

    Draft 2020-12 unless `$schema` names another known draft. Every reference must lead into the schema itself (`#…`).
    """
    _validator(schema, field)


def check_payload(payload: object, schema: object, field: str, subject: str) -> None:
    """Refuse a payload that does not satisfy the schema, with all failures, each under its JSON path.

    `field` names the schema and `subject` the payload in the error.
    """
    try:
        problems = _described(_validator(schema, field).iter_errors(payload))
    except RecursionError as error:
        raise _refused(field, [f"{field}: refers to itself without end, or {subject} is nested too deep"]) from error
    if problems:
        raise ValidationError(
            f"{subject} does not match {field}: {'; '.join(problems)}. Correct the payload or update the schema.",
            problems,
        )


def _validator(schema: object, field: str) -> Any:
    if not isinstance(schema, dict):
        reason = f"must be a JSON object, not {type(schema).__name__}; a schema that allows everything is {{}}"
        raise _refused(field, [f"{field}: {reason}"])
    if _is_deeper_than(schema, MAX_SCHEMA_DEPTH):
        raise _refused(field, [f"{field}: is nested deeper than {MAX_SCHEMA_DEPTH} levels"])
    try:
        text = canonical_json(schema)
    except (TypeError, ValueError) as error:
        raise _refused(field, [f"{field}: must be JSON data: {error}"]) from error
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SCHEMA_BYTES:
        raise _refused(field, [f"{field}: is larger than {MAX_SCHEMA_BYTES // 1024} KiB"])
    validator, problems = _compiled(text)
    if problems:
        raise _refused(field, [f"{field}{problem.removeprefix('$')}" for problem in problems])
    return validator


def _refused(field: str, problems: list[str]) -> ValidationError:
    return ValidationError(f"{'; '.join(problems)}. Give {field} a JSON Schema that can be used, or none.", problems)


@lru_cache(maxsize=256)
def _compiled(text: str) -> tuple[Any, tuple[str, ...]]:
    """The validator of a schema given as canonical text, or what is wrong with it."""
    schema = json.loads(text)
    dialect = schema.get("$schema", Draft202012Validator.META_SCHEMA["$id"])
    draft = validator_for({"$schema": dialect}, default=None) if isinstance(dialect, str) else None
    if draft is None:
        return None, (f"$.$schema: {dialect!r} is no known draft; leave it out for 2020-12",)
    meta_errors = draft(draft.META_SCHEMA, format_checker=draft.FORMAT_CHECKER).iter_errors(schema)
    problems = (*_remote_references(schema, "$"), *_described(meta_errors))
    if not problems:
        root: Resource[Any] = specification_with(
            draft.META_SCHEMA.get("$id", draft.META_SCHEMA.get("id"))
        ).create_resource(schema)
        problems = tuple(_dangling_references(root, Registry().resolver_with_root(root)))
    return (None, problems) if problems else (draft(schema, registry=Registry()), ())


def _remote_references(node: Any, path: str) -> Iterator[str]:
    """Each reference that leaves the schema, wherever it stands: also among data, where it would do no harm."""
    if isinstance(node, list):
        for index, part in enumerate(node):
            yield from _remote_references(part, f"{path}[{index}]")
    if isinstance(node, dict):
        for key, part in node.items():
            if key in _REFERENCES and isinstance(part, str) and not part.startswith("#"):
                yield f"{path}.{key}: {part!r} leads out of the schema and is never fetched; use '#/$defs/…'"
            yield from _remote_references(part, f"{path}.{key}")


def _dangling_references(resource: Resource[Any], resolver: Any) -> Iterator[str]:
    """Each local reference that leads nowhere."""
    contents = resource.contents
    for keyword in _REFERENCES:
        reference = contents.get(keyword) if isinstance(contents, dict) else None
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                yield f"$: {keyword} {reference!r} leads nowhere"
    for part in resource.subresources():
        yield from _dangling_references(part, resolver.in_subresource(part))


def _described(errors: Iterable[Any]) -> tuple[str, ...]:
    """One sentence per failure, in the order of their paths."""
    return tuple(sorted(f"{error.json_path}: {error.message}"[:_MAX_PROBLEM_CHARACTERS] for error in errors))


def _is_deeper_than(node: object, levels: int) -> bool:
    if not isinstance(node, dict | list | tuple):
        return False
    if levels == 0:
        return True
    return any(_is_deeper_than(part, levels - 1) for part in (node.values() if isinstance(node, dict) else node))
