"""JSON from a file or stdin: one value, or JSON Lines with every bad line named. Commands of work come here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

_SHOWN = 100
"""Bad lines that are told one by one; the rest is counted."""


@dataclass(frozen=True)
class Lines:
    """A file's values with the numbers of their lines, and what is wrong with other lines."""

    source: str
    values: tuple[tuple[int, Any], ...]
    wrong: tuple[tuple[int, str], ...]

    def checked(self, check: Callable[[Any], None]) -> list[Any]:
        """The values when every line is right. `check` raises ValidationError; so does this, naming each bad line."""
        from runlink.domain import ValidationError

        wrong = dict(self.wrong)
        for number, value in self.values:
            try:
                check(value)
            except ValidationError as error:
                wrong[number] = "; ".join(error.problems)
        if wrong:
            told = [f"line {number}: {reason}" for number, reason in sorted(wrong.items())]
            shown = [*told[:_SHOWN], *([f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else [])]
            count = f"{len(told)} lines are" if len(told) > 1 else "one line is"
            text = "\n  ".join([f"{self.source}: {count} wrong, so nothing was added:", *shown])
            raise ValidationError(text, told)
        return [value for _, value in self.values]


def payloads(path: Path) -> Lines:
    """The values of a JSON Lines file, or of stdin for `-`. Empty lines are passed over."""
    source, content = _content(path)
    values: list[tuple[int, Any]] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line.decode("utf-8"), parse_constant=_refuse)))
        except UnicodeDecodeError as error:
            wrong.append((number, f"is not UTF-8 text (byte {error.start})"))
        except RecursionError:
            wrong.append((number, "is nested too deep"))
        except ValueError as error:
            wrong.append((number, f"is not JSON: {error}"))
    return Lines(source, tuple(values), tuple(wrong))


def one_value(path: Path) -> Any:
    """The value of a JSON file, or of stdin for `-`. Raises BadParameter."""
    source, content = _content(path)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{source} is not JSON: {error or 'nested too deep'}") from None


def _content(path: Path) -> tuple[str, bytes]:
    if str(path) == "-":
        return "stdin", sys.stdin.buffer.read()
    try:
        return str(path), path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror or error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
