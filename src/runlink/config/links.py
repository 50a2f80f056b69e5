"""One `[[links]]` table: from TOML to LinkRule, with what a JSON Schema cannot say. `load` comes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runlink.application.problems import shown, toml_path
from runlink.application.rules.keys import compile_key, compile_template
from runlink.application.settings import KeyHook, KeyTemplate, LinkRule, NewRun, ParentRule, Patterns

_MAX_PAIRS = 2000  # of rules that are compared with each other: a longer file is one that a program wrote


def link_rule(index: int, table: Mapping[str, Any]) -> LinkRule:
    """The rule of a table that was found sound."""
    given = dict(table)
    for name in ("engine", "workflow"):
        if name in given:
            given[name] = _patterns(given[name])
    if "type" in given:
        given["type"] = _lower(given["type"])
    if "labels" in given:
        given["labels"] = {label: _patterns(value) for label, value in given["labels"].items()}
    if "run_key" in given:
        ways = [_way(way) for way in _ways(given["run_key"])]
        given["run_key"] = ways[0] if len(ways) == 1 and isinstance(ways[0], str) else tuple(ways)
    if isinstance(given.get("create_run"), Mapping):
        given["create_run"] = NewRun(**given["create_run"])
    if "parent" in given:
        given["parent"] = _parent(given["parent"])
    return LinkRule(**{"name": f"links[{index}]", **given})


def _parent(table: Mapping[str, Any]) -> ParentRule:
    about = {"other" if key == "with" else key: _patterns(value) for key, value in table.items()}
    if "type" in about:
        about["type"] = _lower(about["type"])
    return ParentRule(**about)


def _patterns(given: str | Sequence[str]) -> Any:
    return given if isinstance(given, str) else tuple(given)


def _lower(given: str | Sequence[str]) -> Patterns:
    return given.lower() if isinstance(given, str) else tuple(one.lower() for one in given)


def _ways(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _way(given: Any) -> str | KeyTemplate | KeyHook:
    if isinstance(given, str):
        return given
    return KeyTemplate(**given) if "template" in given else KeyHook(**given)


def link_problems(tables: Sequence[Any]) -> Iterator[str]:
    """What is wrong with the rules beyond their schema, a line each."""
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        if isinstance(table, Mapping):
            yield from (f"links[{index}]{reason}" for reason in _problems(table))
            name = table.get("name", f"links[{index}]")
            if not isinstance(name, str):
                continue
            if name in names:
                yield f"links[{index}].name: {name!r} is the name of links[{names[name]}] too"
            names.setdefault(name, index)
    yield from _two_automations(tables)


def _problems(table: Mapping[str, Any]) -> Iterator[str]:
    inherits = "inherit" in table or "parent" in table
    otherwise = 'or write inherit = "parent"'
    if "automation" not in table and ("run_key" in table or not inherits):
        yield f".automation: is missing; name the Automation, {otherwise}"
    if "run_key" not in table and not inherits:
        yield f".run_key: is missing; say where a Run's id is found, {otherwise}"
    if "run_key" not in table:
        if table.get("create_run"):
            yield ".create_run: needs a run_key, which becomes the new Run's correlation_id"
        if "within_s" in table:
            yield ".within_s: needs a run_key, whose Runs it chooses among"
    yield from _expressions(table)


def _expressions(table: Mapping[str, Any]) -> Iterator[str]:
    given = table.get("run_key")
    for place, way in enumerate(_ways(given)):
        at = f".run_key[{place}]" if isinstance(given, list) else ".run_key"
        yield from _unsound(at, compile_key, way)
        if isinstance(way, Mapping):
            yield from _unsound(f"{at}.template", compile_template, way.get("template"))
    parent, new_run = table.get("parent"), table.get("create_run")
    if isinstance(parent, Mapping):
        for key in ("match", "with"):
            yield from _unsound(f".parent.{key}", compile_key, parent.get(key))
    if isinstance(new_run, Mapping):
        for key in ("correlation_id", "created_by"):
            yield from _unsound(f".create_run.{key}", _run_template, new_run.get(key))


def _run_template(template: str) -> object:
    return compile_template(template, extra=("key",))


def _unsound(at: str, check: Callable[[str], object], given: Any) -> Iterator[str]:
    if isinstance(given, str) and given:
        try:
            check(given)
        except ValueError as error:
            yield f"{at}: {error}"


# --- two automations for one pattern -------------------------------------------------------------------------------


def _two_automations(tables: Sequence[Any]) -> Iterator[str]:
    """Rules that give what one pattern selects to two automations, where the first says nothing of `stop`.

    Patterns are compared as they are written: `release/*` and `release/*` are one, `*` and `release/*` are two, and a
    rule for everything beneath rules for something is no mistake.
    """
    rules = [(i, t) for i, t in enumerate(tables) if isinstance(t, Mapping) and isinstance(t.get("automation"), str)]
    for place, (second, later) in enumerate(rules[:_MAX_PAIRS]):
        for first, earlier in rules[:place]:
            if "stop" in earlier or earlier["automation"].strip() == later["automation"].strip():
                continue
            workflow = _same_selection(earlier, later)
            if workflow is not None:
                yield (
                    f"{toml_path(('links', second, 'automation'))}: {shown(later['automation'])} is the second "
                    f"automation for the workflow {shown(workflow)}; links[{first}] gives it to "
                    f"{shown(earlier['automation'])}: write stop = true there to end with it, or stop = false if both "
                    "are meant"
                )
                break


def _same_selection(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The workflow pattern that both select, of the same engines, with the same labels and attempts; or None."""
    attempts = {str(rule.get("attempt", "any")) for rule in (one, other)}
    if one.get("labels", {}) != other.get("labels", {}) or attempts == {"first", "later"}:
        return None
    if not all(_shared(one, other, key) for key in ("engine", "type")):
        return None
    return min(_shared(one, other, "workflow"), default=None)


def _shared(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> set[str]:
    return _written(one.get(key, "*")) & _written(other.get(key, "*"))


def _written(patterns: Any) -> set[str]:
    return {p for p in _ways(patterns) if isinstance(p, str)}
