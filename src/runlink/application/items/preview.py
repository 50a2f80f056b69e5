"""What item rules make of the stored steps of an instance, without writing anything: `runlink items preview`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from runlink.application.errors import Missing
from runlink.application.items.fit import reason_of
from runlink.application.items.resolve import Resolving, Whose
from runlink.application.items.rows import Carrier, Fitting
from runlink.application.items.rules import Claim, claims_of
from runlink.application.items.steps import rules_for, run_view
from runlink.application.ports import UnitOfWork
from runlink.application.rows import StepRow, Tracked
from runlink.application.rules.keys import view
from runlink.application.rules.rules import Rules
from runlink.application.settings import ItemRule
from runlink.domain import Automation, Engine, OrchestrationInstance, Run

ASSUMED_KEY: Final = "RUN"
"""The key of the Run that is assumed for an instance that counts for none."""


def preview(
    uow: UnitOfWork, rules: Rules, instance_id: UUID, now: datetime, *, tried: Sequence[ItemRule] = ()
) -> dict[str, Any]:
    """Which stored steps count, which batch and item each would be, and what does not fit and why.

    For each Run the instance counts for; where there is none, for one that is assumed. `tried` are rules to take
    instead of those in force. Raises Missing for an unknown instance.
    """
    instance = uow.orchestration_instances.get(instance_id)
    engine = uow.engines.get(instance.engine_id) if instance is not None else None
    if instance is None or engine is None:
        raise Missing(f"no instance has the id {instance_id}; see `runlink instances list`")
    if tried:
        rules = replace(rules, items=tuple(tried))
    rows = list({row.external_id: row for row in uow.ledger.steps_of([instance_id])}.values())
    stored = uow.ledger.carriers([instance_id])
    carriers = stored or [_assumed(uow, rules, instance, engine)]
    return {
        "instance_id": instance_id,
        "engine": engine.name,
        "external_id": instance.external_id,
        "workflow": instance.workflow,
        "status": instance.status.value,
        "steps_read": len(rows),
        "runs": [_for_run(uow, rules, one, instance, rows, now, assumed=not stored) for one in carriers],
    }


def _assumed(uow: UnitOfWork, rules: Rules, instance: OrchestrationInstance, engine: Engine) -> Carrier:
    """A Run of the first Automation that a rule for the workflow names."""
    workflow = instance.workflow or ""
    named = [rule.automation for rule in rules.items if rule.matches(engine.name, workflow, rule.automation)]
    found = next((stored for name in named if (stored := uow.automations.list(name=name, limit=1))), None)
    automation = found[0] if found else Automation(name=named[0] if named else "any")
    run = Run(automation_id=automation.id, correlation_id=ASSUMED_KEY)
    place = (instance.id, run.id, engine.id, engine.name, workflow)
    return Carrier(*place, automation.id, automation.name, ASSUMED_KEY, not instance.status.is_ended)


def _for_run(
    uow: UnitOfWork,
    rules: Rules,
    carrier: Carrier,
    instance: OrchestrationInstance,
    rows: Sequence[StepRow],
    now: datetime,
    *,
    assumed: bool,
) -> dict[str, Any]:
    chosen = rules_for(rules, carrier)
    reasons: dict[str, str] = {}
    claims = claims_of(
        chosen,
        run_view(carrier),
        view(instance, uow.ledger.engines([instance.engine_id])[instance.engine_id]),
        (carrier.run_id, instance.id),
        rows,
        {row.parent for row in rows if row.parent is not None},
        lambda row, why: reasons.__setitem__(row.external_id, why),
    )
    resolving = _resolved(uow, carrier, [claim for claim in claims if claim.problem is None], now)
    counted = {claim.external_id: claim for claim in claims}
    return {
        "run_id": None if assumed else carrier.run_id,
        "run_key": carrier.run_key,
        "automation": carrier.automation,
        "rules": [_verdict(one.rule.name, claims, instance) for one in chosen],
        "makes_batches": len(resolving.batches),
        "makes_items": len(resolving.items),
        "steps": [_step(row, counted.get(row.external_id), reasons, resolving) for row in rows],
    }


def _resolved(uow: UnitOfWork, carrier: Carrier, claims: Sequence[Claim], now: datetime) -> Resolving:
    known = uow.ledger.automations([carrier.automation_id])
    automation = known.get(carrier.automation_id) or Automation(id=carrier.automation_id, name=carrier.automation)
    resolving = Resolving(uow.ledger, {carrier.run_id: Whose(carrier.run_key, automation)}, now)
    resolving.make(resolving.find(claims))
    return resolving


def _verdict(rule: str, claims: Sequence[Claim], instance: OrchestrationInstance) -> dict[str, Any]:
    mine = [claim for claim in claims if claim.rule.name == rule]
    problems = [claim.problem for claim in mine if claim.problem is not None]
    differences = [claim.differs for claim in mine if claim.differs is not None]
    counts = (len(mine), len(problems), len(differences))
    fitting = Fitting(instance.id, rule, *counts, min(problems, default=None), min(differences, default=None))
    says_something = bool(mine) or instance.status.value == "COMPLETED"
    drift = reason_of(fitting, Tracked(instance)) if says_something else None
    return {"rule": rule, "counted": counts[0], "unfit": counts[1], "differing": counts[2], "drift": drift}


def _step(row: StepRow, claim: Claim | None, reasons: dict[str, str], resolving: Resolving) -> dict[str, Any]:
    told: dict[str, Any] = {
        "external_id": row.external_id,
        "name": row.name,
        "status": row.status.value,
        "attempt": row.attempt,
        "counts": claim is not None,
    }
    if claim is None:
        none = dict.fromkeys(("rule", "batch", "number", "key", "payload", "makes", "differs"))
        return {**told, **none, "problem": reasons.get(row.external_id)}
    batch, number = resolving.place(claim)
    return {
        **told,
        "rule": claim.rule.name,
        "batch": batch,
        "number": number,
        "key": claim.key,
        "payload": claim.payload,
        "makes": claim.made,
        "differs": claim.differs,
        "problem": claim.problem,
    }
