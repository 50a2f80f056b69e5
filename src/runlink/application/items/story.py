"""The story that an item's attempts tell, and how an ItemExecution or a BatchExecution is brought to its end of it.

Pure functions of the stored steps and the entity: told late, again or in another order, steps come to the same.
docs/reference/items.md shows the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from runlink.application.items.rows import Tallied
from runlink.application.rows import StepRow
from runlink.domain import RUN_END_EFFECT, BatchExecution, DomainEvent, ExecutionStatus, ItemExecution, Run
from runlink.domain.events import ItemExecutionFailed

_S = ExecutionStatus
MAX_UNSEEN: Final = 100
_OPEN: Final = (_S.PENDING, _S.PROCESSING, _S.RETRYING)


class Try(NamedTuple):
    """One attempt as it counts for an item; `final` as the engine says it, None where it does not."""

    status: ExecutionStatus
    final: bool | None
    started_at: datetime | None
    finished_at: datetime | None
    message: str | None
    outputs: Any


@dataclass(slots=True)
class Track:
    """The attempts of one step of one instance. Tracks of an item are put in order by `place`.

    is_open       whether the instance has not ended
    max_attempts  of the engine's policy, where the rule knows it
    """

    place: tuple[Any, ...]
    name: str
    is_open: bool
    rows: Sequence[StepRow]
    max_attempts: int | None = None

    @property
    def started_at(self) -> datetime | None:
        """When its first attempt began."""
        return self.rows[0].started_at

    def tries(self) -> list[Try]:
        """Its attempts by number. Those that nobody saw failed at a time unknown, or there would be no later ones; of
        more than MAX_UNSEEN in a row that many are taken to have been."""
        found: list[Try] = []
        before = 0
        for row in self.rows:
            missing = Try(_S.FAILED, False, row.started_at, row.started_at, None, None)
            found.extend([missing] * min(row.attempt - 1 - before, MAX_UNSEEN))
            before = row.attempt
            outputs = None if row.outputs is None else msgspec.json.decode(row.outputs)
            message = row.message or (row.native_status if row.status is _S.FAILED else None)
            found.append(Try(row.status, row.final, row.started_at, row.finished_at, message, outputs))
        return found


@dataclass(frozen=True, slots=True)
class Story:
    """What an item's attempts come to.

    tries         those that count, in order; the last is under way, has ended, or is yet to begin
    count         how many of them were begun
    max_attempts  how many there may be, None where nobody knows
    """

    status: ExecutionStatus
    tries: Sequence[Try]
    count: int
    max_attempts: int | None

    @property
    def error_message(self) -> str | None:
        """Of the last attempt that failed, its message."""
        ended = self.tries[: self.count]
        is_last_failed = self.status in (_S.FAILED, _S.RETRYING) or self.count < len(self.tries)
        failed = ended if is_last_failed else ended[:-1]
        return failed[-1].message if failed else None

    @property
    def result_payload(self) -> Any:
        """What a completed item brought forth."""
        return self.tries[-1].outputs if self.status is _S.COMPLETED else None


def beside(tracks: Sequence[Track]) -> list[int]:
    """Of the tracks of one item in one instance, in order: those that are no later attempt of the first.

    A step of the same name that began when the earlier had ended is a later attempt. Anything else is another step
    that claims to be the same item.
    """
    others = []
    last = tracks[0]
    for place, track in enumerate(tracks[1:], start=1):
        ended = last.rows[-1].finished_at if last.rows[-1].status not in _OPEN else None
        began = track.started_at
        if track.name == last.name and ended is not None and began is not None and began >= ended:
            last = track
        else:
            others.append(place)
    return others


def story_of(tracks: Sequence[Track]) -> Story:
    """The story of tracks in order: all attempts one after another.

    What came before a success or a cancellation that was run again is over: the attempts behind it count anew.
    """
    tries = tracks[0].tries() if len(tracks) == 1 else [one for track in tracks for one in track.tries()]
    over = [place for place, one in enumerate(tries[:-1]) if one.status in (_S.COMPLETED, _S.CANCELLED)]
    if over:
        tries = tries[over[-1] + 1 :]
    tries = [one for one in tries[:-1] if one.status is not _S.PENDING] + tries[-1:]  # what never began is no attempt
    last, policy = tries[-1], tracks[-1].max_attempts
    count = len(tries)
    if last.status is _S.PENDING or (last.status is _S.CANCELLED and last.started_at is None):
        count -= 1
    if last.status is _S.PENDING:
        status = _S.RETRYING if count else _S.PENDING
    elif last.status is _S.FAILED and _will_try_again(last, count, policy, tracks[-1].is_open):
        status = _S.RETRYING
    else:
        status = last.status
    return Story(status, tries, count, _allowed(status, count, policy))


def _will_try_again(last: Try, count: int, policy: int | None, is_open: bool) -> bool:
    if last.final is not None:
        return not last.final and is_open
    return is_open and policy is not None and count < policy


def _allowed(status: ExecutionStatus, count: int, policy: int | None) -> int | None:
    least = count + 1 if status is _S.RETRYING else count
    if policy is not None:
        return max(policy, least)
    if status.is_ended:
        return least or None
    return least if least > 1 else None


# --- the entity ------------------------------------------------------------------------------------------------------


def is_at(execution: ItemExecution, story: Story, run: Run) -> bool:
    """Whether the execution has the story's status, be it by the end of the Run: what RUN_END_EFFECT made of it."""
    settled = RUN_END_EFFECT.get((run.status, story.status))
    same = execution.status is story.status or (settled is not None and execution.status is settled)
    return same and execution.attempt_count == story.count


def can_reach(execution: ItemExecution, story: Story) -> bool:
    """Whether a legal way leads from where the execution is to the end of the story."""
    made = execution.attempt_count
    if execution.status.is_ended or made > story.count:
        return False
    if made < story.count or story.status is execution.status:
        return True
    if execution.status is _S.RETRYING:
        return story.status in (_S.FAILED, _S.CANCELLED)
    return story.status is not _S.PENDING


def walk(execution: ItemExecution, story: Story, now: datetime) -> None:
    """Brings an open execution to the end of the story through its own transitions, at the engine's times."""
    if story.max_attempts is not None and execution.max_attempts != story.max_attempts:
        execution.expect_attempts(story.max_attempts, at=now)
    made = execution.attempt_count
    for number in range(max(made, 1), story.count + 1):
        one = story.tries[number - 1]
        if number > made:
            execution.start(at=one.started_at or one.finished_at or now)
        if (number < story.count or story.status is _S.RETRYING) and execution.status is _S.PROCESSING:
            execution.fail(one.message, at=one.finished_at or _next_start(story, number) or now)
    if execution.status is story.status:
        return
    end = story.tries[-1]
    at = end.finished_at or end.started_at or now
    if story.status is _S.COMPLETED:
        execution.complete(end.outputs, at=at)
    elif story.status is _S.FAILED:
        execution.give_up(end.message, at=at)
    elif story.status is _S.CANCELLED:
        execution.cancel(at=at)


def _next_start(story: Story, number: int) -> datetime | None:
    return story.tries[number].started_at if number < len(story.tries) else None


def correct(execution: ItemExecution, story: Story, now: datetime) -> None:
    """Details of an execution that is where the story ends: its times, its message, its result.

    What the end of the Run settled keeps the time and the message of that.
    """
    started_at = next((one.started_at for one in story.tries[: story.count] if one.started_at), None)
    ended = story.status.is_ended
    if story.max_attempts is not None:
        execution.expect_attempts(story.max_attempts, at=now)
    if execution.status is not story.status:
        execution.restate(started_at=started_at or execution.started_at, at=now)
        return
    execution.restate(
        result_payload=story.result_payload,
        error_message=story.error_message,
        started_at=started_at or execution.started_at,
        finished_at=(story.tries[-1].finished_at if ended else None) or execution.finished_at,
        at=now,
    )


def news_of(events: Iterable[DomainEvent], before: ItemExecution | None) -> list[DomainEvent]:
    """The events without those of attempts that a put-away execution of the item had told already."""
    if before is None:
        return list(events)
    told = before.attempt_count if before.status in (_S.FAILED, _S.RETRYING) else before.attempt_count - 1
    return [event for event in events if not isinstance(event, ItemExecutionFailed) or event.attempt > told]


# --- the batch -------------------------------------------------------------------------------------------------------


def batch_status(statuses: Iterable[ExecutionStatus], *, more_may_come: bool) -> ExecutionStatus:
    """The table: a batch execution's status from those of its item executions."""
    found = set(statuses)
    if found <= {_S.PENDING}:
        return _S.PENDING
    if more_may_come or found & set(_OPEN):
        return _S.PROCESSING
    for status in (_S.FAILED, _S.CANCELLED):
        if status in found:
            return status
    return _S.COMPLETED


def move_batch(
    execution: BatchExecution, tallies: Sequence[Tallied], now: datetime, *, more_may_come: bool = False
) -> None:
    """Brings a batch execution to what the table says, through its own transitions."""
    target = batch_status((tally.status for tally in tallies), more_may_come=more_may_come)
    if target is _S.PENDING and tallies and execution.status.is_ended:
        target = _S.PROCESSING  # all were begun anew: there is no other way back
    started_at = min((t.started_at for t in tallies if t.started_at is not None), default=None)
    finished_at = max((t.finished_at for t in tallies if t.finished_at is not None), default=None)
    if execution.status is target:
        execution.restate(started_at, finished_at if target.is_ended else None, at=now)
    if execution.status is target or target is _S.PENDING:
        return
    if execution.status.is_ended:
        execution.reopen(execution.attempt + 1, at=now)
    elif execution.status is _S.PENDING and (target is not _S.CANCELLED or started_at is not None):
        execution.start(at=started_at or now)
    at = finished_at or now
    if target is _S.COMPLETED:
        execution.complete(at=at)
    elif target is _S.FAILED:
        execution.fail(at=at)
    elif target is _S.CANCELLED:
        execution.cancel(at=at)
    execution.restate(started_at, at=now)
