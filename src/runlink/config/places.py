"""Where in a TOML file a key stands, for what is said of it. ConfigError comes here; `tomllib` keeps no places."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runlink.application.problems import toml_path

_Parts = tuple[str | int, ...]


def with_lines(problems: Iterable[str], source: str) -> list[str]:
    """Problems `path: reason`, each with the line of the file at `source` where its key, or the nearest table around
    it, stands, in the order of the lines. Those that no line of the file causes come last."""
    try:
        lines = lines_of(Path(source).read_text("utf-8"))
    except (OSError, ValueError):
        return list(problems)
    placed = sorted(((_line(problem, lines), problem) for problem in problems), key=lambda pair: pair[0] or math.inf)
    return [problem if line is None else f"line {line}: {problem}" for line, problem in placed]


def _line(problem: str, lines: Mapping[str, int]) -> int | None:
    path, _, reason = problem.partition(": ")
    if not reason or reason.rstrip(")").rpartition(" (set by ")[1]:  # an environment variable is to blame
        return None
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)


def lines_of(text: str) -> dict[str, int]:
    """Path, as problems name it, to the line where it is first written. What is no TOML is left out."""
    found: dict[str, int] = {}
    table: _Parts = ()
    tables: dict[_Parts, int] = {}  # how many there are of each [[table]] so far
    for line, statement, parsed in _statements(text):
        if statement.startswith("["):
            table = _header(parsed, statement.startswith("[["), tables)
            found.setdefault(toml_path(table), line)
        else:
            for parts in _paths(parsed, table):
                found.setdefault(toml_path(parts), line)
    return found


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(line, text, meaning) of each header and each key with its value, which may go over several lines."""
    begin, given = 1, ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        begin, given = (begin, given + line) if given else (number, line)
        try:
            parsed = tomllib.loads(given)
        except tomllib.TOMLDecodeError:
            continue
        if parsed:
            yield begin, given.lstrip(), parsed
        given = ""


def _header(parsed: Mapping[str, Any], is_array: bool, tables: dict[_Parts, int]) -> _Parts:
    """The path of a table, with its place among those of one name."""
    parts: _Parts = ()
    inner: Any = parsed
    while inner:
        ((name, inner),) = inner.items()
        parts = (*parts, name)
        inner = inner[0] if isinstance(inner, list) else inner
        if not inner and is_array:
            tables[parts] = tables.get(parts, 0) + 1
        if parts in tables:
            parts = (*parts, tables[parts] - 1)
    return parts


def _paths(value: Any, parts: _Parts) -> Iterator[_Parts]:
    if isinstance(value, Mapping):
        inside: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inside = enumerate(value)
    else:
        return
    for name, inner in inside:
        yield (*parts, name)
        yield from _paths(inner, (*parts, name))
