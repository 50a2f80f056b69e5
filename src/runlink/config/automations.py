"""One `[automations.NAME]` table: from TOML to a Policy, with what a JSON Schema cannot say. `load` comes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runlink.application.policy import Policy
from runlink.application.problems import toml_path


def policy(table: Mapping[str, Any]) -> Policy:
    """The policy of a table that was found sound."""
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Policy(**given)


def automation_problems(tables: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the policies beyond their schema, a line each."""
    stripped: dict[str, str] = {}
    for name, table in tables.items():
        at = toml_path(("automations", name))
        if (other := stripped.setdefault(name.strip(), name)) != name:
            yield f"{at}: is the same automation as {toml_path(('automations', other))}; write one table"
        if isinstance(table, Mapping):
            yield from (f"{at}{reason}" for reason in _problems(table))


def _problems(table: Mapping[str, Any]) -> Iterator[str]:
    if table.get("on_failure") == "fail-fast" and table.get("retry_grace_s"):
        yield '.retry_grace_s: has no effect with on_failure = "fail-fast"; remove one of them'
    if table.get("failed_by") == "any" and table.get("retry_grace_s"):
        yield '.retry_grace_s: has no effect with failed_by = "any": another try changes nothing; remove one of them'
    if table.get("expected") and "quiet_s" in table:
        yield ".quiet_s: has no effect beside expected, which says when a Run is complete; remove one of them"
    if table.get("complete") == "by-hand" and "quiet_s" in table:
        yield '.quiet_s: has no effect with complete = "by-hand"; remove one of them'
