"""How far a plugin is, in its own words: the file `grade.toml` in its package, checked as far as can be.

The loader comes here for what `plugins list` shows, `runlink plugins check` for the whole account.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

FILE: Final = "grade.toml"

RULES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "basic": {
            "reads": "`check` and `poll` follow the engine, open runs until they end",
            "statuses": "each native status is mapped, an unknown one is named",
            "readme": "the README says what is promised, which permissions it needs, and how the run id is passed on",
            "schema": "each key of its configuration is described",
        },
        "solid": {
            "contract": "its tests use runlink.testing.AdapterContract, exemptions with reasons",
            "recordings": "its tests use recorded answers of a real engine, whose version is told",
            "deletion": "what the engine forgot is told as gone",
            "parameters": "what a run was started with, and its parent, are told",
        },
        "full": {
            "attempts": "tries, and re-runs in place, are told as attempts",
            "steps": "the parts of a run are told",
            "live": "its tests were run against a live engine, and the tables agree with the engine's own account",
            "news": "changes come by a watch or a push, beside the poll",
        },
    }
)
"""grade -> its rules -> what each asks; a grade asks for those of the grades before it, too."""

GRADES: Final = tuple(RULES)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What a grade file says. `rules` has "done", "open" or the reason of an exemption; `problems` are its mistakes."""

    grade: str | None = None
    experimental: bool = True
    rules: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_grade(package: str) -> Grade:
    """The grade of a plugin's package; one without a file is experimental and has none."""
    try:
        text = importlib.resources.files(package).joinpath(FILE).read_text("utf-8")
    except (OSError, ImportError, TypeError, ValueError):
        return Grade(problems=(f"{package} has no {FILE}; `runlink plugins new` shows one",))
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Grade(problems=(f"{FILE}: {error}",))
    return _checked(given)


def _checked(given: Mapping[str, Any]) -> Grade:
    problems: list[str] = []
    grade, experimental, rules = given.get("grade"), given.get("experimental"), given.get("rules")
    if unknown := sorted(given.keys() - {"grade", "experimental", "rules"}):
        problems.append(f"{FILE}: unknown key {', '.join(unknown)}; known: grade, experimental, rules")
    if grade not in GRADES:
        problems.append(f"{FILE}: grade is {grade!r}; give one of {', '.join(GRADES)}")
    if not isinstance(experimental, bool):
        problems.append(f"{FILE}: experimental is {experimental!r}; give true until it was run against a live engine")
    if not isinstance(rules, Mapping):
        rules = {}
        problems.append(f"{FILE}: there is no table [rules]")
    known = {name for group in RULES.values() for name in group}
    problems += [f"{FILE}: rules.{name} is no rule" for name in sorted(rules.keys() - known)]
    told = {name: _settled(name, value, problems) for name, value in rules.items() if name in known}
    if grade in GRADES:
        asked = [name for level in GRADES[: GRADES.index(grade) + 1] for name in RULES[level]]
        problems += [f"{FILE}: grade {grade} asks for the rule {name}, of which it says nothing" for name in asked
                     if name not in told]  # fmt: skip
    if experimental is True and told.get("live") == "done":
        problems.append(
            f"{FILE}: rules.live is done, and experimental says that it was never run against a live engine"
        )
    if experimental is False and grade == "full" and told.get("live") != "done":
        problems.append(f"{FILE}: rules.live is not done, yet experimental is false")
    return Grade(
        grade=grade if grade in GRADES else None,
        experimental=experimental is not False,
        rules=told,
        problems=tuple(problems),
    )


def _settled(name: str, value: Any, problems: list[str]) -> str:
    """ "done", "open", or the reason of `{ exempt = "…" }`."""
    if value in ("done", "open"):
        return str(value)
    reason = value.get("exempt") if isinstance(value, Mapping) and set(value) == {"exempt"} else None
    if isinstance(reason, str) and reason.strip():
        return f"exempt: {reason.strip()}"
    problems.append(f'{FILE}: rules.{name} is {value!r}; give "done", "open", or {{ exempt = "the reason" }}')
    return "open"
