"""Whether the steps of a workflow still fit the rule that makes items of them: drift, told once, until they fit again.

Judged by the instance of the workflow that was begun last. What gives no item is quarantined as well, and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from runlink.application.items.rows import Carrier, Fit, Fitting
from runlink.application.items.rules import Claim, ReadyItemRule, view_of
from runlink.application.ports import UnitOfWork
from runlink.application.rows import Quarantined, StepRow, Tracked
from runlink.domain import ExecutionStatus, ItemsDrifted

FEED: Final = "items"
_MAX_REASON_CHARS: Final = 500
_MAX_RAW_CHARS: Final = 4000


@dataclass(frozen=True, slots=True)
class _Judged:
    """One instance under one rule."""

    carrier: Carrier
    rule: str
    tracked: Tracked

    @property
    def begun_at(self) -> datetime:
        instance = self.tracked.instance
        return instance.queued_at or instance.started_at or instance.created_at


def judge(
    uow: UnitOfWork,
    ruled: Iterable[tuple[Carrier, Sequence[ReadyItemRule]]],
    instances: Mapping[UUID, Tracked],
    claims: Sequence[Claim],
    steps: Mapping[tuple[UUID, str], Sequence[StepRow]],
    now: datetime,
) -> None:
    """Writes down how these instances fit, with an event for each onset of drift, and quarantines what does not."""
    ruled = list(ruled)
    _quarantine(uow, {one.instance_id: one for one, _ in ruled}, claims, instances, steps, now)
    latest: dict[tuple[UUID, str, str], tuple[_Judged, Fitting, str | None]] = {}
    found = {(one.instance_id, one.rule): one for one in uow.ledger.fittings(sorted(instances))}
    for one, chosen in ruled:
        for rule in chosen:
            judged = _Judged(one, rule.rule.name, instances[one.instance_id])
            fitting = found.get((one.instance_id, judged.rule)) or Fitting(
                one.instance_id, judged.rule, 0, 0, 0, None, None
            )
            if not fitting.counted and not _ended_with(judged.tracked):
                continue  # its steps may be still to come
            reason = reason_of(fitting, judged.tracked)
            key = (one.engine_id, one.workflow, judged.rule)
            if key not in latest or latest[key][0].begun_at <= judged.begun_at:
                latest[key] = (judged, fitting, reason)
    _store(uow, latest, now)


def reason_of(fitting: Fitting, tracked: Tracked) -> str | None:
    """Why the steps of an instance do not fit a rule; None when they do."""
    if fitting.problem is not None:
        return f"{fitting.unfit} of {fitting.counted} steps give no item: {fitting.problem}"[:_MAX_REASON_CHARS]
    if fitting.difference is not None:
        return f"{fitting.differing} of {fitting.counted} items differ: {fitting.difference}"[:_MAX_REASON_CHARS]
    if fitting.counted == 0:
        if tracked.steps_state == "unknown":
            return "its steps are not to be had"
        return "it completed, and no step counts"
    return None


def _ended_with(tracked: Tracked) -> bool:
    """Whether the instance completed and all its steps were read, or cannot be: then one should count."""
    return tracked.instance.status is ExecutionStatus.COMPLETED and tracked.steps_state in ("final", "unknown")


def _store(
    uow: UnitOfWork, latest: Mapping[tuple[UUID, str, str], tuple[_Judged, Fitting, str | None]], now: datetime
) -> None:
    if not latest:
        return
    engines, workflows = {key[0] for key in latest}, {key[1] for key in latest}
    before = {(fit.engine_id, fit.workflow, fit.rule): fit for fit in uow.ledger.fits(list(engines), list(workflows))}
    fits, events = [], []
    for key, (judged, fitting, reason) in latest.items():
        known = before.get(key)
        if known is not None and known.instance_id != fitting.instance_id and known.begun_at > judged.begun_at:
            continue
        since = None if reason is None else (known.drifted_since if known else None) or now
        counts = (fitting.counted, fitting.unfit, fitting.differing)
        fit = Fit(*key, fitting.instance_id, judged.begun_at, now, since, reason, *counts)
        if known is None or known._replace(seen_at=now) != fit:
            fits.append(fit)
        if since is not None and (known is None or known.drifted_since is None):
            events.append(
                ItemsDrifted(
                    occurred_at=now,
                    engine_id=key[0],
                    workflow=key[1],
                    rule=key[2],
                    orchestration_instance_id=fitting.instance_id,
                    reason=reason or "",
                )
            )
    uow.ledger.upsert_fits(fits)
    uow.ledger.insert_events(events, now, uow.actor)


def _quarantine(
    uow: UnitOfWork,
    carriers: Mapping[UUID, Carrier],
    claims: Sequence[Claim],
    instances: Mapping[UUID, Tracked],
    steps: Mapping[tuple[UUID, str], Sequence[StepRow]],
    now: datetime,
) -> None:
    """A line for each instance and rule, with the first step that gives no item."""
    unfit: dict[tuple[UUID, str], list[Claim]] = {}
    for claim in claims:
        if claim.problem is not None:
            unfit.setdefault((claim.instance_id, claim.rule.name), []).append(claim)
    rows: dict[UUID, list[Quarantined]] = {}
    for (instance_id, rule), some in unfit.items():
        external_id, first = instances[instance_id].instance.external_id, some[0]
        more = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
        reason = f"items {rule!r}: step {first.name!r}: {first.problem}{more}"
        mark = hashlib.blake2b(f"items\0{rule}\0{external_id}".encode(), digest_size=16).hexdigest()
        raw = msgspec.json.encode(view_of(steps[instance_id, first.external_id][-1])).decode()[:_MAX_RAW_CHARS]
        row = Quarantined(mark, external_id, reason[:2000], raw)
        rows.setdefault(carriers[instance_id].engine_id, []).append(row)
    for engine_id, lines in rows.items():
        uow.ledger.quarantine(engine_id, FEED, lines, now)
