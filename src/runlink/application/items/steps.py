"""Steps become items: batches, items and their executions follow the stored steps of linked instances.

`follow` comes here. It looks at the steps that changed, and at all steps of what is new or newly linked, in a handful
of statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.application.items import fit
from runlink.application.items.executions import Executions
from runlink.application.items.resolve import Resolving, Whose
from runlink.application.items.rows import ACTOR, Carrier, ItemStep
from runlink.application.items.rules import Claim, ReadyItemRule, claims_of, ready
from runlink.application.ports import UnitOfWork
from runlink.application.rows import StepRow, Tracked
from runlink.application.rules.keys import view
from runlink.application.rules.rules import Rules

StepKey = tuple[UUID, str]
"""(instance, external id of the step)."""


@dataclass
class Scope:
    """What is looked at. `new` instances, nothing of which was followed before, with all `steps` at hand; `whole`
    instances, whose steps are all read again; `changed` ones, of whose steps only those in `steps` are."""

    new: set[UUID] = field(default_factory=set)
    whole: set[UUID] = field(default_factory=set)
    changed: set[UUID] = field(default_factory=set)
    steps: Sequence[StepRow] = ()

    @property
    def ids(self) -> list[UUID]:
        """All instances, in order."""
        return sorted(self.new | self.whole | self.changed)

    def named(self) -> tuple[list[UUID], list[str]]:
        """The changed steps, as instances and external ids; with what they are part of, which may count no more."""
        mine = [row for row in self.steps if row.instance_id in self.changed]
        names = {row.external_id for row in mine} | {row.parent for row in mine if row.parent is not None}
        return list({row.instance_id for row in mine}), sorted(names)


class Following:
    """Brings the items of what is looked at, and the executions of their Runs, in line with the stored steps."""

    def __init__(self, uow: UnitOfWork, rules: Rules, scope: Scope, now: datetime) -> None:
        self._uow = uow
        self._ledger = uow.ledger
        self._rules = rules
        self._scope = scope
        self._now = now

    def follow(self) -> None:
        """Finds what claims to be which item, makes what is missing, and moves the executions."""
        scope = self._scope
        carriers = self._ledger.carriers(scope.ids)
        ruled = [(one, chosen) for one in carriers if (chosen := rules_for(self._rules, one))]
        known = self._known()
        if not (ruled or known):
            return
        instances = self._ledger.tracked(sorted({one.instance_id for one, _ in ruled}))
        steps = self._steps({one.instance_id for one, _ in ruled})
        claims = self._claims(ruled, instances, steps)
        made = self._resolve(claims, carriers)
        run_ids = {one.run_id for one in carriers} | {row.run_id for row in known}
        runs = {run.id: run for run in self._ledger.lock_runs(sorted(run_ids))}
        executions = Executions(self._ledger, self._now, ACTOR, runs, instances, steps)
        rows = executions.follow(claims, known, made)
        self._store_rows(rows, known)
        executions.finish(self._more_may_come(list(runs)))
        fit.judge(self._uow, ruled, instances, claims, steps, self._now)

    def _known(self) -> list[ItemStep]:
        """What was known of the steps that are looked at; of new instances nothing was."""
        ids, names = self._scope.named()
        asked = self._ledger.item_steps(ids, names) if names else []
        return asked + self._ledger.item_steps(sorted(self._scope.whole))

    def _steps(self, ids: set[UUID]) -> dict[StepKey, list[StepRow]]:
        """The steps that are looked at, with all their attempts in order."""
        scope = self._scope
        rows = [row for row in scope.steps if row.instance_id in scope.new and row.instance_id in ids]
        changed, names = scope.named()
        rows += self._ledger.steps_of([one for one in changed if one in ids], names) if names else []
        rows += self._ledger.steps_of(sorted(scope.whole & ids))
        found: dict[StepKey, list[StepRow]] = {}
        for row in rows:
            found.setdefault((row.instance_id, row.external_id), []).append(row)
        for attempts in found.values():
            if len(attempts) > 1:
                attempts.sort(key=lambda row: row.attempt)
        return found

    def _claims(
        self,
        ruled: Sequence[tuple[Carrier, list[ReadyItemRule]]],
        instances: Mapping[UUID, Tracked],
        steps: Mapping[StepKey, list[StepRow]],
    ) -> list[Claim]:
        latest: dict[UUID, list[StepRow]] = {}
        for (instance_id, _), attempts in steps.items():
            latest.setdefault(instance_id, []).append(attempts[-1])
        parents = self._parents(latest)
        engines = self._ledger.engines(list({one.instance.engine_id for one in instances.values()}))
        views: dict[UUID, dict[str, Any]] = {}
        claims: list[Claim] = []
        for one, chosen in ruled:
            if one.instance_id in latest and one.instance_id in instances:
                if one.instance_id not in views:
                    instance = instances[one.instance_id].instance
                    views[one.instance_id] = view(instance, engines[instance.engine_id])
                claims += claims_of(
                    chosen,
                    run_view(one),
                    views[one.instance_id],
                    (one.run_id, one.instance_id),
                    latest[one.instance_id],
                    parents.get(one.instance_id, set()),
                )
        return claims

    def _parents(self, latest: Mapping[UUID, Sequence[StepRow]]) -> dict[UUID, set[str]]:
        found = self._ledger.parent_steps([one for one in latest if one in self._scope.changed])
        for instance_id, rows in latest.items():
            if instance_id not in self._scope.changed:
                found[instance_id] = {row.parent for row in rows if row.parent is not None}
        return found

    def _resolve(self, claims: Sequence[Claim], carriers: Iterable[Carrier]) -> Resolving:
        """Finds and makes Batches and Items. Whoever makes some locks their Automation, so that two feeds do not."""
        by_run = {one.run_id: one for one in carriers}
        sound = [claim for claim in claims if claim.problem is None]
        wanted = {by_run[claim.run_id].automation_id for claim in sound}
        automations = self._ledger.automations(sorted(wanted)) if wanted else {}
        whose = {
            run_id: Whose(one.run_key, automations[one.automation_id])
            for run_id, one in by_run.items()
            if one.automation_id in automations
        }
        resolving = Resolving(self._ledger, whose, self._now)
        missing = resolving.find(sound) if sound else []
        if missing:
            self._ledger.lock_automations(sorted(wanted))
            resolving.make(resolving.find(missing))
        self._ledger.insert_batches(resolving.batches, ACTOR)
        self._ledger.insert_items(resolving.items, resolving.keys, ACTOR)
        return resolving

    def _store_rows(self, rows: Sequence[ItemStep], known: Iterable[ItemStep]) -> None:
        before = {(row.instance_id, row.external_id, row.run_id): row for row in known}
        new, other = [], []
        for row in rows:
            if row.instance_id in self._scope.new:
                new.append(row)
            elif before.pop((row.instance_id, row.external_id, row.run_id), None) != row:
                other.append(row)
        self._ledger.insert_item_steps(new)
        self._ledger.upsert_item_steps(other)
        self._ledger.delete_item_steps(list(before.values()))

    def _more_may_come(self, run_ids: Sequence[UUID]) -> set[UUID]:
        """The Runs for which an instance with items is still open."""
        carriers = self._ledger.carriers_of(run_ids)
        return {one.run_id for one in carriers if one.is_open and rules_for(self._rules, one)}


def rules_for(rules: Rules, one: Carrier) -> list[ReadyItemRule]:
    """The item rules for an instance that counts for a Run, in the order of the file."""
    return [ready(rule) for rule in rules.items if rule.matches(one.engine, one.workflow, one.automation)]


def run_view(one: Carrier) -> dict[str, Any]:
    """A Run as expressions see it."""
    return {"id": str(one.run_id), "correlation_id": one.correlation_id, "key": one.run_key}
