"""The rules applied to stored instances: links they make now, links they no longer make. `runlink relink` comes here,
`plan`, which only wants to know, and whoever takes a link off by hand.

Each page is a transaction of its own, so that a running daemon goes on between them; doing it again changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from runlink.application.items.follow import follow_items
from runlink.application.linking.claims import Failure
from runlink.application.linking.link import MAX_DEPTH, Linking
from runlink.application.linking.trial import TrialLedger
from runlink.application.ports import LinkLedger, Store, UnitOfWork
from runlink.application.rollup.rollup import roll_up
from runlink.application.rows import StepRow, WaitingKey
from runlink.application.rules.rules import Asked, Rules
from runlink.domain import Engine, OrchestrationInstance, RunOrchestration

PAGE = 200
"""Instances of one transaction: about a tenth of a second on SQLite."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)
_WITH_STEPS = 20  # instances whose steps are in memory at a time: each may have ten thousand

_Pair = tuple[UUID, UUID]


@dataclass(slots=True, kw_only=True)
class Relinked:
    """What relinking came to, or would come to.

    matched   rule -> (engine, workflow) -> instances it applies to
    linked, unlinked   rule -> links; made  automation -> correlation ids of new Runs; failed  rule -> instances
    waiting   rule -> keys that no Run has -> instances it found them in
    runs_touched       Runs that got an instance or lost one
    runs_changed       Runs that moved or were told better for it; not found out by a dry run
    last      the last instance that was done: where to go on
    """

    instances: int = 0
    matched: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    linked: Counter[str] = field(default_factory=Counter)
    unlinked: Counter[str] = field(default_factory=Counter)
    made: dict[str, set[str]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, Counter[str]] = field(default_factory=dict)
    runs_touched: int = 0
    runs_changed: int = 0
    last: UUID | None = None


@dataclass(slots=True)
class _Page:
    """One page's part. `links` tell each link and its Run apart, also a Run that is made again by a dry run."""

    instances: list[OrchestrationInstance]
    matched: list[tuple[str, str, str]] = field(default_factory=list)
    links: list[tuple[str, bool, int, int]] = field(default_factory=list)
    made: list[tuple[str, str]] = field(default_factory=list)
    waiting: set[WaitingKey] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    runs_changed: int = 0


def relink(
    store: Store,
    rules: Rules,
    *,
    actor: str,
    now: Callable[[], datetime],
    since: datetime = EVER,
    engine_id: UUID | None = None,
    after: UUID | None = None,
    trial: Mapping[UUID, Engine] | None = None,
    progress: Callable[[Relinked], None] = lambda _: None,
    page_size: int = PAGE,
) -> Relinked:
    """Asks the rules again about every instance that began since then, in order of id, those behind `after`.

    `trial` gives the engines as the configuration has them, by id: then the store is only read, and what is counted
    is what would be done, each link and each Run once. `progress` is called after each page.
    """
    total = Relinked(last=after)
    counted: set[tuple[bool, int]] = set()  # hashes: what would be linked may come up in several pages
    touched: set[int] = set()

    def instances(uow: UnitOfWork) -> list[OrchestrationInstance]:
        tracked = uow.ledger.instances_after(total.last, since=since, engine_id=engine_id, limit=page_size)
        return [one.instance for one in tracked]

    def keep(uow: UnitOfWork) -> _Page:
        linking, page = _ask(uow.ledger, rules, instances(uow), uow.actor, now())
        return _keep(uow, rules, linking, page, now())

    while True:
        if trial is None:
            page = store.write(keep, actor=actor)
        else:
            with store.reading() as uow:
                _, page = _ask(TrialLedger(uow.ledger, trial), rules, instances(uow), actor, now())
        if not page.instances:
            return total
        _count(total, page, touched, None if trial is None else counted)
        progress(total)


def _ask(
    ledger: LinkLedger, rules: Rules, instances: list[OrchestrationInstance], actor: str, now: datetime
) -> tuple[Relinking, _Page]:
    """Asks about the instances of a page, and tells what came of it."""
    page = _Page(instances)
    engines = ledger.engines(list({one.engine_id for one in instances}))
    linking = Relinking(ledger, rules, engines=engines.values(), actor=actor, now=now, make_runs=True)
    linking.again(instances)
    for one in page.instances:
        engine = engines[one.engine_id]
        page.matched += [(r.rule.name, engine.name, one.workflow or "") for r in rules.applying(engine, one)]
    names = {automation_id: name.strip() for name, automation_id in rules.automations.items()}
    made = {run.id: (names[run.automation_id], run.correlation_id or "") for run in linking.made}
    page.made = list(made.values())
    for link in linking.settled:
        run = hash(made.get(link.run_id, link.run_id))
        page.links.append((link.rule or "", link.is_active, hash((link.orchestration_instance_id, run)), run))
    ids = {one.id for one in page.instances}
    page.waiting = {row for row in linking.waiting if row.instance_id in ids}  # and not what they had started
    page.failures = linking.failures
    return linking, page


def _keep(uow: UnitOfWork, rules: Rules, linking: Relinking, page: _Page, now: datetime) -> _Page:
    """Lets items and Runs follow."""
    for failure in linking.failures:
        uow.ledger.quarantine(failure.engine.id, "relink", [failure.quarantined()], now)
    uow.ledger.insert_events(linking.events, now, uow.actor)
    relinked = {link.orchestration_instance_id for link in linking.settled}
    follow_items(uow, rules, now, whole=relinked | {one.id for one in page.instances}, events=linking.events)
    page.runs_changed = roll_up(uow, rules, linking.touched, now)
    return page


def _count(total: Relinked, page: _Page, touched: set[int], counted: set[tuple[bool, int]] | None) -> None:
    total.instances += len(page.instances)
    total.last = page.instances[-1].id
    total.runs_changed += page.runs_changed
    for rule, engine, workflow in page.matched:
        total.matched.setdefault(rule, Counter())[engine, workflow] += 1
    for rule, active, mark, run in page.links:
        touched.add(run)
        if counted is not None:
            if (active, mark) in counted:
                continue
            counted.add((active, mark))
        (total.linked if active else total.unlinked)[rule] += 1
    total.runs_touched = len(touched)
    for automation, key in page.made:
        total.made.setdefault(automation, set()).add(key)
    for row in page.waiting:
        total.waiting.setdefault(row.rule, Counter())[row.key] += 1
    for failure in page.failures:
        total.failed[failure.rule] += 1
        total.reasons.setdefault(failure.rule, failure.reason)


class Relinking(Linking):
    """Linking that also takes off what no rule makes any more. `settled` are the links that were made or taken off.

    A link is doubted when no rule finds it by a key again and nobody hands it down; then whatever was inherited by way
    of it is doubted too, all that is doubted is asked again, and what is still doubted goes. So a circle of parents
    does not hold itself up.
    """

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]
        self._by_keys: set[_Pair] = set()
        self._inherited: set[_Pair] = set()
        self._doubted: set[_Pair] = set()
        self._inheriting = False
        self._restated: set[UUID] = set()
        self.settled: list[RunOrchestration] = []

    def again(self, instances: Sequence[OrchestrationInstance]) -> None:
        """Asks the rules about these as if they were new, and settles the difference."""
        ids = [instance.id for instance in instances]
        self._ledger.forget_claims(ids)
        self._remember(ids)
        before = {(one, run_id) for one in ids for run_id in self._runs_of[one]}
        self._say(instances)
        by_id = {instance.id: instance for instance in instances}
        failed = {failure.instance.id for failure in self.failures}
        doubtful = [p for p in sorted(before) if p[0] not in failed and self._is_doubtful(p, by_id[p[0]])]
        if doubtful:
            self._settle(self._doubt(doubtful, by_id))
        changed = [link for link in self._changed_links.values() if link.id not in self._restated or not link.is_active]
        self.settled += [*self._new_links, *changed]
        self._flush()

    def take_off(self, instance: OrchestrationInstance, run_id: UUID, *, pinned: bool = True) -> RunOrchestration:
        """Takes a link off by hand, and with it what was handed down by way of it and has no other ground."""
        link = self.pin(instance.id, run_id, linked=False, pinned=pinned)
        by_id = {instance.id: instance}
        heirs = self._heirs_in_doubt([(instance.id, run_id)], by_id)
        if heirs:
            self._settle(self._doubt(heirs, by_id))
        self.settled += [*self._new_links, *self._changed_links.values()]
        self._flush()
        return link

    def _asked(self, instances: Sequence[OrchestrationInstance]) -> Iterator[Asked]:
        """With their stored steps and attempts, where a rule may look at them."""
        for begin in range(0, len(instances), _WITH_STEPS):
            some = instances[begin : begin + _WITH_STEPS]
            wanted = [one.id for one in some if self._rules.reading_steps(self._engine(one.engine_id), one)]
            steps: dict[UUID, list[StepRow]] = {}
            for row in self._ledger.steps_of(wanted):
                steps.setdefault(row.instance_id, []).append(row)
            attempts = self._attempts(some)
            for one in some:
                yield Asked(one, self._engine(one.engine_id), steps.get(one.id), attempts.get(one.id))

    def _is_doubtful(self, pair: _Pair, instance: OrchestrationInstance) -> bool:
        link = self._stored[pair]
        if link.pinned or pair in self._by_keys:
            return False
        ready = self._rules.by_name.get(link.rule or "")
        if ready is not None and ready.rule.attempt != "any" and instance.attempt > 1:
            return False  # what an earlier attempt was linked by cannot be asked again
        return not (pair in self._inherited and ready is not None and ready.rule.inherits)

    def _doubt(
        self, pairs: Iterable[_Pair], by_id: dict[UUID, OrchestrationInstance]
    ) -> dict[UUID, OrchestrationInstance]:
        """Doubts these and what was inherited from them; gives the instances."""
        doubted: dict[UUID, OrchestrationInstance] = {}
        front = list(pairs)
        for _ in range(MAX_DEPTH):
            for instance_id, run_id in front:
                self._doubted.add((instance_id, run_id))
                self._runs_of[instance_id].discard(run_id)
                doubted[instance_id] = by_id[instance_id]
            front = self._heirs_in_doubt(front, by_id)
            if not front:
                break
        return doubted

    def _heirs_in_doubt(self, front: list[_Pair], by_id: dict[UUID, OrchestrationInstance]) -> list[_Pair]:
        lost: dict[UUID, list[UUID]] = {}
        for instance_id, run_id in front:
            lost.setdefault(instance_id, []).append(run_id)
        found = []
        children = [(child, parent_id) for child, parent_id, _, _ in self._children([by_id[one] for one in lost])]
        self._remember([child.id for child, _ in children])
        for child, parent_id in children:
            by_id.setdefault(child.id, child)
            for run_id in lost[parent_id]:
                link = self._stored.get((child.id, run_id))
                if link is None or link.pinned or run_id not in self._runs_of[child.id]:
                    continue
                ready = self._rules.by_name.get(link.rule or "")
                if ready is None or ready.rule.inherits:
                    found.append((child.id, run_id))
        return list(dict.fromkeys(found))

    def _settle(self, doubted: dict[UUID, OrchestrationInstance]) -> None:
        known = {(failure.instance.id, failure.rule) for failure in self.failures}
        noted = len(self.failures)
        self._say(list(doubted.values()))
        again = self.failures[noted:]
        self.failures[noted:] = [f for f in again if (f.instance.id, f.rule) not in known]
        failed = {failure.instance.id for failure in again}
        for pair in sorted(self._doubted):
            link = self._stored[pair]
            if link in self._new_links:  # inherited a moment ago from what is no longer so
                self._new_links.remove(link)
                del self._stored[pair]
            elif pair[0] not in failed:
                link.deactivate(self._now, self._actor)
                self._changed_links[link.id] = link
                self.touched.add(pair[1])
        self._doubted.clear()

    def _inherit(self, pairs: Iterable[tuple[UUID, UUID, str, str]]) -> list[UUID]:
        self._inheriting = True
        try:
            return super()._inherit(pairs)
        finally:
            self._inheriting = False

    def _attach(self, instance_id: UUID, run_id: UUID, rule: str | None, key: str | None) -> bool:
        pair = (instance_id, run_id)
        (self._inherited if self._inheriting else self._by_keys).add(pair)
        if pair in self._doubted:
            self._doubted.discard(pair)
            self._runs_of[instance_id].add(run_id)
            self._restate(pair, rule, key)
            return True
        if run_id in self._runs_of.get(instance_id, ()):
            self._restate(pair, rule, key)
        return super()._attach(instance_id, run_id, rule, key)

    def _restate(self, pair: _Pair, rule: str | None, key: str | None) -> None:
        """A link whose rule has left the file is made by this one now; what made one link is not told twice."""
        link = self._stored[pair]
        gone = link.rule not in self._rules.by_name
        if not link.pinned and (gone or link.key is None) and link.restate(rule, key, self._now, self._actor):
            self._changed_links[link.id] = link
            self._restated.add(link.id)
