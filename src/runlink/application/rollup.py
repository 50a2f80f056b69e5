"""A Run's status from the instances that count for it. docs/reference/roll-up.md shows the table.

`conclude` is the table, a pure function; `roll_up` applies it through the Run's own methods, in the transaction of the
observation that caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from runlink.application.ports import Linked, UnitOfWork
from runlink.application.rules import Policy, Rules
from runlink.domain import DomainEvent, ExecutionStatus, ItemExecution, Run, settle_executions

ACTOR = "rule:roll-up"
"""Who a Run's transitions are written by. A Run that somebody else ended is left alone."""

_S = ExecutionStatus


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a Run's instances say of it. `waiting` is why a Run without open instances does not complete yet."""

    status: ExecutionStatus
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    waiting: str | None = None


def counting(linked: Sequence[Linked]) -> list[Linked]:
    """The instances that count: all but those another one of the same workflow has replaced.

    One replaces another of the same engine and workflow when it was begun after that one ended, and neither was
    started by a parent (somebody ran it again); or when its parent replaced the other's parent. Children of one parent
    never replace each other: they are parts of a fan-out.
    """
    again = _without_restarts(linked)
    by_name = {(one.engine, one.external_id): one for one in again}
    latest = _latest_begun(again)
    origins: dict[tuple[str, str], Linked | None] = {}
    replaced = [_is_replaced(_origin(one, by_name, origins), latest) for one in again]
    return [one for one, is_replaced in zip(linked, replaced, strict=True) if not is_replaced]


def _without_restarts(linked: Sequence[Linked]) -> list[Linked]:
    """Where an engine calls the earlier run the parent of the one that repeats it, that parent is no parent here."""
    by_name = {(one.engine, one.external_id): one for one in linked}
    return [
        one._replace(parent_external_id=None)
        if _repeats(one, by_name.get((one.engine, one.parent_external_id or "")))
        else one
        for one in linked
    ]


def _repeats(one: Linked, parent: Linked | None) -> bool:
    """Whether it is the same workflow, begun after its parent had ended: a re-execution, not a part of it."""
    if parent is None or one.workflow != parent.workflow or not _ended(parent):
        return False
    begun, over = one.queued_at or one.started_at, parent.finished_at or parent.vanished_at
    return begun is not None and over is not None and begun >= over


def _origin(
    one: Linked, by_name: dict[tuple[str, str], Linked], origins: dict[tuple[str, str], Linked | None]
) -> Linked | None:
    """The first of its chain of linked parents; None where an engine tells of a circle."""
    chain = []
    here: Linked | None = one
    while here is not None and (here.engine, here.external_id) not in origins:
        chain.append(here)
        origins[here.engine, here.external_id] = None  # until the end of the chain is found
        parent = here.parent_external_id
        here = None if parent is None else by_name.get((here.engine, parent))
    origin = chain[-1] if here is None else origins[here.engine, here.external_id]
    for link in chain:
        origins[link.engine, link.external_id] = origin
    return origin


def _is_replaced(one: Linked | None, latest: dict[tuple[str, str | None], list[tuple[datetime, Linked]]]) -> bool:
    if one is None or one.parent_external_id is not None or not _ended(one):
        return False
    over = one.finished_at or one.vanished_at
    begun = next((at for at, whose in latest[one.engine, one.workflow] if whose is not one), None)
    return over is not None and begun is not None and begun >= over


def _latest_begun(linked: Sequence[Linked]) -> dict[tuple[str, str | None], list[tuple[datetime, Linked]]]:
    """The two instances without a parent that were begun last, latest first, of each workflow."""
    latest: dict[tuple[str, str | None], list[tuple[datetime, Linked]]] = {}
    for one in linked:
        begun = one.queued_at or one.started_at
        if one.parent_external_id is None:
            two = latest.setdefault((one.engine, one.workflow), [])
            if begun is not None:
                two.append((begun, one))
                two.sort(key=lambda pair: pair[0], reverse=True)
                del two[2:]
    return latest


def _ended(one: Linked) -> bool:
    return one.status.is_ended or one.vanished_at is not None


def conclude(linked: Sequence[Linked], policy: Policy, *, quiet_over: bool) -> Conclusion | None:
    """The truth table; None when no instance counts. `quiet_over` says whether the quiet time has passed."""
    if not linked:
        return None
    count = counting(linked)
    started_at = min((one.started_at for one in linked if one.started_at is not None), default=None)
    if any(not _ended(one) for one in count):
        begun = started_at is not None or any(one.status not in (_S.PENDING, _S.CANCELLED) for one in linked)
        return Conclusion(_S.PROCESSING if begun else _S.PENDING, started_at)
    finished_at = max((at for one in count if (at := one.finished_at or one.vanished_at) is not None), default=None)
    failed = [one for one in count if one.status is _S.FAILED and one.vanished_at is None]
    vanished = [one for one in count if one.vanished_at is not None and not one.status.is_ended]
    cancelled = [one for one in count if one.status is _S.CANCELLED]
    if failed or vanished:
        return Conclusion(_S.FAILED, started_at, finished_at, _why(failed or vanished, len(failed) + len(vanished)))
    if cancelled:
        return Conclusion(_S.CANCELLED, started_at, finished_at, _why(cancelled, len(cancelled)))
    missing = policy.missing([one.workflow for one in count])
    if missing:
        return Conclusion(_S.PROCESSING, started_at, waiting=f"expects {', '.join(missing)}")
    if not policy.expected and not quiet_over:
        return Conclusion(_S.PROCESSING, started_at, waiting=f"quiet for {policy.quiet_s:g} s")
    return Conclusion(_S.COMPLETED, started_at, finished_at)


def _why(ones: Sequence[Linked], count: int) -> str:
    """One line: what ended it, and how. A parent that failed for its child's sake is not the reason."""
    parents = {(one.engine, one.parent_external_id) for one in ones}
    roots = [one for one in ones if (one.engine, one.external_id) not in parents] or ones
    first = min(roots, key=lambda one: (one.finished_at is None, str(one.finished_at), one.external_id))
    if first.vanished_at is not None:
        how = f"vanished; last seen {first.native_status or first.status}"
    else:
        how = first.native_status or str(first.status)
    step = f" in step {first.failed_step!r}" if first.failed_step else ""
    message = f": {first.message}" if first.message else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{first.engine} {first.workflow} {first.external_id} {how}{step}{message}{more}"


def roll_up(uow: UnitOfWork, rules: Rules, run_ids: Iterable[UUID], now: datetime, *, quiet_over: bool = False) -> int:
    """Brings these Runs up to date with their instances; returns how many changed.

    Locks them in order of id for the rest of the transaction, so that two feeds of one Run wait for each other.
    """
    ids = sorted(set(run_ids))
    if not ids:
        return 0
    runs = uow.ledger.lock_runs(ids)
    linked: dict[UUID, list[Linked]] = {}
    for one in uow.ledger.linked(ids):
        linked.setdefault(one.run_id, []).append(one)
    changed: list[Run] = []
    quiet: list[tuple[UUID, datetime | None]] = []
    events: list[DomainEvent] = []
    for run in runs:
        policy = rules.policy(run.automation_id)
        # a completed Run need not wait again because something was added to an instance that had completed
        over = quiet_over or run.status is _S.COMPLETED
        conclusion = conclude(linked.get(run.id, []), policy, quiet_over=over)
        if conclusion is None or _ended_by_hand(run):
            quiet.append((run.id, None))
            continue
        if apply(run, conclusion, now):
            changed.append(run)
            events.extend(run.pull_events())
        waits = conclusion.waiting is not None and not policy.expected
        quiet.append((run.id, now + timedelta(seconds=policy.quiet_s) if waits else None))
    uow.ledger.update_runs(changed, ACTOR)
    uow.ledger.set_quiet(quiet)
    uow.ledger.insert_events(events, now)
    for run in changed:
        if run.status in (_S.FAILED, _S.CANCELLED):
            _settle(uow, run)
    return len(changed)


def _ended_by_hand(run: Run) -> bool:
    return run.status.is_ended and run.updated_by != ACTOR


def apply(run: Run, conclusion: Conclusion, now: datetime) -> bool:
    """Moves a Run to what was concluded, through its own transitions; False when it is there already."""
    target = conclusion.status
    if target is run.status:
        restated = target in (_S.FAILED, _S.CANCELLED)
        return restated and run.restate(conclusion.reason, finished_at=conclusion.finished_at, at=now)
    if target is _S.PENDING:
        return False
    if run.status.is_ended:
        first_start = run.started_at or conclusion.started_at
        run.reopen(run.attempt + 1, at=now)
        run.started_at = first_start or run.started_at
    elif run.status is _S.PENDING and (target is not _S.CANCELLED or conclusion.started_at is not None):
        run.start(at=conclusion.started_at or now)
    at = conclusion.finished_at or now
    if target is _S.COMPLETED:
        run.complete(at=at)
    elif target is _S.FAILED:
        run.fail(conclusion.reason, at=at)
    elif target is _S.CANCELLED:
        run.cancel(conclusion.reason, at=at)
    return True


def _settle(uow: UnitOfWork, run: Run) -> None:
    batches, items = uow.ledger.open_executions(run.id)
    for execution in settle_executions(run, batches, items, at=run.finished_at):
        if isinstance(execution, ItemExecution):
            uow.item_executions.update(execution)
        else:
            uow.batch_executions.update(execution)
