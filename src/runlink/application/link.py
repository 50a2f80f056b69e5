"""Instances to Runs: by the key a rule finds, by inheritance from a parent, or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from runlink.application.ports import Ledger, WaitingKey
from runlink.application.rules import ReadyRule, Rules, view
from runlink.domain import DomainEvent, OrchestrationInstance, Run, RunOrchestration

_MAX_DEPTH = 100  # of a chain of parents: an engine that tells of a circle must not hang us


class Linking:
    """Links instances of one engine within one transaction. `touched` gathers the Runs to roll up.

    A link that was taken off by hand keeps its row, inactive, and no rule puts it back.
    """

    def __init__(
        self, ledger: Ledger, rules: Rules, *, engine_id: UUID, engine: str, actor: str, now: datetime, make_runs: bool
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._engine_id = engine_id
        self._engine = engine
        self._actor = actor
        self._now = now
        self._make_runs = make_runs
        self._runs_of: dict[UUID, set[UUID]] = {}
        self._taken_off: set[tuple[UUID, UUID]] = set()
        self._new_links: list[RunOrchestration] = []
        self.touched: set[UUID] = set()
        self.events: list[DomainEvent] = []

    def link(self, new: Sequence[OrchestrationInstance], changed: Sequence[OrchestrationInstance]) -> int:
        """Links what the rules say; the Runs of `changed` are touched in any case. Returns the number of new links."""
        self._runs_of.update({instance.id: set() for instance in new})
        self._remember([instance.id for instance in changed])
        for instance in changed:
            self.touched.update(self._active_runs(instance.id))
        instances = [*new, *changed]
        newly = self._by_key(instances)
        if self._rules.inherit_for(self._engine):
            newly += self._from_parents(instances)
            self._to_children(newly)
        return self._flush()

    def attach(self, instance_id: UUID, run_id: UUID, rule: str | None) -> None:
        """Links these two, unless they have been linked before; stored by what is called next."""
        self._remember([instance_id])
        self._attach(instance_id, run_id, rule)

    def hand_down(self, parents: Sequence[OrchestrationInstance]) -> None:
        """Links what these instances started, and what that started, where a rule inherits."""
        self._remember([parent.id for parent in parents])
        self._to_children(parents)
        self._flush()

    # --- by key ------------------------------------------------------------------------------------------------

    def _by_key(self, instances: Iterable[OrchestrationInstance]) -> list[OrchestrationInstance]:
        wanted: dict[UUID, list[tuple[OrchestrationInstance, ReadyRule, str]]] = {}
        for instance in instances:
            for ready in self._rules.matching(self._engine, instance.workflow):
                automation = ready.rule.automation
                if ready.key_of is None or automation is None:
                    continue
                key = _key_text(ready.key_of(view(instance, self._engine)))
                if key is not None and automation in self._rules.automations:
                    wanted.setdefault(self._rules.automations[automation], []).append((instance, ready, key))
        newly = []
        for automation_id, requests in wanted.items():
            runs = self._runs_for(automation_id, requests)
            for instance, ready, key in requests:
                if key in runs and self._attach(instance.id, runs[key], ready.rule.name):
                    newly.append(instance)
        return newly

    def _runs_for(
        self, automation_id: UUID, requests: Sequence[tuple[OrchestrationInstance, ReadyRule, str]]
    ) -> dict[str, UUID]:
        keys = list(dict.fromkeys(key for _, _, key in requests))
        found = self._ledger.runs_by_key(automation_id, keys)
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        # a Run that is being made elsewhere for one of these keys: wait for it, then look again
        self._ledger.lock_automations([automation_id])
        found.update(self._ledger.runs_by_key(automation_id, missing))
        made: dict[str, Run] = {}
        waiting = []
        for instance, ready, key in requests:
            if key in found or key in made:
                continue
            if ready.rule.create_run and self._make_runs:
                made[key] = Run(automation_id=automation_id, correlation_id=key, created_at=self._now)
            else:
                waiting.append(WaitingKey(instance.id, ready.rule.name, automation_id, key))
        self._ledger.insert_runs(list(made.values()), self._actor)
        self._ledger.insert_waiting([row for row in waiting if row.key not in made])
        if made:
            self._adopt(automation_id, {key: run.id for key, run in made.items()})
        return found | {key: run.id for key, run in made.items()}

    def _adopt(self, automation_id: UUID, runs: Mapping[str, UUID]) -> None:
        """Links stored instances whose keys waited for these Runs, whichever engine they are of."""
        waiting = self._ledger.take_waiting(automation_id, list(runs))
        if not waiting:
            return
        self._remember([row.instance_id for row in waiting])
        for row in waiting:
            self._attach(row.instance_id, runs[row.key], row.rule)
        adopted: dict[UUID, list[OrchestrationInstance]] = {}
        for tracked in self._ledger.tracked(list({row.instance_id for row in waiting})).values():
            adopted.setdefault(tracked.instance.engine_id, []).append(tracked.instance)
        self._to_children(adopted.pop(self._engine_id, []))
        for engine_id, engine in self._ledger.engine_names(list(adopted)).items():
            self._flush()  # what the other engine's children inherit is read from the store
            self._of(engine_id, engine).hand_down(adopted[engine_id])

    def _of(self, engine_id: UUID, engine: str) -> Linking:
        """The same for another engine, gathering into the same `touched` and `events`."""
        other = Linking(
            self._ledger,
            self._rules,
            engine_id=engine_id,
            engine=engine,
            actor=self._actor,
            now=self._now,
            make_runs=self._make_runs,
        )
        other.touched, other.events = self.touched, self.events
        return other

    # --- by parent ---------------------------------------------------------------------------------------------

    def _from_parents(self, instances: Iterable[OrchestrationInstance]) -> list[OrchestrationInstance]:
        heirs = [i for i in instances if i.parent_external_id is not None and self._heir_rule(i) is not None]
        if not heirs:
            return []
        names = list({heir.parent_external_id for heir in heirs if heir.parent_external_id is not None})
        parents = self._ledger.known(self._engine_id, names)
        self._remember([parent.id for parent in parents.values()])
        newly = []
        for heir in heirs:
            parent = parents.get(heir.parent_external_id or "")
            if parent is not None and self._inherit(heir, parent.id):
                newly.append(heir)
        return newly

    def _to_children(self, parents: Sequence[OrchestrationInstance]) -> None:
        if not self._rules.inherit_for(self._engine):
            return
        for _ in range(_MAX_DEPTH):
            if not parents:
                return
            by_name = {parent.external_id: parent for parent in parents}
            children = [t.instance for t in self._ledger.children(self._engine_id, list(by_name))]
            self._remember([child.id for child in children])
            parents = [
                child
                for child in children
                if self._heir_rule(child) is not None
                and self._inherit(child, by_name[child.parent_external_id or ""].id)
            ]

    def _heir_rule(self, instance: OrchestrationInstance) -> str | None:
        for ready in self._rules.matching(self._engine, instance.workflow):
            if ready.rule.inherit == "parent":
                return ready.rule.name
        return None

    def _inherit(self, heir: OrchestrationInstance, parent_id: UUID) -> bool:
        rule = self._heir_rule(heir)
        attached = [self._attach(heir.id, run_id, rule) for run_id in self._active_runs(parent_id)]
        return any(attached)

    # --- the links ---------------------------------------------------------------------------------------------

    def _remember(self, instance_ids: Sequence[UUID]) -> None:
        unknown = [one for one in instance_ids if one not in self._runs_of]
        stored = self._ledger.links_of(unknown)
        for one in unknown:
            links = stored.get(one, [])
            self._runs_of[one] = {link.run_id for link in links}
            self._taken_off.update((one, link.run_id) for link in links if not link.is_active)

    def _active_runs(self, instance_id: UUID) -> list[UUID]:
        runs = self._runs_of.get(instance_id, set())
        return [run_id for run_id in sorted(runs) if (instance_id, run_id) not in self._taken_off]

    def _attach(self, instance_id: UUID, run_id: UUID, rule: str | None) -> bool:
        runs = self._runs_of.setdefault(instance_id, set())
        if run_id in runs:
            return False
        runs.add(run_id)
        link = RunOrchestration.attach(
            run_id=run_id, orchestration_instance_id=instance_id, rule=rule, at=self._now, by=self._actor
        )
        self._new_links.append(link)
        self.touched.add(run_id)
        return True

    def _flush(self) -> int:
        links, self._new_links = self._new_links, []
        self._ledger.insert_links(links, self._actor)
        for link in links:
            self.events.extend(link.pull_events())
        return len(links)


def _key_text(value: Any) -> str | None:
    """A key as text: numbers as they are written, nothing for None, empty text, lists and objects."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None
