"""What the instances of a Run say of it: the truth tables of docs/reference/roll-up.md, as a pure function.

`rollup` applies it to Runs, `explain` tells of it. Come here for which instances count and what ends a Run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from runlink.application.policy import Policy
from runlink.application.rows import Linked
from runlink.domain import ExecutionStatus

_S = ExecutionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What a Run's instances say of it.

    waiting   why a Run without open instances does not end yet; `wait_s` is how long it waits without news, in seconds,
              None where no time helps
    because   the instance that decides: the first failure, the last end, the open one that was begun last
    first     the instance that started first; where no start of one was told, its end stands for it
    """

    status: ExecutionStatus
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    waiting: str | None = None
    wait_s: float | None = None
    because: Linked | None = None
    first: Linked | None = None


def conclude(linked: Sequence[Linked], policy: Policy, *, quiet_over: bool) -> Conclusion | None:
    """The truth tables; None when no instance counts. `quiet_over`: the time it waits (`wait_s`) has passed."""
    if not linked:
        return None
    count = linked if policy.failed_by == "any" else counting(linked)
    began = [(at, one.external_id, one) for one in linked if (at := _begun_by(one)) is not None]
    started_at, _, first = min(began, key=lambda each: each[:2]) if began else (None, "", None)
    harm = [one for one in count if _harms(one) and not policy.tolerates(one.workflow)]
    still_open = [one for one in count if not _ended(one)]
    if still_open and not (policy.on_failure == "fail-fast" and _failing(harm)):
        begun = first is not None or any(one.status not in (_S.PENDING, _S.CANCELLED) for one in linked)
        because = max(still_open, key=lambda one: (str(one.started_at or one.queued_at or ""), one.external_id))
        status = _S.PROCESSING if begun else _S.PENDING
        return Conclusion(status=status, started_at=started_at, because=because, first=first)
    if harm:
        concluded = _ended_badly(harm, policy, last=_last_end(count), quiet_over=quiet_over)
        return replace(concluded, started_at=started_at, first=first)
    last = max(count, key=lambda one: (_end(one) is not None, str(_end(one)), one.external_id))
    waiting, wait_s = _waits(count, policy, quiet_over=quiet_over)
    if waiting is not None:
        return Conclusion(
            status=_S.PROCESSING, started_at=started_at, waiting=waiting, wait_s=wait_s, because=last, first=first
        )
    return Conclusion(status=_S.COMPLETED, started_at=started_at, finished_at=_end(last), because=last, first=first)


def _waits(count: Sequence[Linked], policy: Policy, *, quiet_over: bool) -> tuple[str | None, float | None]:
    """Why a Run whose instances have all ended well does not complete yet, and for how long."""
    missing = policy.missing([one.workflow for one in count])
    if missing:
        return f"expects {', '.join(missing)}", None
    if policy.complete == "by-hand":
        return "to be completed by hand", None
    if not policy.expected and not quiet_over:
        return f"quiet for {policy.quiet_s:g} s", policy.quiet_s
    return None, None


def _ended_badly(
    harm: Sequence[Linked],
    policy: Policy,
    *,
    last: datetime | None,
    quiet_over: bool,
) -> Conclusion:
    failing = _failing(harm)
    status = _S.FAILED if failing else _S.CANCELLED
    reason, because = _why(failing or harm, len(failing or harm))
    if failing and policy.retry_grace_s and policy.on_failure == "wait" and not quiet_over:
        waiting = f"for another try, {policy.retry_grace_s:g} s: {reason}"
        return Conclusion(status=_S.PROCESSING, waiting=waiting, wait_s=policy.retry_grace_s, because=because)
    finished_at = last
    if failing and policy.on_failure == "fail-fast":
        finished_at = min((end for one in failing if (end := _end(one)) is not None), default=last)
    return Conclusion(status=status, finished_at=finished_at, reason=reason, because=because)


def _why(ones: Sequence[Linked], count: int) -> tuple[str, Linked]:
    """One line: what ended it, and how. A parent that failed for its child's sake is not the reason."""
    parents = {(one.engine, one.parent_external_id) for one in ones}
    roots = [one for one in ones if (one.engine, one.external_id) not in parents] or ones
    failed = [one for one in roots if one.vanished_at is None] or roots
    first = min(failed, key=lambda one: (one.finished_at is None, str(one.finished_at), one.external_id))
    if first.vanished_at is not None:
        how = f"vanished; last seen {first.native_status or first.status}"
    else:
        how = first.native_status or str(first.status)
    step = f" in step {first.failed_step!r}" if first.failed_step else ""
    message = f": {first.message}" if first.message else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{first.engine} {first.workflow} {first.external_id} {how}{step}{message}{more}", first


# --- single instances -----------------------------------------------------------------------------------------------


def _ended(one: Linked) -> bool:
    return one.status.is_ended or one.vanished_at is not None


def _end(one: Linked) -> datetime | None:
    return one.finished_at or one.vanished_at


def _begun_by(one: Linked) -> datetime | None:
    """When it had begun at the latest: its start, or its end where no start was told and it came to one by working."""
    return one.started_at or (one.finished_at if one.status in (_S.COMPLETED, _S.FAILED) else None)


def _last_end(ones: Sequence[Linked]) -> datetime | None:
    return max((end for one in ones if (end := _end(one)) is not None), default=None)


def _harms(one: Linked) -> bool:
    return one.status in (_S.FAILED, _S.CANCELLED) or (one.vanished_at is not None and not one.status.is_ended)


def _failing(harm: Sequence[Linked]) -> list[Linked]:
    """Those that failed or vanished: the rest was cancelled."""
    return [one for one in harm if one.status is not _S.CANCELLED]


# --- which instances count ------------------------------------------------------------------------------------------


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
