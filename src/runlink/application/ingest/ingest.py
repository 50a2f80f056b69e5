"""The one write path: everything that is learnt about instances, from any feed, comes through `ingest`.

One transaction per page: read what is known of it in one statement, decide, write in bulk, link, roll up, store the
cursors. A crash anywhere repeats the page and changes nothing. *Same* writes nothing and tells nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from runlink.application.ingest.decide import Read, Verdict, decide
from runlink.application.ingest.intake import MAX_CURSOR_BYTES, Intake, PageRefused, Told, check
from runlink.application.ingest.telling import (
    attempt_rows,
    facts_of,
    facts_told,
    step_row,
    steps_state,
    steps_told,
    with_known,
)
from runlink.application.items.follow import follow_items
from runlink.application.linking.link import Linking
from runlink.application.ports import UnitOfWork
from runlink.application.rollup.rollup import roll_up
from runlink.application.rows import AttemptRow, Known, ObservationRow, StepRow, Tracked
from runlink.application.rules.rules import Rules
from runlink.domain import DomainEvent, Engine, OrchestrationInstance
from runlink.spi import Observation, Page

__all__ = ["MAX_CURSOR_BYTES", "Outcome", "PageRefused", "Read", "ingest"]

_json = msgspec.json.Encoder(order="deterministic")
_READ_BY_RULES = frozenset(("workflow", "parameters", "labels", "instance_metadata"))


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a page came to, in numbers; and the external ids it showed.

    `moved` are instances that are new, or at another status or attempt: what a push would have told.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    same: int = 0
    stale: int = 0
    linked: int = 0
    vanished: int = 0
    quarantined: int = 0
    runs_changed: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, more: Outcome) -> None:
        """Counts another page in; not what it showed."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(more, name))


_COUNTS = tuple(f.name for f in fields(Outcome) if f.name != "seen")


class Tally(NamedTuple):
    """What a feed took in since the start.

    results   observations by what was news of them: the names of Outcome's counts
    fates     deliveries by what became of them: done, retried, dead
    """

    engine_id: UUID
    feed: str
    results: Mapping[str, int]
    fates: Mapping[str, int]


@dataclass(slots=True)
class _Plan:
    """What is to be written."""

    new: list[Tracked] = field(default_factory=list)
    changed: list[Tracked] = field(default_factory=list)
    noted: list[Tracked] = field(default_factory=list)  # bookkeeping only
    digests: list[tuple[UUID, bytes]] = field(default_factory=list)
    new_attempts: list[AttemptRow] = field(default_factory=list)
    attempts: list[AttemptRow] = field(default_factory=list)
    new_steps: list[StepRow] = field(default_factory=list)  # of new instances, each once
    steps: list[StepRow] = field(default_factory=list)
    observations: list[ObservationRow] = field(default_factory=list)
    events: list[DomainEvent] = field(default_factory=list)
    retold: list[UUID] = field(default_factory=list)  # what rules read of an instance beside its steps has changed
    told: dict[UUID, list[StepRow]] = field(default_factory=dict)  # all steps of observations, where link rules look


def ingest(
    uow: UnitOfWork, rules: Rules, engine: Engine, page: Page, read: Read, now: datetime, *, max_bytes: int = 1 << 18
) -> Outcome:
    """Takes a page in. Raises PageRefused, FenceLost or ConcurrencyError (repeat the page); then nothing is written.

    `max_bytes` bounds an observation without its steps, and each step: metadata, inputs and outputs that are larger are
    left out, anything else is quarantined.
    """
    return _Ingest(uow, rules, engine, read, now, max_bytes).page(page)


class _Ingest:
    def __init__(
        self, uow: UnitOfWork, rules: Rules, engine: Engine, read: Read, now: datetime, max_bytes: int
    ) -> None:
        self._uow = uow
        self._ledger = uow.ledger
        self._rules = rules
        self._engine = engine
        self._read = read
        self._now = now
        self._intake = Intake(max_bytes)
        self._outcome = Outcome(seen=self._intake.seen)

    def page(self, page: Page) -> Outcome:
        check(page)
        if self._read.fence is not None:
            self._ledger.check_fence(self._read.fence)
        for batch in self._intake.rounds(page.observations):
            self._take(batch)
        if page.gone:
            self._gone(page.gone)
        for item in page.unreadable:
            self._intake.set_aside(item.external_id, item.reason, item.raw)
        self._ledger.quarantine(self._engine.id, self._read.feed, self._intake.quarantined, self._now)
        self._outcome.quarantined = len(self._intake.quarantined)
        self._outcome.stale += self._intake.stale
        if page.cursors:
            self._ledger.store_cursors(self._engine.id, self._read.cursors_of, page.cursors, self._now)
        return self._outcome

    # --- decide ------------------------------------------------------------------------------------------------

    def _take(self, batch: Mapping[str, Told]) -> None:
        former = [told.given.supersedes for told in batch.values() if told.given.supersedes]
        known = self._ledger.known(self._engine.id, [*batch, *former])
        plan = _Plan()
        compare: list[tuple[UUID, Told, Observation]] = []
        replaced: list[tuple[UUID, UUID]] = []
        for name, told in batch.items():
            row, before = known.get(name), _active(known.get(told.given.supersedes or ""))
            if row is not None and before is not None:
                replaced.append((before.id, row.id))
            row = row or before
            if row is not None and row.digest is not None and row.digest == told.digest:
                self._outcome.same += 1
            elif row is not None and not row.is_active:
                self._outcome.stale += 1
            elif (observation := self._intake.read(told)) is not None:
                if row is None:
                    self._first(told, observation, plan)
                else:
                    compare.append((row.id, told, observation))
        if compare:
            self._compare(compare, plan)
        self._write(plan, replaced)

    def _first(self, told: Told, o: Observation, plan: _Plan) -> None:
        instance = OrchestrationInstance.first_seen(
            self._engine.id, o.external_id, o.status, at=self._now, attempt=o.attempt, **facts_told(o, self._read)
        )
        tracked = Tracked(instance, told.digest, steps_state=steps_state(o))
        plan.new.append(tracked)
        plan.new_attempts.extend(attempt_rows(tracked, o))
        text = told.text
        if isinstance(o.steps, tuple):
            rows = (step_row(instance.id, step) for step in o.steps)
            steps = list({(row.external_id, row.attempt): row for row in rows}.values())
            plan.new_steps.extend(steps)
            if self._rules.reads_steps:
                plan.told[instance.id] = steps
            text = b'%s,"steps":%s}' % (text[:-1], _json.encode(steps_told(steps)))
        plan.observations.append(self._line(tracked, told.digest, text.decode()))
        plan.events.extend(instance.pull_events())
        self._outcome.new += 1
        self._outcome.moved += 1

    def _compare(self, told: Sequence[tuple[UUID, Told, Observation]], plan: _Plan) -> None:
        stored = self._ledger.tracked([instance_id for instance_id, _, _ in told])
        with_steps = [instance_id for instance_id, _, o in told if isinstance(o.steps, tuple)]
        step_digests = self._ledger.step_digests(with_steps)
        in_part = [instance_id for instance_id, _, o in told if isinstance(o.steps, tuple) and not o.complete]
        known_steps = self._ledger.steps(in_part)
        for instance_id, one, observation in told:
            if isinstance(observation.steps, tuple) and not observation.complete:
                observation = with_known(observation, known_steps.get(instance_id, {}))  # noqa: PLW2901
            self._change(stored[instance_id], one, observation, step_digests, plan)

    def _change(
        self,
        tracked: Tracked,
        told: Told,
        o: Observation,
        step_digests: Mapping[tuple[UUID, str, int], bytes],
        plan: _Plan,
    ) -> None:
        instance, digest = tracked.instance, told.digest
        verdict = decide(tracked, o, self._read if told.last else replace(self._read, authoritative=False))
        if verdict is Verdict.STALE:
            self._outcome.stale += 1
            if instance.is_active:
                self._late(tracked, o, step_digests, plan)
            return
        if verdict is Verdict.AGAIN:
            tracked.attempt_offset = instance.attempt + 1 - o.attempt
        before, version = facts_of(instance), instance.version
        if instance.external_id != o.external_id:
            instance.rename(o.external_id, at=self._now)
        attempt = o.attempt + tracked.attempt_offset
        facts = facts_told(o, self._read)
        if not o.complete and instance.workflow is not None:  # a part of it may not know what it is a part of
            del facts["workflow"]
        instance.observe(o.status, at=self._now, attempt=attempt, **facts)
        told_steps = [step_row(instance.id, step) for step in (o.steps if isinstance(o.steps, tuple) else ())]
        if isinstance(o.steps, tuple) and self._rules.reads_steps:
            plan.told[instance.id] = told_steps
        steps = _news(told_steps, step_digests)
        state = steps_state(o) or (tracked.steps_state if instance.attempt == before["attempt"] else None)
        bookkeeping = tracked.missing_since is not None or state != tracked.steps_state
        tracked.missing_since, tracked.steps_state = None, state
        if instance.version == version and not steps:
            self._outcome.same += 1
            tracked.digest = digest
            if bookkeeping:
                plan.noted.append(tracked)
            elif digest is not None:
                plan.digests.append((instance.id, digest))
            return
        tracked.digest = digest
        plan.changed.append(tracked)
        plan.attempts.extend(attempt_rows(tracked, o))
        plan.steps.extend(steps)
        changes = _changes(before, instance, plan)
        if steps:
            changes["steps"] = steps_told(steps)
        plan.observations.append(self._line(tracked, digest, _json.encode(changes).decode()))
        plan.events.extend(instance.pull_events())
        self._outcome.changed += 1
        self._outcome.moved += (before["status"], before["attempt"]) != (instance.status, instance.attempt)

    def _late(
        self, tracked: Tracked, o: Observation, digests: Mapping[tuple[UUID, str, int], bytes], plan: _Plan
    ) -> None:
        """Of what something newer has overtaken, that which is news all the same: facts that nobody told since, and
        steps that were told apart from their instance."""
        instance, changes = tracked.instance, {}
        before = facts_of(instance)
        # an attempt that the engine does not count cannot be told from the one before: its start is not believed
        attempt = o.attempt if tracked.attempt_offset == 0 else 0
        if instance.fill_in(at=self._now, attempt=attempt, **facts_told(o, self._read)):
            changes = _changes(before, instance, plan)
            plan.attempts.extend(attempt_rows(tracked, o)[-1:])
        told = () if o.complete or not isinstance(o.steps, tuple) else o.steps
        steps = _news((step_row(instance.id, step) for step in told), digests)
        if steps:
            plan.steps.extend(steps)
            changes["steps"] = len(steps)
        if changes:
            plan.changed.append(tracked)
            plan.observations.append(self._line(tracked, None, _json.encode(changes).decode()))
            self._outcome.changed += 1

    def _line(self, tracked: Tracked, digest: bytes | None, changes: str) -> ObservationRow:
        instance = tracked.instance
        return ObservationRow(
            instance.id,
            self._read.began_at,
            self._now,
            self._read.feed,
            instance.attempt,
            instance.status,
            instance.native_status,
            digest,
            changes,
        )

    # --- absent instances --------------------------------------------------------------------------------------

    def _gone(self, external_ids: Sequence[str]) -> None:
        """The engine says it has these no more: once may be chance, twice is so. What had ended stays as it ended."""
        names = [name for one in external_ids if (name := str(one).strip()) not in self._outcome.seen]
        known = self._ledger.known(self._engine.id, names)
        plan = _Plan()
        for tracked in self._ledger.tracked([row.id for row in known.values()]).values():
            instance = tracked.instance
            if instance.status.is_ended or instance.vanished_at is not None or not instance.is_active:
                continue
            tracked.digest = None
            if tracked.missing_since is None:
                tracked.missing_since = self._read.began_at
                plan.noted.append(tracked)
            elif self._read.began_at > tracked.missing_since:
                instance.vanish(at=self._now)
                plan.changed.append(tracked)
                changes = _json.encode({"vanished_at": instance.vanished_at}).decode()
                plan.observations.append(self._line(tracked, None, changes))
                plan.events.extend(instance.pull_events())
                self._outcome.vanished += 1
        self._write(plan)

    # --- write -------------------------------------------------------------------------------------------------

    def _write(self, plan: _Plan, replaced: Sequence[tuple[UUID, UUID]] = ()) -> None:
        ledger, actor = self._ledger, self._uow.actor
        ledger.store_digests(plan.digests)
        ledger.update_instances(plan.noted, actor)
        if not (plan.new or plan.changed or replaced):
            self._follow(plan)
            return
        ledger.insert_instances(plan.new, actor)
        ledger.update_instances(plan.changed, actor)
        ledger.insert_attempts(plan.new_attempts)
        ledger.upsert_attempts(plan.attempts)
        ledger.insert_steps(plan.new_steps)
        ledger.upsert_steps(plan.steps)
        ledger.insert_observations(plan.observations)
        linking = Linking(
            ledger,
            self._rules,
            engines=[self._engine],
            actor=actor,
            now=self._now,
            make_runs=not self._read.baseline,
        )
        for before, after in replaced:
            self._replace(before, after, linking)
        new, changed = ([tracked.instance for tracked in rows] for rows in (plan.new, plan.changed))
        self._outcome.linked += linking.link(new, changed, plan.told)
        if replaced:
            heirs = ledger.tracked([after for _, after in replaced])
            linking.hand_down([tracked.instance for tracked in heirs.values()])
        self._intake.quarantined.extend(failure.quarantined() for failure in linking.failures)
        if not self._read.baseline:
            ledger.insert_events([*plan.events, *linking.events], self._now, actor)
        self._follow(plan, [before for before, _ in replaced], linking.events)
        self._outcome.runs_changed += roll_up(self._uow, self._rules, linking.touched, self._now)

    def _follow(self, plan: _Plan, replaced: Sequence[UUID] = (), events: Sequence[DomainEvent] = ()) -> None:
        follow_items(
            self._uow,
            self._rules,
            self._now,
            new=(t.instance.id for t in plan.new),
            changed=(t.instance.id for t in (*plan.changed, *plan.noted)),
            whole=(*plan.retold, *replaced),
            steps=[*plan.new_steps, *plan.steps],
            events=events,
        )

    def _replace(self, before: UUID, after: UUID, linking: Linking) -> None:
        """Two rows turn out to be one instance, seen under its later id first: the earlier row is put away, and its
        Runs are those of the later one."""
        instance = self._uow.orchestration_instances.get(before)
        if instance is not None:
            self._uow.orchestration_instances.delete(instance, at=self._now)
        for link in self._ledger.links_of([before]).get(before, ()):
            if link.pinned:
                linking.pin(after, link.run_id, linked=link.is_active)
            elif link.is_active:
                linking.attach(after, link.run_id, link.rule, link.key)
            if link.is_active:
                self._uow.run_orchestrations.delete(link, at=self._now)


def _news(rows: Iterable[StepRow], digests: Mapping[tuple[UUID, str, int], bytes]) -> list[StepRow]:
    """The steps that are not stored just so."""
    return [row for row in rows if digests.get((row.instance_id, row.external_id, row.attempt)) != row.digest]


def _changes(before: Mapping[str, Any], instance: OrchestrationInstance, plan: _Plan) -> dict[str, Any]:
    """What is known otherwise than before; rules that read it are asked again."""
    changes = {name: value for name, value in facts_of(instance).items() if before[name] != value}
    if not changes.keys().isdisjoint(_READ_BY_RULES):
        plan.retold.append(instance.id)
    return changes


def _active(row: Known | None) -> Known | None:
    return row if row is not None and row.is_active else None
