"""Whether many payloads satisfy one schema, fast. Items are checked here; single ones through their Automation.

jsonschema-rs says yes some thirty times as fast as jsonschema says anything; what it refuses, jsonschema is asked
about, and gives the reasons. Both must agree on what is accepted, so the fast one is asked about schemas of the common
keywords alone, and a test holds the two together there: `pattern`, `multipleOf` and `$ref` are not among them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from runlink.domain import Automation, ValidationError

_DRAFTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "http://json-schema.org/draft-07/schema#": "Draft7Validator",
}
_PLAIN: Final = frozenset(
    ("$schema", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment",
     "type", "const", "enum", "required", "format", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength",
     "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minProperties", "maxProperties")
)  # fmt: skip
_OF_SCHEMAS: Final = frozenset(("allOf", "anyOf", "oneOf"))
_OF_NAMED_SCHEMAS: Final = frozenset(("properties", "$defs", "definitions"))
_ONE_SCHEMA: Final = frozenset(
    ("additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames")
)
_LARGEST: Final = 2**53  # numbers beyond which the two may count differently


Problem = str | None


def item_check(automation: Automation) -> Callable[[Any], Problem]:
    """A function that says what is wrong with an item payload, None for nothing."""
    return _check(automation.item_schema, automation.validate_item_payload)


def batch_check(automation: Automation) -> Callable[[Any], Problem]:
    """The same for a batch payload."""
    return _check(automation.batch_schema, automation.validate_batch_payload)


def _check(schema: dict[str, Any] | None, slowly: Callable[[Any], None]) -> Callable[[Any], Problem]:
    if schema is None:
        return lambda _payload: None
    accepts = fast(msgspec.json.encode(schema, order="deterministic").decode())

    def problem(payload: Any) -> Problem:
        if accepts is not None and accepts(payload):
            return None
        try:
            slowly(payload)
        except ValidationError as error:
            return "; ".join(error.problems)
        return None

    return problem


@lru_cache(maxsize=256)
def fast(schema: str) -> Callable[[Any], bool] | None:
    """A quick check that is right when it says yes; None for a schema, as JSON text, it may not be asked about."""
    parsed = msgspec.json.decode(schema)
    dialect = parsed.get("$schema", next(iter(_DRAFTS)))
    draft = _DRAFTS.get(dialect) if isinstance(dialect, str) else None
    if draft is None or not _is_common(parsed):
        return None
    import jsonschema_rs  # some megabytes that only item rules need

    try:
        accepts = getattr(jsonschema_rs, draft)(parsed, validate_formats=False).is_valid
    except ValueError:
        return None

    def sure(payload: Any) -> bool:
        try:
            return bool(_is_plain(payload) and accepts(payload))
        except (ValueError, TypeError, OverflowError, RecursionError):  # half a surrogate pair, a key that is no text
            return False

    return sure


def _is_common(schema: Any, depth: int = 0) -> bool:
    """Whether a schema holds nothing but keywords of which both have one opinion."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict) or depth > 32:
        return False
    for keyword, value in schema.items():
        if keyword in _OF_SCHEMAS:
            parts: list[Any] = list(value) if isinstance(value, list) else [None]
        elif keyword in _OF_NAMED_SCHEMAS:
            parts = list(value.values()) if isinstance(value, dict) else [None]
        elif keyword in _ONE_SCHEMA:
            parts = [value]
        elif keyword in _PLAIN and _is_plain(value):
            parts = []
        else:
            return False
        if not all(_is_common(part, depth + 1) for part in parts):
            return False
    return True


def _is_plain(value: Any) -> bool:
    """Whether a value holds no number that the two might count differently."""
    if isinstance(value, int | float):
        return -_LARGEST <= value <= _LARGEST
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else not isinstance(value, tuple)


__all__ = ["batch_check", "fast", "item_check"]
