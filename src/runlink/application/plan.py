"""What a changed configuration would do, before it does it. `runlink plan` comes here.

The rules are asked as they would be, page by page, on a store that is only read: nothing is changed, nobody waits, and
nothing is guessed but the number of requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from runlink.application.linking.relink import EVER, Relinked, relink
from runlink.application.ports import Store
from runlink.application.registry import registering
from runlink.application.rules.rules import Linker
from runlink.application.settings import Settings

_SHOWN: Final = 10
"""Workflows and keys that are named; the rest is counted."""
MEASURED_S: Final = 600.0
"""How long a daemon must have been running before its requests are believed to go on as they did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How an engine is asked: between two polls, and by how many kinds of requests at least in each."""

    interval_s: float
    requests_per_turn: int


def plan(
    store: Store,
    settings: Settings,
    linkers: Mapping[str, Linker],
    paces: Mapping[str, Pace],
    *,
    actor: str,
    now: Callable[[], datetime],
    since: datetime = EVER,
    progress: Callable[[Relinked], None] = lambda _: None,
) -> dict[str, Any]:
    """What registering these settings and relinking would come to, as JSON-able data.

    Keys: `changes` (lines: engines and automations), `instances` (how many were looked at), `rules` (in the order of
    the file, then those that are no longer in it), `runs` (to be made, by automation), `waiting` (keys that no Run has,
    by rule), `engines` (requests). Raises Unregistrable where registering would.
    """
    with store.reading() as uow:
        found = registering(uow, settings, linkers)
    engines = {engine.id: engine for engine in found.engines.values()}
    done = relink(store, found.rules, actor=actor, now=now, since=since, trial=engines, progress=progress)
    return {
        "changes": found.changes,
        "instances": done.instances,
        "rules": rule_rows(settings, done),
        "runs": run_rows(done),
        "waiting": waiting_rows(settings, done),
        "engines": _requests(store, settings, paces),
    }


def run_rows(done: Relinked) -> list[dict[str, Any]]:
    """The Runs that are made, by automation."""
    return [
        {"automation": name, "created": len(keys), "correlation_ids": sorted(keys)[:_SHOWN]}
        for name, keys in sorted(done.made.items())
    ]


def waiting_rows(settings: Settings, done: Relinked) -> list[dict[str, Any]]:
    """The keys that wait for a Run, by rule. An instance of which a rule found several counts for each."""
    rows = []
    for rule in settings.links:
        automation = rule.automation_name
        made = done.made.get(automation, set())  # by another rule
        keys = {key: count for key, count in done.waiting.get(rule.name, {}).items() if key not in made}
        if keys:
            about = {"rule": rule.name, "automation": automation, "instances": sum(keys.values()), "keys": len(keys)}
            rows.append({**about, "correlation_ids": sorted(keys)[:_SHOWN]})
    return rows


def rule_rows(settings: Settings, done: Relinked) -> list[dict[str, Any]]:
    """What each rule comes to, in the order of the file; then those that made links and are no longer in it."""
    names = [rule.name for rule in settings.links]
    gone = sorted((done.linked.keys() | done.unlinked.keys()) - set(names))
    rows = []
    for name in [*names, *gone]:
        matched = done.matched.get(name, Counter[tuple[str, str]]())
        most = sorted(matched.items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN]
        rows.append(
            {
                "rule": name,
                "in_file": name in names,
                "instances": sum(matched.values()),
                "workflows": len(matched),
                "most": [{"engine": key[0], "workflow": key[1], "instances": count} for key, count in most],
                "linked": done.linked[name],
                "unlinked": done.unlinked[name],
                "failed": done.failed[name],
                "reason": done.reasons.get(name),
            }
        )
    return rows


def _requests(store: Store, settings: Settings, paces: Mapping[str, Pace]) -> list[dict[str, Any]]:
    with store.reading() as uow:
        feeds: Sequence[Mapping[str, Any]] = uow.feed_health.list()
        began_at: datetime | None = uow.feed_health.began_at()
    measured = {row["engine"]: per_hour for row in feeds if (per_hour := _measured(row, began_at)) is not None}
    rows = []
    for name, engine in settings.engines.items():
        pace = paces[name]
        estimated = 3600.0 / pace.interval_s * pace.requests_per_turn
        per_hour = measured.get(name, estimated)
        most = engine.max_requests_per_minute * 60
        rows.append(
            {
                "engine": name,
                "requests_per_hour": round(per_hour, 1),
                "basis": "measured" if name in measured else "estimated",
                "interval_s": pace.interval_s,
                "max_requests_per_hour": most,
                "headroom_per_hour": round(most - per_hour, 1),
            }
        )
    return rows


def _measured(row: Mapping[str, Any], began_at: datetime | None) -> float | None:
    """Requests per hour of the daemon that ran last, as far as it ran long enough."""
    last = row["last_success_at"]
    if began_at is None or last is None or not row["requests"]:
        return None
    ran_s = (last - began_at).total_seconds()
    return float(row["requests"]) * 3600.0 / ran_s if ran_s >= MEASURED_S else None
