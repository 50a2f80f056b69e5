"""Runs that are made, moved and linked by people and programs; Runs whose quiet time is over, and silent ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.items.follow import follow_items
from runlink.application.items.settle import settle
from runlink.application.linking.link import Linking
from runlink.application.linking.relink import Relinking
from runlink.application.ports import UnitOfWork
from runlink.application.problems import suggestion
from runlink.application.rollup.rollup import roll_up
from runlink.application.rows import RunTimes
from runlink.application.rules.rules import Rules
from runlink.application.settings import Settings
from runlink.domain import Automation, Run, RunOrchestration, ValidationError, checked_key


def create_run(
    uow: UnitOfWork, rules: Rules, automation_id: UUID, *, correlation_id: str | None = None, now: datetime
) -> Run:
    """A new Run; instances that were seen before it and carry its key are linked at once.

    Raises ValidationError for a `correlation_id` that no rule could find.
    """
    if uow.automations.get(automation_id) is None:
        raise Missing(f"no automation has the id {automation_id}; see `runlink automations list`")
    if correlation_id is not None:
        correlation_id = checked_key(correlation_id)
    uow.ledger.lock_automations([automation_id])
    run = Run(automation_id=automation_id, correlation_id=correlation_id, created_at=now)
    uow.runs.add(run)
    times = RunTimes(run.id, run.created_at, None)
    linking = _linking(uow, rules, now)
    linking.adopt(automation_id, {str(run.id): times} | ({correlation_id: times} if correlation_id else {}))
    _follow(uow, rules, linking, now)
    return uow.runs.get(run.id) or run


def create_run_of(
    uow: UnitOfWork, settings: Settings, automation: str, *, correlation_id: str | None = None, now: datetime
) -> Run:
    """A new Run of the automation with this name or id; one that the configuration names is made when it is missing.

    Raises Missing for any other.
    """
    named = settings.named_automations()
    known = uow.ledger.automation_ids({*named, automation})
    if automation in named and automation not in known:
        made = Automation(name=automation)
        uow.automations.add(made)
        known[automation] = made.id
    chosen = known[automation] if automation in known else find_automation(uow, automation).id
    rules = Rules(settings.links, known, settings.automations, items=settings.items)
    return create_run(uow, rules, chosen, correlation_id=correlation_id, now=now)


def find_automation(uow: UnitOfWork, text: str) -> Automation:
    """An active automation by its name or id. Raises Missing, with the nearest name."""
    found = uow.automations.list(name=text, limit=1)
    wanted = _as_id(text)
    by_id = uow.automations.get(wanted) if wanted is not None and not found else None
    if found or by_id is not None:
        return found[0] if found else by_id  # type: ignore[return-value]
    near = suggestion(text, (known.name for known in uow.automations.list(limit=1000)))
    raise Missing(f"no automation is called {text!r}{near}; `runlink automations create` makes one")


def find_run(uow: UnitOfWork, text: str, automation: str | None = None) -> UUID:
    """A Run by its id or its correlation id. Raises Missing, and ValidationError where several have that key."""
    found = _as_id(text)
    if found is not None and uow.runs.get(found) is not None:
        return found
    rows = uow.reports.runs(correlation_id=text, automation=automation, limit=10)
    if not rows:
        raise Missing(f"no run has the id or correlation id {text!r}; see `runlink runs list`")
    if len(rows) > 1:
        choice = "".join(f"\n  {row['id']}  {row['automation']}  {row['status']}" for row in rows)
        raise ValidationError(f"more than one run has the id or correlation id {text!r}; give the id:{choice}")
    only: UUID = rows[0]["id"]
    return only


class Move(StrEnum):
    """What a person or a program may do to a Run."""

    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    REOPEN = "reopen"


def move_run(
    uow: UnitOfWork, rules: Rules, run_id: UUID, move: Move, *, reason: str | None = None, now: datetime
) -> Run:
    """Moves a Run by hand. One that is ended so is left alone by its instances; REOPEN hands it back to them.

    `reason` goes with FAIL and CANCEL. Raises Missing, InvalidStateError, and ValidationError for a reason elsewhere.
    """
    if reason is not None and move not in (Move.FAIL, Move.CANCEL):
        raise ValidationError(f"a reason goes with fail and cancel, not with {move}; leave it out")
    found = uow.ledger.lock_runs([run_id])
    if not found:
        raise Missing(f"no run has the id {run_id}; see `runlink runs list`")
    run = found[0]
    if move is Move.REOPEN:
        run.reopen(run.attempt + 1, at=now)
    elif move in (Move.FAIL, Move.CANCEL):
        getattr(run, move.value)(reason, at=now)
    else:
        getattr(run, move.value)(at=now)
    uow.runs.update(run)
    if run.status.is_ended:
        settle(uow, [run], now)
    else:
        follow_items(uow, rules, now, runs=[run_id])
    roll_up(uow, rules, [run_id], now)
    return uow.runs.get(run_id) or run


def link(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, now: datetime) -> RunOrchestration:
    """Links by hand, so that no rule takes it off; a link that was taken off is the same row again. What the instance
    started follows the rules."""
    run, tracked = uow.runs.get(run_id), uow.ledger.tracked([instance_id]).get(instance_id)
    if run is None or tracked is None:
        raise Missing(f"no {'run' if run is None else 'instance'} has the id {run_id if run is None else instance_id}")
    linking = _linking(uow, rules, now)
    tie = linking.pin(instance_id, run_id, linked=True)
    linking.hand_down([tracked.instance])
    follow_items(uow, rules, now, whole=[instance_id])
    _follow(uow, rules, linking, now)
    return tie


def unlink(
    uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, keep_apart: bool = True, now: datetime
) -> list[RunOrchestration]:
    """Takes a link off by hand; no rule puts it back, unless `keep_apart` is False: then the two are as if nobody had
    linked them. What the instance started goes with it, but for what a hand, a key, or another parent ties to the Run.
    Returns the links that went, that one first."""
    tracked = uow.ledger.tracked([instance_id]).get(instance_id)
    if tracked is None or not uow.run_orchestrations.list(run_id=run_id, orchestration_instance_id=instance_id):
        raise Missing(f"instance {instance_id} is not linked to run {run_id}")
    linking = Relinking(uow.ledger, rules, actor=uow.actor, now=now, make_runs=False)
    tie = linking.take_off(tracked.instance, run_id, pinned=keep_apart)
    for failure in linking.failures:
        uow.ledger.quarantine(failure.engine.id, "relink", [failure.quarantined()], now)
    follow_items(uow, rules, now, whole=[link.orchestration_instance_id for link in linking.settled])
    _follow(uow, rules, linking, now)
    return [tie, *(link for link in linking.settled if not link.is_active and link is not tie)]


def end_quiet_runs(uow: UnitOfWork, rules: Rules, now: datetime, *, limit: int = 200) -> int:
    """Completes Runs whose instances have all ended and whose quiet time is over; returns how many were looked at."""
    due = uow.ledger.quiet_runs(now, limit)
    roll_up(uow, rules, due, now, quiet_over=True)
    return len(due)


def flag_silent_runs(uow: UnitOfWork, rules: Rules, now: datetime, *, limit: int = 200) -> int:
    """Flags open Runs of which nothing was learnt for as long as their policy allows; returns how many."""
    flagged = []
    for automation_id, silent_after_s in rules.silence_limits().items():
        since = now - timedelta(seconds=silent_after_s)
        for run, last_news_at in uow.ledger.silent_runs(automation_id, since, limit):
            run.flag_silent(last_news_at, at=now)
            flagged.append(run)
    uow.ledger.update_runs(flagged, uow.actor)
    uow.ledger.insert_events([event for run in flagged for event in run.pull_events()], now, uow.actor)
    return len(flagged)


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _linking(uow: UnitOfWork, rules: Rules, now: datetime) -> Linking:
    return Linking(uow.ledger, rules, actor=uow.actor, now=now, make_runs=False)


def _follow(uow: UnitOfWork, rules: Rules, linking: Linking, now: datetime) -> None:
    uow.ledger.insert_events(linking.events, now, uow.actor)
    follow_items(uow, rules, now, events=linking.events)
    roll_up(uow, rules, linking.touched, now)
