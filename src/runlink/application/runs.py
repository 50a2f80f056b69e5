"""Runs that are made and linked by people and programs, and Runs whose quiet time is over."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.items import follow_items
from runlink.application.link import Linking
from runlink.application.ports import UnitOfWork
from runlink.application.rollup import roll_up
from runlink.application.rules import Rules
from runlink.domain import Engine, OrchestrationInstance, Run, RunOrchestration


def create_run(
    uow: UnitOfWork, rules: Rules, automation_id: UUID, *, correlation_id: str | None = None, now: datetime
) -> Run:
    """A new Run; instances that were seen before it and carry its key are linked at once."""
    if uow.automations.get(automation_id) is None:
        raise Missing(f"no automation has the id {automation_id}; see `runlink automations list`")
    uow.ledger.lock_automations([automation_id])
    run = Run(automation_id=automation_id, correlation_id=correlation_id, created_at=now)
    uow.runs.add(run)
    keys = {str(run.id): run.id}
    if correlation_id:
        keys[correlation_id] = run.id
    waiting = uow.ledger.take_waiting(automation_id, list(keys))
    tracked = uow.ledger.tracked(list({row.instance_id for row in waiting}))
    by_engine: dict[UUID, list[OrchestrationInstance]] = {}
    for row in tracked.values():
        by_engine.setdefault(row.instance.engine_id, []).append(row.instance)
    for engine_id, instances in by_engine.items():
        linking = _linking(uow, rules, _engine(uow, engine_id), now)
        linking.link([], instances)
        _follow(uow, rules, linking, now)
    return uow.runs.get(run.id) or run


def link(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, now: datetime) -> RunOrchestration:
    """Links by hand; a link that was taken off is the same row again. What the instance started follows the rules."""
    run, tracked = uow.runs.get(run_id), uow.ledger.tracked([instance_id]).get(instance_id)
    if run is None or tracked is None:
        raise Missing(f"no {'run' if run is None else 'instance'} has the id {run_id if run is None else instance_id}")
    instance = tracked.instance
    found = uow.run_orchestrations.list(run_id=run_id, orchestration_instance_id=instance_id, include_inactive=True)
    if found:
        tie = found[0]
        uow.run_orchestrations.restore(tie, at=now)
    else:
        tie = RunOrchestration.attach(run_id=run_id, orchestration_instance_id=instance_id, at=now, by=uow.actor)
        uow.run_orchestrations.add(tie)
    linking = _linking(uow, rules, _engine(uow, instance.engine_id), now)
    linking.hand_down([instance])
    linking.touched.add(run_id)
    follow_items(uow, rules, now, whole=[instance_id])
    _follow(uow, rules, linking, now)
    return tie


def unlink(uow: UnitOfWork, rules: Rules, run_id: UUID, instance_id: UUID, *, now: datetime) -> RunOrchestration:
    """Takes a link off by hand; no rule puts it back."""
    found = uow.run_orchestrations.list(run_id=run_id, orchestration_instance_id=instance_id)
    if not found:
        raise Missing(f"instance {instance_id} is not linked to run {run_id}")
    uow.run_orchestrations.delete(found[0], at=now)
    follow_items(uow, rules, now, whole=[instance_id])
    roll_up(uow, rules, [run_id], now)
    return found[0]


def end_quiet_runs(uow: UnitOfWork, rules: Rules, now: datetime, *, limit: int = 200) -> int:
    """Completes Runs whose instances have all ended and whose quiet time is over; returns how many were looked at."""
    due = uow.ledger.quiet_runs(now, limit)
    roll_up(uow, rules, due, now, quiet_over=True)
    return len(due)


def _engine(uow: UnitOfWork, engine_id: UUID) -> Engine:
    engine = uow.engines.get(engine_id)
    if engine is None:
        raise Missing(f"no engine has the id {engine_id}")
    return engine


def _linking(uow: UnitOfWork, rules: Rules, engine: Engine, now: datetime) -> Linking:
    return Linking(
        uow.ledger, rules, engine_id=engine.id, engine=engine.name, actor=uow.actor, now=now, make_runs=False
    )


def _follow(uow: UnitOfWork, rules: Rules, linking: Linking, now: datetime) -> None:
    uow.ledger.insert_events(linking.events, now)
    follow_items(uow, rules, now, events=linking.events)
    roll_up(uow, rules, linking.touched, now)
