"""What a JSON Schema finds wrong with a configuration, in an operator's words and under its TOML path.

`config` comes here for the host's own keys, `hosting` for those of plugins.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_TYPES: Final = {
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SHOWN: Final = 60


def toml_path(parts: Iterable[str | int]) -> str:
    """The path as TOML writes it: `engines."a b".include[0]`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            path += f".{key}" if path else key
    return path


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'url'?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word.lower(), sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def problems(errors: Iterable[Any], prefix: tuple[str | int, ...] = (), known: Iterable[str] = ()) -> list[str]:
    """One line `path: reason` for each jsonschema error, in the order of the paths.

    `prefix` is where the checked value stands; `known` are further keys to suggest at its top.
    """
    found: list[str] = []
    for error in errors:
        path = (*prefix, *error.absolute_path)
        extra = known if not error.absolute_path else ()
        found.extend(f"{toml_path(at)}: {reason}" for at, reason in _reasons(error, path, tuple(extra)))
    return sorted(set(found))


def _reasons(
    error: Any, path: tuple[str | int, ...], known: tuple[str, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    rule, wanted, value = error.validator, error.validator_value, error.instance
    if rule == "additionalProperties" and isinstance(value, Mapping):
        properties = error.schema.get("properties", {})
        patterns = error.schema.get("patternProperties", {})
        for key in value:
            if key not in properties and not any(re.search(p, key) for p in patterns):
                yield (*path, key), f"unknown key{suggestion(key, (*properties, *known))}"
    elif rule == "required" and isinstance(value, Mapping):
        yield from (((*path, key), "is missing") for key in wanted if key not in value)
    else:
        yield path, error.schema.get("x-problem", "").replace("{value}", shown(value)) or _reason(error)


def _reason(error: Any) -> str:
    rule, wanted, value = error.validator, error.validator_value, shown(error.instance)
    plain = {
        "minimum": "is less than",
        "maximum": "is more than",
        "exclusiveMinimum": "is not more than",
        "exclusiveMaximum": "is not less than",
    }
    if rule == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        return f"{value} is not {' or '.join(_TYPES.get(n, n) for n in names)}"
    if rule in plain:
        return f"{value} {plain[rule]} {wanted}"
    if rule == "enum":
        return f"{value} is not one of {', '.join(shown(w) for w in wanted)}"
    if rule == "pattern":
        return f"{value} does not have the form {wanted}"
    if rule in ("minLength", "minItems", "minProperties") and wanted == 1:
        return "is empty"
    message = str(error.message)
    return message if len(message) <= 300 else f"{message[:299]}…"


def shown(value: object) -> str:
    """A value as an error shows it, cut to 60 characters."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
