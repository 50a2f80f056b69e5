"""Environment variables that override the file. `load` comes here.

`RUNLINK_SECTION__KEY` and `RUNLINK_ENGINES__NAME__KEY`, e.g. `RUNLINK_ENGINES__JENKINS_PROD__POLL_INTERVAL_S=30` for
`[engines.jenkins-prod] poll_interval_s`. Names are written in upper case, every character that is no letter or digit as
`_`; a deeper key follows another `__` (`…__TOKEN__ENV=JENKINS_TOKEN`), a list's place is its number
(`RUNLINK_LINKS__0__QUIET_S`). A value is read as TOML, and as plain text where it is no TOML. What is addressed must be
in the file, except for a key of an engine or a section, which may be new. Variables without `__` (`RUNLINK_CONFIG`,
`RUNLINK_STRICT_PLUGINS`, `RUNLINK_DISABLE_PLUGIN_AUTOLOAD`) are no overrides.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from runlink.application.problems import suggestion, toml_path
from runlink.config.schema import base_schema

PREFIX: Final = "RUNLINK_"
_SEPARATOR: Final = "__"

Path = tuple[str | int, ...]


class _Refused(Exception):
    """Why a variable cannot be applied."""


def variable_name(*parts: str | int) -> str:
    """The variable that overrides a key: `("engines", "a-b", "url")` -> `RUNLINK_ENGINES__A_B__URL`."""
    return PREFIX + _SEPARATOR.join(_upper(part) for part in parts)


def apply(document: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Path, str], list[str]]:
    """Writes the overrides into the document.

    Returns which path was set by which variable, and the problems: a variable that addresses nothing, or two engines.
    """
    origins: dict[Path, str] = {}
    problems: list[str] = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and _SEPARATOR in name[len(PREFIX) :]:
            try:
                path = _resolve(name, document)
                _write(document, path, _value(environ[name]))
                origins[path] = name
            except _Refused as reason:
                problems.append(f"{name}: {reason}")
    return origins, problems


def _upper(part: str | int) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", str(part)).upper()


def _resolve(name: str, document: Mapping[str, Any]) -> Path:
    section, _, rest = name[len(PREFIX) :].partition(_SEPARATOR)
    known = base_schema()["properties"]
    if section.lower() not in known:
        near = suggestion(section, known)
        raise _Refused(f"there is no section [{section.lower()}]{near}; sections are {', '.join(known)}")
    if section in ("ENGINES", "AUTOMATIONS"):
        return _named_path(section.lower(), rest, document)
    parts = rest.split(_SEPARATOR)
    if section in ("LINKS", "ITEMS"):
        name, one = section.lower(), section.lower().removesuffix("s")
        rules = document.get(name, ())
        count = len(rules) if isinstance(rules, list) else 0
        if not parts[0].isdecimal() or int(parts[0]) >= count or len(parts) < 2:
            raise _Refused(f"there is no such {one}; write RUNLINK_{section}__N__KEY with N from 0 to {count - 1}")
        keys = base_schema()["$defs"][one]["properties"]
        return (name, int(parts[0]), _known_key(parts[1], keys, f"{name}[{parts[0]}]"), *_deeper(parts[2:]))
    keys = known[section.lower()]["properties"]
    return (section.lower(), _known_key(parts[0], keys, section.lower()), *_deeper(parts[1:]))


def _named_path(section: str, rest: str, document: Mapping[str, Any]) -> Path:
    """The path of a key in one of the tables that have a name: `[engines.NAME]`, `[automations.NAME]`."""
    thing = section.removesuffix("s")
    named = document.get(section, {})
    names = [n for n, table in named.items() if isinstance(table, dict)] if isinstance(named, dict) else []
    matching = [n for n in names if rest.startswith(_upper(n) + _SEPARATOR)]
    if not matching:
        near = difflib.get_close_matches(rest.partition(_SEPARATOR)[0], [_upper(n) for n in names], n=1)
        hint = f"; did you mean {PREFIX}{section.upper()}__{near[0]}__…?" if near else ""
        raise _Refused(f"no {thing} of the file has this name{hint}; names are {', '.join(names) or 'none'}")
    if len(matching) > 1:
        raise _Refused(
            f"may mean each of the {section} {', '.join(matching)}; rename one of them, or write it in the file"
        )
    table = named[matching[0]]
    parts = rest[len(_upper(matching[0]) + _SEPARATOR) :].split(_SEPARATOR)
    if not all(parts):
        raise _Refused(f"names no key; write RUNLINK_{section.upper()}__NAME__KEY")
    written = next((key for key in table if _upper(key) == parts[0]), parts[0].lower())
    return (section, matching[0], written, *_deeper(parts[1:]))


def _known_key(part: str, keys: Mapping[str, Any], where: str) -> str:
    if part.lower() not in keys:
        raise _Refused(f"there is no key {where}.{part.lower()}{suggestion(part, keys)}")
    return part.lower()


def _deeper(parts: list[str]) -> Path:
    return tuple(part.lower() for part in parts)


def _value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return read["value"] if read.keys() == {"value"} else text


def _write(document: dict[str, Any], path: Path, value: Any) -> None:
    place: Any = document
    for done, part in enumerate(path[:-1]):
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise _Refused(f"{toml_path(path[: done + 1])} is no table, so it has no key {path[-1]!r}")
    if isinstance(place, list):
        raise _Refused(f"{toml_path(path[:-1])} is a list; override it as a whole")
    place[path[-1]] = value
