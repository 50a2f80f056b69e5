"""One `[[items]]` table: from TOML to ItemRule, with what a JSON Schema cannot say. `load` comes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runlink.application.rules.keys import compile_expression
from runlink.application.settings import ItemRule

_EXPRESSIONS: Final = ("where", "batch", "batch_payload", "sequence_number", "key", "payload", "max_attempts")


def item_rule(index: int, table: Mapping[str, Any]) -> ItemRule:
    """The rule of a table that was found sound."""
    return ItemRule(**{"name": f"items[{index}]", **table})


def item_problems(tables: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the rules beyond their schema, a line each."""
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        if isinstance(table, Mapping):
            yield from (f"items[{index}]{reason}" for reason in _problems(table))
            name = table.get("name", f"items[{index}]")
            if name in names:
                yield f"items[{index}].name: {name!r} is the name of items[{names[name]}] too"
            elif isinstance(name, str):
                names[name] = index


def _problems(table: Mapping[str, Any]) -> Iterator[str]:
    if not table.keys() & {"sequence_number", "key", "each"}:
        yield ': does not say which item a step is; give sequence_number, key, or each = "steps"'
    if "each" in table:
        for other in ("sequence_number", "key"):
            if other in table:
                yield f".each: says which item a step is, and so does {other}; keep one of them"
    if "batch_payload" in table and table.get("create") is not True:
        yield ".batch_payload: is for batches that are made; write create = true, or take it out"
    for name in _EXPRESSIONS:
        expression = table.get(name)
        if isinstance(expression, str) and expression:
            try:
                compile_expression(expression)
            except ValueError as error:
                yield f".{name}: {error}"
