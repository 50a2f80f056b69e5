"""BatchExecutions and ItemExecutions brought in line with the steps that claim them. `steps` comes here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from runlink.application.items.resolve import Resolving
from runlink.application.items.rows import ItemStep, StoredTrack
from runlink.application.items.rules import Claim
from runlink.application.items.settle import ACTOR as ROLL_UP
from runlink.application.items.settle import is_stopped, tallies_of
from runlink.application.items.story import (
    Story,
    Track,
    beside,
    can_reach,
    correct,
    is_at,
    move_batch,
    news_of,
    story_of,
    walk,
)
from runlink.application.ports import Ledger
from runlink.application.rows import StepRow, Tracked
from runlink.domain import BatchExecution, DomainEvent, ItemExecution, ItemStateHistory, Run

_LAST: Final = datetime.max.replace(tzinfo=UTC)  # the place of what began nobody knows when

Of = tuple[UUID, UUID]
"""(Run, item) or (Run, batch)."""


@dataclass(slots=True)
class _Claimed:
    """One step that claims an item: its track, and what is stored of it."""

    track: Track
    instance_id: UUID
    row: ItemStep


@dataclass(slots=True)
class _Writes:
    """What is to be written of item executions."""

    new: list[ItemExecution] = field(default_factory=list)
    changed: list[ItemExecution] = field(default_factory=list)
    history: list[ItemStateHistory] = field(default_factory=list)
    events: list[DomainEvent] = field(default_factory=list)


class Executions:
    """The executions of some Runs, which are locked, while steps are followed."""

    def __init__(
        self,
        ledger: Ledger,
        now: datetime,
        actor: str,
        runs: Mapping[UUID, Run],
        instances: Mapping[UUID, Tracked],
        steps: Mapping[tuple[UUID, str], Sequence[StepRow]],
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._actor = actor
        self._runs = runs
        self._instances = instances
        self._steps = steps
        self._batches: dict[Of, BatchExecution] = {}
        self._carried: set[Of] = set()

    def follow(self, claims: Sequence[Claim], known: Iterable[ItemStep], resolved: Resolving) -> list[ItemStep]:
        """Moves the item executions of all items that these steps are, or were; returns what is to be kept of steps."""
        claimed: dict[Of, list[_Claimed]] = {}
        rows: list[ItemStep] = []
        batch_of: dict[UUID, UUID] = {}
        for claim in claims:
            if claim.item_id is None or claim.batch_id is None or claim.run_id not in self._runs:
                rows.append(_row(claim))
                continue
            claimed.setdefault((claim.run_id, claim.item_id), []).append(self._claimed(claim))
            batch_of[claim.item_id] = claim.batch_id
        for row in known:
            if row.item_id is not None:
                claimed.setdefault((row.run_id, row.item_id), [])
        made = {item.id for item in resolved.items}
        found = [of for of in claimed if of[1] not in made]
        self._add_stored(claimed, found, {(row.instance_id, row.external_id) for row in known})
        self._load_batches({(of[0], batch_of[of[1]]) for of, own in claimed.items() if own and of[1] in batch_of})
        stored = self._stored(found)
        writes = _Writes()
        for of, own in claimed.items():
            rows += self._arrange(own)
            tracks = [one.track for one in own if one.row.problem is None]
            self._move(of, tracks, stored.get(of), batch_of.get(of[1]), writes)
        self._write(writes)
        return rows

    def _claimed(self, claim: Claim) -> _Claimed:
        tracked = self._instances[claim.instance_id]
        instance = tracked.instance
        rows = self._steps[claim.instance_id, claim.external_id]
        begun = instance.queued_at or instance.started_at or _LAST
        track = Track(
            (begun, instance.external_id, rows[0].started_at or _LAST, claim.external_id),
            claim.name,
            not instance.status.is_ended and instance.vanished_at is None,
            rows,
            claim.max_attempts,
        )
        return _Claimed(track, claim.instance_id, _row(claim))

    def _add_stored(
        self, claimed: dict[Of, list[_Claimed]], found: Sequence[Of], looked_at: set[tuple[UUID, str]]
    ) -> None:
        """The other steps, of this instance and of others, that are these items."""
        at_hand = self._steps.keys() | looked_at
        others: dict[ItemStep, list[StoredTrack]] = {}
        for one in self._ledger.tracks(list({of[0] for of in found}), list({of[1] for of in found})):
            row = one.item_step
            if (row.instance_id, row.external_id) not in at_hand and (row.run_id, row.item_id) in claimed:
                others.setdefault(row, []).append(one)
        for row, attempts in others.items():
            first = attempts[0]
            steps = [one.row for one in attempts]
            begun = (first.begun_at or _LAST, first.instance_external_id, steps[0].started_at or _LAST, row.external_id)
            track = Track(begun, steps[-1].name, first.is_open, steps, row.max_attempts)
            of = (row.run_id, row.item_id)
            claimed[of].append(_Claimed(track, row.instance_id, row))  # type: ignore[index]  # item_id is asked for

    def _arrange(self, own: list[_Claimed]) -> list[ItemStep]:
        """Puts the steps of an item in order; those of one instance that are not attempts of one another, but several
        steps that claim to be the same item, do not fit, all but the first. Returns what is to be kept of all."""
        if len(own) > 1:
            own.sort(key=lambda one: one.track.place)
            by_instance: dict[UUID, list[_Claimed]] = {}
            for one in own:
                by_instance.setdefault(one.instance_id, []).append(one)
            for several in by_instance.values():
                losers = set(beside([one.track for one in several])) if len(several) > 1 else set()
                for place, one in enumerate(several):
                    first = several[0].row.external_id
                    problem = (
                        f"is the same item as step {first!r}, and no later attempt of it" if place in losers else None
                    )
                    if one.row.problem != problem:
                        one.row = one.row._replace(problem=problem)
        elif own and own[0].row.problem is not None:
            own[0].row = own[0].row._replace(problem=None)
        return [one.row for one in own]

    # --- batch executions --------------------------------------------------------------------------------------

    def _load_batches(self, needed: set[Of]) -> None:
        """The batch executions of the Runs, and new ones where an item needs one."""
        self._carried = needed
        self._batches = {(one.run_id, one.batch_id): one for one in self._ledger.batch_executions(list(self._runs))}
        new = [
            BatchExecution(run_id=run_id, batch_id=batch_id, created_at=self._now)
            for run_id, batch_id in sorted(needed - self._batches.keys())
        ]
        self._ledger.insert_batch_executions(new, self._actor)
        self._batches |= {(one.run_id, one.batch_id): one for one in new}

    def finish(self, more_may_come: set[UUID]) -> None:
        """Moves the batch executions to what their item executions say. Those that steps never moved are left alone,
        and so is what somebody else has ended. Those of a stopped Run wait for the roll-up, which may reopen it."""
        mine = {
            (run_id, batch_id): one
            for (run_id, batch_id), one in self._batches.items()
            if not is_stopped(self._runs[run_id])
            and ((run_id, batch_id) in self._carried or self._is_ours(one))
            and not (one.status.is_ended and not self._is_ours(one))
        }
        if not mine:
            return
        tallies = tallies_of(self._ledger, sorted({run_id for run_id, _ in mine}))
        for (run_id, _), execution in mine.items():
            more = run_id in more_may_come
            move_batch(execution, tallies.get(execution.id, ()), self._now, more_may_come=more)
        changed = [one for one in mine.values() if one.version != one.stored_version]
        self._ledger.update_batch_executions(changed, self._actor)
        self._ledger.insert_events([event for one in changed for event in one.pull_events()], self._now, self._actor)

    def _is_ours(self, execution: BatchExecution | ItemExecution) -> bool:
        return execution.updated_by in (self._actor, ROLL_UP)

    # --- item executions ---------------------------------------------------------------------------------------

    def _stored(self, found: Sequence[Of]) -> dict[Of, ItemExecution]:
        """The active execution of each item in each Run; of several, the latest."""
        executions = self._ledger.item_executions(list({of[0] for of in found}), list({of[1] for of in found}))
        return {(one.run_id, one.item_id): one for one in executions}

    def _move(
        self, of: Of, tracks: Sequence[Track], execution: ItemExecution | None, batch_id: UUID | None, writes: _Writes
    ) -> None:
        run = self._runs[of[0]]
        if execution is not None and execution.status.is_ended and not self._is_ours(execution):
            return
        if not tracks:
            if execution is not None and execution.created_by == self._actor:
                self._put_away(execution, writes)
            return
        story = story_of(tracks)
        if execution is not None and is_at(execution, story, run):
            correct(execution, story, self._now)
        elif execution is not None and can_reach(execution, story):
            walk(execution, story, self._now)
            correct(execution, story, self._now)
        elif (whole := self._batch_execution(of[0], batch_id, execution)) is not None:
            if execution is not None:
                self._put_away(execution, writes)
            self._begin(of, whole, story, execution, writes)
            return
        if execution is not None and execution.version != execution.stored_version:
            writes.changed.append(execution)
            writes.history += execution.pull_history()
            writes.events += execution.pull_events()

    def _batch_execution(self, run_id: UUID, batch_id: UUID | None, execution: ItemExecution | None) -> UUID | None:
        if batch_id is not None:
            return self._batches[run_id, batch_id].id
        return None if execution is None else execution.batch_execution_id

    def _put_away(self, execution: ItemExecution, writes: _Writes) -> None:
        """What has ended has no way back: it stays with its history, inactive."""
        if execution.deactivate(self._now, by=self._actor):
            writes.changed.append(execution)

    def _begin(
        self, of: Of, batch_execution_id: UUID, story: Story, before: ItemExecution | None, writes: _Writes
    ) -> None:
        execution = ItemExecution(
            run_id=of[0],
            batch_execution_id=batch_execution_id,
            item_id=of[1],
            max_attempts=story.max_attempts,
            created_at=self._now,
        )
        walk(execution, story, self._now)
        if story.tries[0].started_at is None:
            correct(execution, story, self._now)
        writes.new.append(execution)
        writes.history += execution.pull_history()
        writes.events += news_of(execution.pull_events(), before)

    def _write(self, writes: _Writes) -> None:
        ledger = self._ledger
        ledger.insert_item_executions(writes.new, self._actor)
        ledger.update_item_executions(writes.changed, self._actor)
        ledger.insert_history(writes.history, self._actor, self._now)
        ledger.insert_events(writes.events, self._now, self._actor)


def _row(claim: Claim) -> ItemStep:
    return ItemStep(
        claim.instance_id,
        claim.external_id,
        claim.run_id,
        claim.rule.name,
        claim.item_id,
        claim.max_attempts,
        claim.differs,
        claim.problem,
    )
