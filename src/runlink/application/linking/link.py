"""Instances to Runs: by the key a rule finds, by inheritance from a parent in whichever engine, or by hand.

Whoever is seen first, the end is the same: keys without a Run wait in the store, and so do the values by which parents
are known, from both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from runlink.application.linking.claims import Claim, Failure, claims_of, nearest
from runlink.application.ports import LinkLedger
from runlink.application.rows import AttemptRow, RunTimes, StepRow, WaitingKey
from runlink.application.rules.rules import Asked, ReadyRule, Rules
from runlink.domain import DomainEvent, Engine, OrchestrationInstance, Run, RunOrchestration

MAX_DEPTH = 100  # of a chain of parents: an engine that tells of a circle must not hang us


class Linking:
    """Links instances within one transaction. `touched` gathers the Runs to roll up, `failures` the instances that a
    rule failed on, `made` the Runs that were made, `waiting` the keys that no Run has.

    A link that was made or taken off by hand is pinned: no rule changes it.
    """

    def __init__(
        self,
        ledger: LinkLedger,
        rules: Rules,
        *,
        engines: Iterable[Engine] = (),
        actor: str,
        now: datetime,
        make_runs: bool,
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._engines = {engine.id: engine for engine in engines}
        self._actor = actor
        self._now = now
        self._make_runs = make_runs
        self._runs_of: dict[UUID, set[UUID]] = {}  # the Runs that an instance counts for, where it is known
        self._steps: Mapping[UUID, Sequence[StepRow]] = {}
        self._stored: dict[tuple[UUID, UUID], RunOrchestration] = {}
        self._new_links: list[RunOrchestration] = []
        self._changed_links: dict[UUID, RunOrchestration] = {}
        self.touched: set[UUID] = set()
        self.events: list[DomainEvent] = []
        self.failures: list[Failure] = []
        self.made: list[Run] = []
        self.waiting: list[WaitingKey] = []

    def link(
        self,
        new: Sequence[OrchestrationInstance],
        changed: Sequence[OrchestrationInstance],
        steps: Mapping[UUID, Sequence[StepRow]] | None = None,
    ) -> int:
        """Links what the rules say; the Runs of `changed` are touched in any case. Returns the number of new links.

        `steps` are those that were told of the instances, for rules that look at them.
        """
        self._steps = steps or {}
        self._runs_of.update({instance.id: set() for instance in new})
        self._remember([instance.id for instance in changed])
        for instance in changed:
            self.touched.update(self._runs_of[instance.id])
        self._say([*new, *changed])
        return self._flush()

    def attach(self, instance_id: UUID, run_id: UUID, rule: str | None, key: str | None = None) -> None:
        """Links these two, unless a hand has decided on them before; stored by what is called next."""
        self._remember([instance_id])
        self._attach(instance_id, run_id, rule, key)

    def pin(self, instance_id: UUID, run_id: UUID, *, linked: bool, pinned: bool = True) -> RunOrchestration:
        """Links these two, or keeps them apart, by hand, whatever was before; stored by what is called next.

        With `pinned` False the rules may change it from now on."""
        self._remember([instance_id])
        found = self._stored.get((instance_id, run_id))
        link = found or RunOrchestration.attach(
            run_id=run_id, orchestration_instance_id=instance_id, pinned=pinned, at=self._now, by=self._actor
        )
        changed = link.pin(linked=linked, pinned=pinned, at=self._now, by=self._actor)
        if found is None:
            self._new_links.append(link)
            if not linked:
                link.pull_events()  # they never were linked: there is nothing to tell
        elif changed:
            self._changed_links[link.id] = link
        self._stored[instance_id, run_id] = link
        (self._runs_of[instance_id].add if linked else self._runs_of[instance_id].discard)(run_id)
        self.touched.add(run_id)
        return link

    def hand_down(self, parents: Sequence[OrchestrationInstance]) -> None:
        """Links what these instances started, and what that started, where a rule inherits."""
        self._remember([parent.id for parent in parents])
        self._to_children(parents)
        self._flush()

    def adopt(self, automation_id: UUID, runs: Mapping[str, RunTimes]) -> None:
        """Links stored instances whose keys waited for these Runs, whichever engine they are of, and what they
        started."""
        self._to_children(self._adopted(automation_id, runs))
        self._flush()

    def _say(self, instances: Sequence[OrchestrationInstance]) -> None:
        claims = claims_of(self._rules, self._asked(instances))
        self.failures.extend(claims.failures)
        newly = self._by_key(claims.keys)
        if self._rules.inherits or claims.correlations:
            self._ledger.insert_correlations(claims.correlations)
            looking = {row.instance_id for row in claims.correlations if row.side == "child"}
            newly += self._from_parents(instances, looking)
            looked_for = {row.instance_id for row in claims.correlations if row.side == "parent"}
            newly += [instance for instance in instances if instance.id in looked_for]
        self._to_children(newly)

    def _asked(self, instances: Sequence[OrchestrationInstance]) -> Iterator[Asked]:
        attempts = self._attempts(instances)
        for one in instances:
            yield Asked(one, self._engine(one.engine_id), self._steps.get(one.id), attempts.get(one.id))

    def _attempts(self, instances: Sequence[OrchestrationInstance]) -> dict[UUID, list[AttemptRow]]:
        """Their stored attempts, where a rule may look at them."""
        wanted = [one.id for one in instances if self._rules.reading_attempts(self._engine(one.engine_id), one)]
        found: dict[UUID, list[AttemptRow]] = {}
        for row in self._ledger.attempts_of(wanted) if wanted else ():
            found.setdefault(row.instance_id, []).append(row)
        return found

    # --- by key ------------------------------------------------------------------------------------------------

    def _by_key(self, claims: Iterable[Claim]) -> list[OrchestrationInstance]:
        wanted: dict[UUID, list[Claim]] = {}
        for claim in claims:
            wanted.setdefault(claim.automation_id, []).append(claim)
        newly: list[OrchestrationInstance] = []
        for automation_id, mine in wanted.items():
            keys = list(dict.fromkeys(key for claim in mine for key in claim.keys))
            runs = self._ledger.runs_by_key(automation_id, keys, timed=self._rules.windowed)
            missing = [claim for claim in mine if not self._take(claim, runs, newly)]
            if missing:
                self._without_run(automation_id, missing, newly)
        return newly

    def _take(self, claim: Claim, runs: Mapping[str, Sequence[RunTimes]], newly: list[OrchestrationInstance]) -> bool:
        """Whether a Run was found for it, and the two are linked."""
        for key in claim.keys:
            run_id = nearest(claim.instance, runs.get(key, ()), claim.ready.rule.within_s)
            if run_id is not None:
                if self._attach(claim.instance.id, run_id, claim.ready.rule.name, key):
                    newly.append(claim.instance)
                return True
        return False

    def _without_run(self, automation_id: UUID, claims: Sequence[Claim], newly: list[OrchestrationInstance]) -> None:
        # a Run that is being made elsewhere for one of these keys: wait for it, then look again
        self._ledger.lock_automations([automation_id])
        runs = self._ledger.runs_by_key(automation_id, list(dict.fromkeys(k for claim in claims for k in claim.keys)))
        made: list[tuple[Claim, Run]] = []
        waiting = []
        for claim in claims:
            if self._take(claim, runs, newly):
                continue
            if not (claim.ready.rule.create_run and self._make_runs):
                waiting.append(claim)
                continue
            run = self._new_run(claim)
            made.append((claim, run))
            times = RunTimes(run.id, run.created_at, claim.instance.queued_at or claim.instance.started_at)
            for key in dict.fromkeys((claim.keys[-1], str(run.id))):
                runs[key] = [*runs.get(key, ()), times]
        self._ledger.insert_runs([run for _, run in made], self._actor)
        self.made.extend(run for _, run in made)
        for claim, run in made:
            if self._attach(claim.instance.id, run.id, claim.ready.rule.name, claim.keys[0]):
                newly.append(claim.instance)
        rows = [
            WaitingKey(claim.instance.id, claim.ready.rule.name, automation_id, key)
            for claim in waiting
            if not (made and self._take(claim, runs, newly))
            for key in claim.keys
        ]
        self._ledger.insert_waiting(rows)
        self.waiting += rows
        if made:
            new = {str(run.correlation_id): RunTimes(run.id, run.created_at, None) for _, run in made}
            newly += self._adopted(automation_id, new)

    def _new_run(self, claim: Claim) -> Run:
        by = claim.created_by
        return Run(
            automation_id=claim.automation_id,
            correlation_id=claim.keys[-1],
            created_at=self._now,
            created_by=None if by is None else f"{self._actor} for {by}"[:200],
        )

    def _adopted(self, automation_id: UUID, runs: Mapping[str, RunTimes]) -> list[OrchestrationInstance]:
        """Those that had waited, and are linked now. What waits under a rule that there is no more is dropped."""
        rows = self._ledger.take_waiting(automation_id, list(runs))
        if not rows:
            return []
        self._remember([row.instance_id for row in rows])
        tracked = self._ledger.tracked(list({row.instance_id for row in rows}))
        adopted, back = [], []
        for row in rows:
            ready, one = self._rules.by_name.get(row.rule), tracked.get(row.instance_id)
            if ready is None or one is None or not one.instance.is_active:
                continue
            run_id = nearest(one.instance, [runs[row.key]], ready.rule.within_s)
            if run_id is None:
                back.append(row)
            elif self._attach(row.instance_id, run_id, row.rule, row.key):
                adopted.append(one.instance)
        self._ledger.insert_waiting(back)
        return adopted

    # --- by parent ---------------------------------------------------------------------------------------------

    def _from_parents(
        self, instances: Sequence[OrchestrationInstance], looking: set[UUID]
    ) -> list[OrchestrationInstance]:
        """Those that inherited something from parents which are stored already."""
        by_id = {instance.id: instance for instance in instances}
        pairs: list[tuple[UUID, UUID, str, str]] = []
        heirs: dict[UUID, list[tuple[OrchestrationInstance, ReadyRule]]] = {}
        if self._rules.inherits:
            for one in instances:
                ready = self._heir_rule(one) if one.parent_external_id is not None else None
                if ready is not None:
                    heirs.setdefault(one.engine_id, []).append((one, ready))
        for engine_id, mine in heirs.items():
            parents = self._ledger.known(engine_id, list({one.parent_external_id or "" for one, _ in mine}))
            for one, ready in mine:
                name = one.parent_external_id or ""
                if name in parents:
                    pairs.append((one.id, parents[name].id, ready.rule.name, name))
        pairs += [
            (kin.child_id, kin.parent_id, self._rules.by_topic[kin.topic].rule.name, kin.value)
            for kin in self._ledger.kin(list(looking), "child")
            if self._may_inherit(by_id[kin.child_id], kin.topic)
        ]
        self._remember([parent_id for _, parent_id, _, _ in pairs])
        return [by_id[child_id] for child_id in self._inherit(pairs)]

    def _to_children(self, parents: Sequence[OrchestrationInstance]) -> None:
        for _ in range(MAX_DEPTH):
            if not parents or not (self._rules.inherits or self._rules.by_topic):
                return
            parents = self._heirs_of(parents)

    def _heirs_of(self, parents: Sequence[OrchestrationInstance]) -> list[OrchestrationInstance]:
        """The children of these that were linked to something by that."""
        children: dict[UUID, OrchestrationInstance] = {}
        pairs: list[tuple[UUID, UUID, str, str]] = []
        for child, parent_id, ready, value in self._children(parents):
            children[child.id] = child
            pairs.append((child.id, parent_id, ready.rule.name, value))
        self._remember(list(children))
        return [children[child_id] for child_id in dict.fromkeys(self._inherit(pairs))]

    def _children(
        self, parents: Sequence[OrchestrationInstance]
    ) -> Iterable[tuple[OrchestrationInstance, UUID, ReadyRule, str]]:
        """(child, parent's id, the rule by which it inherits, the value that ties them), in all engines."""
        if self._rules.inherits:
            by_engine: dict[UUID, dict[str, UUID]] = {}
            for parent in parents:
                by_engine.setdefault(parent.engine_id, {})[parent.external_id] = parent.id
            for engine_id, by_name in by_engine.items():
                for tracked in self._ledger.children(engine_id, list(by_name)):
                    name = tracked.instance.parent_external_id or ""
                    ready = self._heir_rule(tracked.instance)
                    if ready is not None and tracked.instance.is_active:
                        yield tracked.instance, by_name[name], ready, name
        if self._rules.by_topic:
            rows = self._ledger.kin([parent.id for parent in parents], "parent")
            found = self._ledger.tracked(list({row.child_id for row in rows}))
            for row in rows:
                child = found[row.child_id].instance
                if self._may_inherit(child, row.topic):
                    yield child, row.parent_id, self._rules.by_topic[row.topic], row.value

    def _heir_rule(self, instance: OrchestrationInstance) -> ReadyRule | None:
        for ready in self._rules.applying(self._engine(instance.engine_id), instance):
            if ready.rule.inherit == "parent":
                return ready
        return None

    def _may_inherit(self, child: OrchestrationInstance, topic: str) -> bool:
        return any(r.topic == topic for r in self._rules.applying(self._engine(child.engine_id), child))

    def _inherit(self, pairs: Iterable[tuple[UUID, UUID, str, str]]) -> list[UUID]:
        """The children among these (child, parent, rule, value) that were linked to a Run of the parent's."""
        newly = []
        for child_id, parent_id, rule, value in pairs:
            if child_id != parent_id:
                attached = [self._attach(child_id, r, rule, value) for r in sorted(self._runs_of.get(parent_id, ()))]
                if any(attached):
                    newly.append(child_id)
        return newly

    # --- the links ---------------------------------------------------------------------------------------------

    def _engine(self, engine_id: UUID) -> Engine:
        if engine_id not in self._engines:
            self._engines.update(self._ledger.engines([engine_id]))
        return self._engines[engine_id]

    def _remember(self, instance_ids: Sequence[UUID]) -> None:
        unknown = [one for one in dict.fromkeys(instance_ids) if one not in self._runs_of]
        stored = self._ledger.links_of(unknown)
        for one in unknown:
            links = stored.get(one, [])
            self._runs_of[one] = {link.run_id for link in links if link.is_active}
            self._stored.update({(one, link.run_id): link for link in links})

    def _attach(self, instance_id: UUID, run_id: UUID, rule: str | None, key: str | None) -> bool:
        """Whether the instance counts for the Run now, and did not before."""
        runs = self._runs_of.setdefault(instance_id, set())
        if run_id in runs:
            return False
        stored = self._stored.get((instance_id, run_id))
        if stored is not None and stored.pinned:
            return False
        runs.add(run_id)
        self.touched.add(run_id)
        if stored is not None:
            stored.attach_again(rule, key, at=self._now, by=self._actor)
            self._changed_links[stored.id] = stored
            return True
        link = RunOrchestration.attach(
            run_id=run_id, orchestration_instance_id=instance_id, rule=rule, key=key, at=self._now, by=self._actor
        )
        self._stored[instance_id, run_id] = link
        self._new_links.append(link)
        return True

    def _flush(self) -> int:
        links, self._new_links = self._new_links, []
        changed, self._changed_links = list(self._changed_links.values()), {}
        self._ledger.insert_links(links, self._actor)
        self._ledger.update_links(changed, self._actor)
        for link in (*links, *changed):
            self.events.extend(link.pull_events())
        return len(links) + sum(link.is_active for link in changed)
