"""Runs that are made and linked by people and programs, and Runs whose quiet time is over."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.link import Linking
from runlink.application.ports import RunTimes, UnitOfWork
from runlink.application.rollup import roll_up
from runlink.application.rules import Rules
from runlink.domain import Run, RunOrchestration


def create_run(
    uow: UnitOfWork, rules: Rules, automation_id: UUID, *, correlation_id: str | None = None, now: datetime
) -> Run:
    """A new Run; instances that were seen before it and carry its key are linked at once."""
    if uow.automations.get(automation_id) is None:
        raise Missing(f"no automation has the id {automation_id}; see `runlink automations list`")
    uow.ledger.lock_automations([automation_id])
    run = Run(automation_id=automation_id, correlation_id=correlation_id, created_at=now)
    uow.runs.add(run)
    times = RunTimes(run.id, run.created_at, None)
    linking = _linking(uow, rules, now)
    linking.adopt(automation_id, {str(run.id): times} | ({correlation_id: times} if correlation_id else {}))
    _follow(uow, rules, linking, now)
    return uow.runs.get(run.id) or run


def link(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, now: datetime) -> RunOrchestration:
    """Links by hand, so that no rule takes it off; a link that was taken off is the same row again. What the instance
    started follows the rules."""
    run, tracked = uow.runs.get(run_id), uow.ledger.tracked([instance_id]).get(instance_id)
    if run is None or tracked is None:
        raise Missing(f"no {'run' if run is None else 'instance'} has the id {run_id if run is None else instance_id}")
    linking = _linking(uow, rules, now)
    tie = linking.pin(instance_id, run_id, linked=True)
    linking.hand_down([tracked.instance])
    _follow(uow, rules, linking, now)
    return tie


def unlink(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, now: datetime) -> RunOrchestration:
    """Takes a link off by hand; no rule puts it back. What the instance started keeps its own."""
    if not uow.run_orchestrations.list(run_id=run_id, orchestration_instance_id=instance_id):
        raise Missing(f"instance {instance_id} is not linked to run {run_id}")
    linking = _linking(uow, rules, now)
    tie = linking.pin(instance_id, run_id, linked=False)
    linking.hand_down([])
    _follow(uow, rules, linking, now)
    return tie


def end_quiet_runs(uow: UnitOfWork, rules: Rules, now: datetime, *, limit: int = 200) -> int:
    """Completes Runs whose instances have all ended and whose quiet time is over; returns how many were looked at."""
    due = uow.ledger.quiet_runs(now, limit)
    roll_up(uow, rules, due, now, quiet_over=True)
    return len(due)


def _linking(uow: UnitOfWork, rules: Rules, now: datetime) -> Linking:
    return Linking(uow.ledger, rules, actor=uow.actor, now=now, make_runs=False)


def _follow(uow: UnitOfWork, rules: Rules, linking: Linking, now: datetime) -> None:
    uow.ledger.insert_events(linking.events, now)
    roll_up(uow, rules, linking.touched, now)
