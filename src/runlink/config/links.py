"""One `[[links]]` table: from TOML to LinkRule, with what a JSON Schema cannot say. `load` comes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jmespath
import jmespath.exceptions

from runlink.application.settings import LinkRule


def link_rule(index: int, table: Mapping[str, Any]) -> LinkRule:
    """The rule of a table that was found sound."""
    return LinkRule(**{"name": f"links[{index}]", **table})


def link_problems(tables: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the rules beyond their schema, a line each."""
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        if isinstance(table, Mapping):
            yield from (f"links[{index}]{reason}" for reason in _problems(table))
            name = table.get("name", f"links[{index}]")
            if name in names:
                yield f"links[{index}].name: {name!r} is the name of links[{names[name]}] too"
            elif isinstance(name, str):
                names[name] = index


def _problems(table: Mapping[str, Any]) -> Iterator[str]:
    inherits = "inherit" in table
    if "automation" not in table and not inherits:
        yield '.automation: is missing; name the Automation, or write inherit = "parent"'
    if "run_key" not in table and not inherits:
        yield '.run_key: is missing; say where a Run\'s id is found, or write inherit = "parent"'
    if table.get("create_run") is True and "run_key" not in table:
        yield ".create_run: needs a run_key, which becomes the new Run's correlation_id"
    if table.get("create_run") is True and "automation" not in table and inherits:
        yield ".create_run: needs an automation, whose Run it is to be"
    expression = table.get("run_key")
    if isinstance(expression, str) and expression:
        yield from (f".run_key: {reason}" for reason in _expression_problems(expression))


def _expression_problems(expression: str) -> Iterator[str]:
    try:
        jmespath.compile(expression)
    except jmespath.exceptions.ParseError as error:
        position = getattr(error, "lex_position", None)
        place = f" at character {position + 1}" if isinstance(position, int) and position >= 0 else " at its end"
        reason = str(getattr(error, "msg", "") or error).splitlines()[0].rstrip(": ")
        yield f"{expression!r} is not JMESPath{place}: {reason}"
    except jmespath.exceptions.JMESPathError as error:
        yield f"{expression!r} is not JMESPath: {str(error).splitlines()[0]}"
