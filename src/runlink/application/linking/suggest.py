"""What an instance and a Run have in common, and the rule that would have linked them. Pure: no store, no clock.

The inbox comes here for its suggestions, `runlink link` for the rule it prints.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from runlink.application.settings import LinkRule

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_DEPTH: Final = 4
_LEAST: Final = 4
"""Characters that a text must have for its being a part of another to mean something."""

_WHOLE_KEY, _PART_OF_KEY, _RULE, _NAMES, _TIME = 70, 35, 15, 10, 15
_SHARED_VALUE, _MOST_SHARED = 10, 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Run as suggestions see it. `siblings` are `places` of instances that count for it already."""

    id: UUID
    automation: str
    correlation_id: str | None
    status: str
    created_at: datetime
    siblings: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """How likely it is that an instance belongs to a Run, from 0 to 100, and why, the strongest reason first."""

    score: int
    reasons: tuple[str, ...] = field(default=())


def places(row: Mapping[str, Any]) -> dict[str, str]:
    """JMESPath -> text of whatever in an instance may name a Run. `row` has the fields of a listing."""
    found: dict[str, str] = {}
    for name, column in (("parameters", "parameters"), ("labels", "labels"), ("metadata", "instance_metadata")):
        found.update(_leaves(name, row.get(column), _MAX_DEPTH))
    for name, column in (("external_id", "external_id"), ("parent", "parent_external_id"), ("url", "url")):
        if row.get(column):
            found[name] = str(row[column])
    found["workflow"] = str(row.get("workflow") or "")
    return found


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            quoted = name if _NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
            yield from _leaves(f"{path}.{quoted}", inner, depth - 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        yield path, str(value).strip()


def score(
    instance: Mapping[str, Any], values: Mapping[str, str], run: Candidate, rules: Iterable[LinkRule]
) -> Suggestion:
    """How well the two go together. `instance` is a listing's row, `values` its places."""
    points: list[tuple[int, str]] = []
    points += _by_key(values, run)
    points += _by_siblings(values, run)
    for rule in rules:
        if rule.automation_name == run.automation and _selects(rule, instance):
            points.append((_RULE, f"rule {rule.name!r} gives this workflow to {run.automation}"))
            break
    else:
        if _alike(str(instance.get("workflow") or ""), run.automation):
            points.append((_NAMES, f"workflow and automation have alike names: {run.automation}"))
    points += _by_time(instance, run)
    points.sort(key=lambda pair: -pair[0])
    return Suggestion(min(100, sum(p for p, _ in points)), tuple(reason for _, reason in points))


def _by_key(values: Mapping[str, str], run: Candidate) -> Iterator[tuple[int, str]]:
    own = {str(run.id): "id", run.id.hex: "id"}
    if run.correlation_id:
        own[run.correlation_id] = "correlation id"
    for path, value in values.items():
        if value in own:
            yield _WHOLE_KEY, f"{path} is its {own[value]}, {value}"
            return
    if run.correlation_id and len(run.correlation_id) >= _LEAST:
        for path, value in values.items():
            if run.correlation_id in value:
                yield _PART_OF_KEY, f"{path} contains its correlation id, {run.correlation_id}"
                return
        for path, value in values.items():
            if path.startswith(("parameters", "labels")) and len(value) >= _LEAST and value in run.correlation_id:
                yield _PART_OF_KEY, f"its correlation id contains {path}, {value}"
                return


def _by_siblings(values: Mapping[str, str], run: Candidate) -> Iterator[tuple[int, str]]:
    shared = {
        path
        for sibling in run.siblings
        for path, value in values.items()
        if path.startswith(("parameters", "labels")) and len(value) >= _LEAST and sibling.get(path) == value
    }
    if shared:
        points = min(_MOST_SHARED, _SHARED_VALUE * len(shared))
        yield points, f"{', '.join(sorted(shared)[:3])} as in what is linked to it already"


def _by_time(instance: Mapping[str, Any], run: Candidate) -> Iterator[tuple[int, str]]:
    began = instance.get("queued_at") or instance.get("started_at")
    if began is None:
        return
    apart_s = (began - run.created_at).total_seconds()
    points = round(_TIME * (1 - min(1.0, math.log10(1 + abs(apart_s)) / 5)))  # none beyond 28 hours
    if points:
        when = "after" if apart_s >= 0 else "before"
        yield points, f"began {_span(abs(apart_s))} {when} the Run was made"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def _selects(rule: LinkRule, instance: Mapping[str, Any]) -> bool:
    named = str(instance["engine"]), str(instance.get("engine_type") or ""), str(instance.get("workflow") or "")
    return rule.workflow != "*" and rule.matches(*named)


def _alike(workflow: str, automation: str) -> bool:
    return not _words(workflow).isdisjoint(_words(automation))


@lru_cache(maxsize=10_000)  # of a page each is compared with hundreds
def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[^a-z0-9]+", text.lower()) if len(word) >= _LEAST)


# --- the rule that would have made a link ---------------------------------------------------------------------------


def rule_for(
    instance: Mapping[str, Any], run: Candidate, rules: Sequence[LinkRule], *, parent_linked: bool
) -> str | None:
    """The `[[links]]` table, as TOML, that finds this Run for this instance; None when nothing in the instance leads to
    it. `parent_linked` says whether the instance that started it counts for the Run."""
    key = _key(places(instance), run)
    engine, workflow = _literal(instance["engine"]), _literal(str(instance.get("workflow") or "*"))
    table: dict[str, Any] = {"engine": engine, "workflow": workflow}
    if key is not None:
        table |= {"name": _unused(f"{run.automation} by {key[1]}", rules), "automation": run.automation}
        table["run_key"] = key[0]
    elif parent_linked:
        table |= {"name": _unused(f"{workflow} with its parent", rules), "inherit": "parent"}
    else:
        return None
    lines = ["[[links]]", *(f"{name} = {_toml(table[name])}" for name in _ORDER if name in table)]
    if key is not None and (other := _rival(engine, workflow, run.automation, rules)):
        lines.insert(0, f"# put this above {other!r}, which gives the same workflow to another automation")
        lines.append("stop = false")
    return "\n".join(lines) + "\n"


_GIVEN: Final = ("parameters.", "labels.", "metadata.")
_ORDER: Final = ("name", "engine", "workflow", "automation", "run_key", "inherit")


def _key(values: Mapping[str, str], run: Candidate) -> tuple[str | dict[str, str], str] | None:
    """`run_key`, and in a word or two where the key is."""
    own = {str(run.id), run.id.hex, run.correlation_id}
    for path, value in values.items():
        if value in own:
            return path, path
    template = _template(values, run.correlation_id or "")
    return None if template is None else ({"template": template}, "template")


def _template(values: Mapping[str, str], text: str) -> str | None:
    """The correlation id put together of what was given to the instance; at least a third of it must be found there."""
    parts: list[tuple[str, bool]] = [(text, False)]  # (text, whether it is a placeholder)
    found = 0
    given = [(path, value) for path, value in values.items() if path.startswith(_GIVEN)]
    for path, value in sorted(given, key=lambda pair: -len(pair[1])):
        for place, (part, done) in enumerate(parts):
            if not done and len(value) >= _LEAST and value in part:
                before, _, after = part.partition(value)
                parts[place : place + 1] = [(before, False), (path, True), (after, False)]
                found += len(value)
                break
    if found * 3 < len(text) or not found:
        return None
    escaped = [f"{{{p}}}" if done else p.replace("{", "{{").replace("}", "}}") for p, done in parts]
    return None if any(done and re.search(r"[{}]", p) for p, done in parts) else "".join(escaped)


def _rival(engine: str, workflow: str, automation: str, rules: Sequence[LinkRule]) -> str | None:
    for rule in rules:
        same = engine in _listed(rule.engine) and workflow in _listed(rule.workflow)
        if same and rule.automation_name not in ("", automation):
            return rule.name
    return None


def _listed(patterns: str | tuple[str, ...]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _literal(text: str) -> str:
    """A pattern that matches this text alone."""
    return re.sub(r"([*?\[])", r"[\1]", text) if text != "*" else text


def _unused(name: str, rules: Sequence[LinkRule]) -> str:
    taken = {rule.name for rule in rules}
    return next(n for n in (name, *(f"{name} ({count})" for count in range(2, len(taken) + 3))) if n not in taken)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
