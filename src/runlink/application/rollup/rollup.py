"""Brings Runs up to date with their instances, in the transaction of the observation that caused it.

What the instances say is `conclude`'s; here it goes through the Run's own methods. See docs/reference/roll-up.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from runlink.application.items.follow import follow_items
from runlink.application.items.settle import ACTOR, is_stopped, settle
from runlink.application.policy import Policy
from runlink.application.ports import UnitOfWork
from runlink.application.rollup.conclude import Conclusion, conclude
from runlink.application.rows import Linked
from runlink.application.rules.rules import Rules
from runlink.domain import KEEP, DomainEvent, Evidence, ExecutionStatus, Run

_S = ExecutionStatus


def roll_up(uow: UnitOfWork, rules: Rules, run_ids: Iterable[UUID], now: datetime, *, quiet_over: bool = False) -> int:
    """Brings these Runs up to date with their instances; returns how many changed.

    Locks them in order of id for the rest of the transaction, so that two feeds of one Run wait for each other.
    `quiet_over`: there is no news, but their waiting time is over.
    """
    ids = sorted(set(run_ids))
    if not ids:
        return 0
    runs = uow.ledger.lock_runs(ids)
    linked: dict[UUID, list[Linked]] = {}
    for one in uow.ledger.linked(ids):
        linked.setdefault(one.run_id, []).append(one)
    changed: list[Run] = []
    reopened: list[UUID] = []
    quiet: list[tuple[UUID, datetime | None]] = []
    events: list[DomainEvent] = []
    for run in runs:
        conclusion = due(run, linked.get(run.id, []), rules.policy(run.automation_id), quiet_over=quiet_over)
        wait_s = conclusion.wait_s if conclusion is not None else None
        quiet.append((run.id, None if wait_s is None else now + timedelta(seconds=wait_s)))
        attempt = run.attempt
        moved = conclusion is not None and apply(run, conclusion, now)
        heard = not quiet_over and run.hear(now)
        if moved or heard:
            changed.append(run)
            if run.attempt != attempt:
                reopened.append(run.id)
            events.extend(run.pull_events())
    uow.ledger.update_runs(changed, ACTOR)
    uow.ledger.set_quiet(quiet)
    uow.ledger.insert_events(events, now, ACTOR)
    follow_items(uow, rules, now, runs=reopened)  # what the end had settled goes on
    # also those that had ended before: items are followed behind the end of their Run, too
    settle(uow, [run for run in runs if is_stopped(run)], now)
    return len(changed)


def due(run: Run, linked: Sequence[Linked], policy: Policy, *, quiet_over: bool) -> Conclusion | None:
    """What is to become of a Run; None to leave it alone."""
    conclusion = conclude(linked, policy, quiet_over=quiet_over)
    if conclusion is None or not run.status.is_ended:
        return conclusion
    if run.updated_by != ACTOR:
        return None
    if conclusion.wait_s is not None:  # for the end that it has come to already it need not wait again
        final = conclude(linked, policy, quiet_over=True)
        conclusion = final if final is not None and final.status is run.status else conclusion
    return None if policy.on_reopen == "keep" and conclusion.status is not run.status else conclusion


def apply(run: Run, conclusion: Conclusion, now: datetime) -> bool:
    """Moves a Run to what was concluded, through its own transitions; False when it is there already."""
    target, because = conclusion.status, evidence(conclusion.because)
    if target is run.status:
        return _restate(run, conclusion, now)
    if target is _S.PENDING:  # what has begun does not wait again
        if run.status.is_ended and run.started_at is None:
            run.reopen(run.attempt + 1, at=now, because=because, status=_S.PENDING)
        return run.status is target
    if run.status.is_ended:
        run.reopen(run.attempt + 1, at=now, because=because)
    elif run.status is _S.PENDING and (target is not _S.CANCELLED or conclusion.started_at is not None):
        run.start(at=conclusion.started_at or now, because=evidence(conclusion.first) or because)
    at = conclusion.finished_at or now
    if target is _S.COMPLETED:
        run.complete(at=at, because=because)
    elif target is _S.FAILED:
        run.fail(conclusion.reason, at=at, because=because)
    elif target is _S.CANCELLED:
        run.cancel(conclusion.reason, at=at, because=because)
    run.started_at = _earlier_start(run, conclusion) or run.started_at
    return True


def _earlier_start(run: Run, conclusion: Conclusion) -> datetime | None:
    """The start, where the Run has one and it was earlier than is known: an engine that is read later may tell so. A
    later one is that of another try."""
    if run.started_at is None or conclusion.started_at is None:
        return None
    return min(run.started_at, conclusion.started_at)


def _restate(run: Run, conclusion: Conclusion, now: datetime) -> bool:
    """The same status, perhaps told better."""
    has_reason = run.status in (_S.FAILED, _S.CANCELLED)
    return run.restate(
        reason=conclusion.reason if has_reason else KEEP,
        started_at=_earlier_start(run, conclusion),
        finished_at=conclusion.finished_at if run.status.is_ended else None,
        at=now,
    )


def evidence(one: Linked | None) -> Evidence | None:
    """An instance as the evidence of an event."""
    if one is None or one.instance_id is None:
        return None
    return Evidence(
        orchestration_instance_id=one.instance_id,
        engine=one.engine,
        external_id=one.external_id,
        workflow=one.workflow,
        native_status=one.native_status,
        observed_at=one.observed_at,
    )
