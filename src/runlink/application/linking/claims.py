"""What the rules say of instances before any Run is looked for: keys, and values to know parents by. `link` comes here.

A rule that fails on one instance fails on that one alone: it is noted, and everything else goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from runlink.application.rows import Correlation, Quarantined, RunTimes
from runlink.application.rules.keys import RuleFailed
from runlink.application.rules.rules import Asked, ReadyRule, Rules
from runlink.domain import Engine, OrchestrationInstance

SKEW_S: Final = 5.0
"""How much later than an instance's beginning a Run may have been made and still count as made before it: clocks
differ, and engines tell whole seconds."""

_json = msgspec.json.Encoder(order="deterministic")


class Claim(NamedTuple):
    """One key that a rule found. `keys` are the key itself and, where the rule makes Runs of another correlation id,
    that one too; the Run sought has one of them."""

    instance: OrchestrationInstance
    ready: ReadyRule
    automation_id: UUID
    keys: tuple[str, ...]
    created_by: str | None


class Failure(NamedTuple):
    """A rule that could not be applied to one instance."""

    instance: OrchestrationInstance
    engine: Engine
    rule: str
    reason: str

    def quarantined(self) -> Quarantined:
        """As it is set aside; the same rule on the same instance is one entry, counted."""
        reason = f"link rule {self.rule!r}: {self.reason}"
        name = self.instance.external_id
        mark = hashlib.blake2b(f"{self.rule}\n{name}".encode(), digest_size=16).hexdigest()
        raw = _json.encode(Asked(self.instance, self.engine).view).decode()
        return Quarantined(mark, name, reason[:2000].replace("\0", ""), raw[:65536].replace("\\u0000", ""))


@dataclass(slots=True)
class Claims:
    """What was found in some instances."""

    keys: list[Claim] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def claims_of(rules: Rules, asked: Iterable[Asked]) -> Claims:
    """Asks the rules about each instance."""
    found = Claims()
    for one in asked:
        for ready in rules.applying(one.engine, one.instance):
            try:
                _claim(rules, ready, one, found)
            except RuleFailed as error:
                found.failures.append(Failure(one.instance, one.engine, ready.rule.name, str(error)))
        for ready in rules.offering(one.engine, one.instance):
            try:
                values = ready.offers(one)
            except RuleFailed as error:
                found.failures.append(Failure(one.instance, one.engine, ready.rule.name, str(error)))
            else:
                found.correlations.extend(Correlation(ready.topic, "parent", v, one.instance.id) for v in values)
    return found


def _claim(rules: Rules, ready: ReadyRule, asked: Asked, found: Claims) -> None:
    rule = ready.rule
    if rule.run_key is not None and rule.automation in rules.automations:
        for key in ready.keys(asked):
            correlation_id, created_by = ready.new_run(asked, key) if rule.create_run else (key, None)
            keys = (key,) if correlation_id == key else (key, correlation_id)
            found.keys.append(Claim(asked.instance, ready, rules.automations[rule.automation], keys, created_by))
    if rule.parent is not None:
        values = ready.asks(asked)
        found.correlations.extend(Correlation(ready.topic, "child", v, asked.instance.id) for v in values)


def nearest(instance: OrchestrationInstance, runs: Sequence[RunTimes], within_s: float | None) -> UUID | None:
    """Of Runs with one key, the one made last before the instance began, else the first made after it.

    A Run's time is when it was made, or started where that is earlier. With `within_s` only those count that were made
    or started so near to the instance's beginning; an instance that does not tell when it began counts for the latest.
    """
    if not runs:
        return None
    if within_s is None and len(runs) == 1:
        return runs[0].id
    began = instance.queued_at or instance.started_at
    if began is None:
        return runs[-1].id
    if within_s is not None:
        runs = [run for run in runs if _distance_s(run, began) <= within_s]
    latest_begin = began + timedelta(seconds=SKEW_S)
    before = [run for run in runs if _time(run) <= latest_begin]
    chosen = max(before, key=lambda r: (_time(r), r.id)) if before else min(runs, key=_order, default=None)
    return chosen.id if chosen is not None else None


def _order(run: RunTimes) -> tuple[datetime, UUID]:
    return _time(run), run.id


def _time(run: RunTimes) -> datetime:
    return run.created_at if run.started_at is None else min(run.created_at, run.started_at)


def _distance_s(run: RunTimes, began: datetime) -> float:
    times = [run.created_at] if run.started_at is None else [run.created_at, run.started_at]
    return min(abs((began - at).total_seconds()) for at in times)
