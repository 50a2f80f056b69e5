"""What an `[[items]]` rule reads out of a step. Pure: no store, no clock. `items` and its preview come here.

A rule sees the latest attempt of a step: its fields by name, with `fan_out`, `instance` and `run` beside them.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from jmespath.exceptions import JMESPathError

from runlink.application.rows import StepRow
from runlink.application.rules.keys import KeyOf, compile_expression, step_view
from runlink.application.settings import ItemRule

MAX_NUMBER: Final = 2**31 - 1
MAX_NAME_CHARS: Final = 500
_MAX_ATTEMPTS: Final = 1_000_000
_EXPRESSIONS: Final = ("where", "batch", "batch_payload", "sequence_number", "key", "payload", "max_attempts")
_INDEXED: Final = (re.compile(r"(.*)\[(\d+)\]", re.DOTALL), re.compile(r"(.*?)\((\d+):(.*)\)", re.DOTALL))
_AXIS: Final = re.compile(r"([A-Za-z_]\w*)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,'\"]*))\s*(?:,|$)")
_MATRIX: Final = re.compile(r"(?:(.*?)\s*[-:]\s+)?([A-Za-z_]\w*\s*=.*)", re.DOTALL)


class Unfit(Exception):
    """Why a step that counts gives no item."""


@dataclass(slots=True)
class Claim:
    """A step that counts, for one Run: the batch and item it says it is, or the problem with that.

    batch         the name that the rule gives; `number` and `key`: at least one of them, unless there is a problem
    max_attempts  of the engine's policy, where the rule knows it
    item_id, batch_id   once they were found or made; `differs`: their payloads are not what the rule gives
    """

    run_id: UUID
    instance_id: UUID
    external_id: str
    name: str
    rule: ItemRule
    batch: str = ""
    number: int | None = None
    key: str | None = None
    payload: Any = None
    batch_payload: Any = None
    max_attempts: int | None = None
    problem: str | None = None
    batch_id: UUID | None = None
    item_id: UUID | None = None
    made: bool = False
    differs: str | None = None


@dataclass(frozen=True)
class ReadyItemRule:
    """A rule with its expressions compiled; `wants_times` when one of them asks for a time."""

    rule: ItemRule
    of: Mapping[str, KeyOf] = field(default_factory=dict)
    wants_times: bool = False

    def counts(self, view: Mapping[str, Any], is_leaf: bool) -> bool:
        """Whether the step is one of this rule's. Raises Unfit when `where` fails on it."""
        rule = self.rule
        if (rule.leaves and not is_leaf) or (rule.steps != "*" and not fnmatch.fnmatchcase(view["name"], rule.steps)):
            return False
        return "where" not in self.of or _is_true(self.asked("where", view))

    def asked(self, name: str, view: Mapping[str, Any]) -> Any:
        """What an expression finds; None without one. Raises Unfit when it fails."""
        search = self.of.get(name)
        if search is None:
            return None
        try:
            return search(view)
        except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise Unfit(f"{name}: {str(error).splitlines()[0]}") from error


@lru_cache(maxsize=1024)
def ready(rule: ItemRule) -> ReadyItemRule:
    """The rule, ready to be asked. Raises ValueError for an expression that is no JMESPath."""
    given = {name: text for name in _EXPRESSIONS if (text := getattr(rule, name)) is not None}
    compiled = {name: compile_expression(text) for name, text in given.items()}
    return ReadyItemRule(rule, compiled, any("_at" in text for text in given.values()))


@lru_cache(maxsize=65536)
def fan_out_of(name: str) -> Mapping[str, Any] | None:
    """What the name of a step says of its place in a fan-out; None when it says nothing.

    `square[2]` (Airflow), `print(0:a)` (Argo's withItems), `Matrix - OS = 'linux', DB = 'pg'` (Jenkins):
    `name`, `index`, `item`, `axes`, each None where the name has none.
    """
    for pattern in _INDEXED:
        if (found := pattern.fullmatch(name)) is not None:
            index = int(found[2])
            item = found[3] if found.re.groups > 2 else None
            return {"name": found[1], "index": index if index <= MAX_NUMBER else None, "item": item, "axes": None}
    if (found := _MATRIX.fullmatch(name)) is not None:
        axes = {axis[1]: (axis[2] or axis[3] or axis[4] or "").strip() for axis in _AXIS.finditer(found[2])}
        if axes:
            return {"name": found[1] or None, "index": None, "item": None, "axes": axes}
    return None


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which `step 9` comes before `step 10`."""
    parts = re.split(r"(\d+)", text)
    return tuple((1, int(part), "") if place % 2 else (0, 0, part) for place, part in enumerate(parts))


def view_of(row: StepRow, *, times: bool = True) -> dict[str, Any]:
    """A step as expressions see it, without `instance` and `run`; times as ISO 8601 text."""
    view = step_view(row, times=times)
    view["fan_out"] = fan_out_of(row.name)
    return view


Skip = Callable[[StepRow, str], None]
"""Told of each step that does not count, with the reason."""


def claims_of(
    rules: Sequence[ReadyItemRule],
    run: Mapping[str, Any],
    instance: Mapping[str, Any],
    ids: tuple[UUID, UUID],
    steps: Iterable[StepRow],
    parents: set[str],
    skipped: Skip | None = None,
) -> list[Claim]:
    """What the latest attempts of an instance's steps claim to be, for one Run; `ids` are those of Run and instance.

    Of several rules the first that counts a step takes it. `parents` are the steps that others name as their parent.
    """
    times = any(rule.wants_times for rule in rules)
    claims = []
    for row in steps:
        is_leaf = row.external_id not in parents
        view = view_of(row, times=times)
        view["instance"], view["run"] = instance, run
        for one in rules:
            try:
                counts, problem = one.counts(view, is_leaf), None
            except Unfit as error:
                counts, problem = True, str(error)
            if counts:
                claim = Claim(*ids, row.external_id, row.name, one.rule, problem=problem)
                if problem is None:
                    _fill(claim, one, view)
                claims.append(claim)
                break
        else:
            if skipped is not None:
                skipped(row, _why_not(rules, row, is_leaf))
    return claims


def _why_not(rules: Sequence[ReadyItemRule], row: StepRow, is_leaf: bool) -> str:
    if not rules:
        return "no rule is for this workflow"
    if not is_leaf and all(one.rule.leaves for one in rules):
        return "other steps are parts of it, and the rule counts leaves only"
    if not any(fnmatch.fnmatchcase(row.name, one.rule.steps) for one in rules):
        return f"its name does not match {' or '.join(repr(one.rule.steps) for one in rules)}"
    return "`where` is not true of it"


def _fill(claim: Claim, one: ReadyItemRule, view: Mapping[str, Any]) -> None:
    try:
        fan_out = view["fan_out"] or {}
        claim.batch = _batch_name(one, view, fan_out)
        if one.rule.each is not None:
            claim.number = fan_out.get("index")
            claim.key = view["name"] if claim.number is None else None
        if one.rule.key is not None:
            claim.key, claim.number = _text("key", one.rule.key, one.asked("key", view)), None
        if one.rule.sequence_number is not None:
            claim.number = _number(one.rule.sequence_number, one.asked("sequence_number", view))
        claim.payload = one.asked("payload", view)
        claim.batch_payload = one.asked("batch_payload", view)
        claim.max_attempts = _attempts(one.asked("max_attempts", view))
    except Unfit as error:
        claim.problem = str(error)


def _batch_name(one: ReadyItemRule, view: Mapping[str, Any], fan_out: Mapping[str, Any]) -> str:
    if one.rule.batch is not None:
        return _text("batch", one.rule.batch, one.asked("batch", view))
    named = fan_out.get("name") if one.rule.each is not None and fan_out.get("index") is not None else None
    return str(named or view["instance"]["workflow"])


def _is_true(value: Any) -> bool:
    """As JMESPath has it: false, null and whatever is empty are not; 0 is."""
    return value is not None and value is not False and value not in ("", [], {})


def _text(what: str, expression: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(value)
    if isinstance(value, str) and (text := value.strip()):
        if len(text) > MAX_NAME_CHARS:
            raise Unfit(f"{what}: {expression} gives {len(text)} characters; at most {MAX_NAME_CHARS} are kept")
        return text
    raise Unfit(f"{what}: {expression} gives {_shown(value)}, no text")


def _number(expression: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,10}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER:
        return value
    raise Unfit(f"sequence_number: {expression} gives {_shown(value)}, no whole number from 0 to {MAX_NUMBER}")


def _attempts(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,7}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_ATTEMPTS:
        return None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
