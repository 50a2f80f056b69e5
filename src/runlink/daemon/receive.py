"""One engine's pushed deliveries, from where they were stored to the one write path.

The HTTP intake stores and answers; this takes in what waits, tries again what failed, and puts aside what never will
do. It has an adapter of its own, under the poll's request budget, so that no delivery waits for a poll.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from runlink.application import tracing
from runlink.application.errors import FenceLost
from runlink.application.ingest.ingest import Outcome
from runlink.application.ingest.receive import Received, received, take_in
from runlink.application.rows import DueDelivery
from runlink.daemon.backoff import react
from runlink.daemon.errors import AdapterMisbehaved, StoreTrouble, TurnGivenUp, words
from runlink.daemon.feed import LET_GO_S, EngineFeed
from runlink.daemon.health import AnyLogger, Health, log
from runlink.daemon.turn import Source, Turn, refetch
from runlink.hosting import HostedAdapter
from runlink.spi import AdapterError, Delivery, DeliveryRejected, Observation, Receipt, Receives, Refetches
from runlink.store.feed_health import FeedHealthRow

AT_ONCE = 50
"""Deliveries in one transaction."""
LOOK_S = 2.0
"""How soon the store is looked at again without being told: another process may have stored, or replayed."""
MAX_ATTEMPTS = 20
"""How often a delivery is tried while its engine is out of reach, over some two hours, before it is put aside."""
MAX_FAULTS = 5
"""The same where the adapter has a bug."""


class ReceiveFeed:
    """Takes in what is pushed beside `poll`. `run` is called for each batch, from one worker at a time."""

    kind = "receive"

    def __init__(self, poll: EngineFeed, *, now: Callable[[], datetime]) -> None:
        self.poll = poll
        self.engine = poll.engine
        self.health = Health(f"{poll.engine.name} (receive)")
        self._now = now
        self._lock = threading.Lock()
        self._turn: Turn | None = None
        self._hosted: HostedAdapter | None = None
        self._closed = False

    def run(self) -> float | None:
        """One batch; returns seconds until the next, None when there is to be none. Raises FenceLost, nothing else."""
        turn = Turn(deadline=time.monotonic() + self.poll.settings.poll_deadline_s)
        with self._lock:
            if self._closed:
                return None
            self._turn = turn
        try:
            return self._batch(turn)
        except FenceLost:
            raise
        except BaseException as error:  # noqa: BLE001 - plugin code, or the store is gone: what waits goes on waiting
            return self._failed(error)
        finally:
            with self._lock:
                if self._turn is turn:
                    self._turn = None

    # --- a batch -----------------------------------------------------------------------------------------------

    def _batch(self, turn: Turn) -> float | None:
        hosted = self._adapter()
        source = self.poll.source(hosted, self.health)
        due = source.read(lambda uow: uow.deliveries.due(self.engine.id, self._now(), AT_ONCE))
        self.poll.push.waiting = bool(due)
        if due:
            hosted.guard.begin_turn(turn.deadline)
            began = time.monotonic()
            with tracing.span("receive", {"runlink.engine": self.engine.name, "runlink.deliveries": len(due)}):
                self._take(source, turn, due)
            self.health.requests = hosted.guard.requests
            self.health.last_duration_s = time.monotonic() - began
        self._measure(bool(due))
        if len(due) == AT_ONCE:
            return 0.0
        next_at = source.read(lambda uow: uow.deliveries.next_due_at(self.engine.id))
        self.poll.push.waiting = next_at is not None and next_at <= self._now()
        wait_s = LOOK_S if next_at is None else (next_at - self._now()).total_seconds()
        return max(0.0, min(LOOK_S, wait_s))

    def _take(self, source: Source, turn: Turn, due: Sequence[DueDelivery]) -> None:
        told: list[Received] = []
        attempts = {one.row.id: one.attempts for one in due}
        for one in due:
            turn.check()
            try:
                told.append(self._understood(source, one))
            except Exception as error:  # noqa: BLE001 - plugin code: that delivery waits or is dead, the others go on
                self._put_back(source, turn, one.row.id, one.attempts, error)
        for batch in self._stored(source, turn, told, attempts):
            self._ask(source, turn, batch, attempts)

    def _understood(self, source: Source, due: DueDelivery) -> Received:
        row, adapter = due.row, source.adapter
        if not isinstance(adapter, Receives):
            raise AdapterMisbehaved(f"the adapter {adapter.name!r} receives nothing")
        delivery = Delivery(
            id=row.delivery_id or str(row.id),
            received_at=row.received_at,
            headers=tuple(row.headers),
            body=row.body,
        )
        try:
            receipt = _settled(adapter.receive(delivery))
        except RecursionError:  # whatever reads it, for ever: no use to try it again
            raise DeliveryRejected("it is nested too deep to be read") from None
        wanted = tuple(o for o in receipt.observations if source.settings.wants(o.workflow))
        receipt = Receipt(observations=wanted, refetch=receipt.refetch, unreadable=receipt.unreadable)
        return received(row.id, row.received_at, receipt, can_refetch=isinstance(adapter, Refetches))

    def _stored(
        self, source: Source, turn: Turn, told: Sequence[Received], attempts: dict[UUID, int]
    ) -> list[Received]:
        """Stores what is believed, together; where that fails, each by itself. Gives those that were stored."""
        if not told:
            return []
        try:
            self._told(self._store(source, turn, told))
            self.health.fates["done"] += sum(not one.refetch for one in told)
        except (FenceLost, StoreTrouble, TurnGivenUp):
            raise
        except Exception as error:  # noqa: BLE001 - one of them cannot be stored; which one, is found out now
            if len(told) == 1:
                self._put_back(source, turn, told[0].id, attempts[told[0].id], error)
                return []
            return [kept for one in told for kept in self._stored(source, turn, [one], attempts)]
        return list(told)

    def _store(self, source: Source, turn: Turn, told: Sequence[Received]) -> Outcome:
        limit = source.settings.max_metadata_bytes * 2
        return source.write(
            turn,
            lambda uow: take_in(
                uow, source.rules, source.engine, told, self._now(), fence=source.fence, max_bytes=limit
            ),
        )

    def _ask(self, source: Source, turn: Turn, one: Received, attempts: dict[UUID, int]) -> None:
        """Has the engine say what a delivery may not."""
        if not one.refetch or not isinstance(source.adapter, Refetches):
            return
        before = turn.total.moved
        try:
            refetch(source, turn, source.adapter, one.refetch)
        except (FenceLost, StoreTrouble, TurnGivenUp):
            raise
        except Exception as error:  # noqa: BLE001 - plugin code
            self._put_back(source, turn, one.id, attempts[one.id], error)
            return
        source.write(turn, lambda uow: uow.deliveries.done([one.id], self._now()))
        self.health.fates["done"] += 1
        self.poll.push.delivered(turn.total.moved - before)

    def _told(self, outcome: Outcome) -> None:
        self.poll.push.delivered(outcome.moved)
        self.health.took_in(outcome)
        if outcome.new or outcome.changed:
            self.health.last_news_at = self._now()

    def _put_back(self, source: Source, turn: Turn, delivery_id: UUID, attempts: int, error: Exception) -> None:
        """A delivery that was not taken in: kept with the reason, tried again later, or dead."""
        is_rejected = isinstance(error, DeliveryRejected)
        is_bug = not isinstance(error, AdapterError)
        text = self._text(error)
        if is_bug and attempts == 0:
            self._logger().error("%s: a delivery (%s): %s", self.engine.name, delivery_id, text, exc_info=error)
        most = MAX_FAULTS if is_bug else MAX_ATTEMPTS
        due_at = None
        if not is_rejected and attempts + 1 < most:
            wait_s = react(error, attempts + 1, random.random()).wait_s or 300.0  # noqa: S311 - spreading, not secrecy
            due_at = self._now() + timedelta(seconds=min(wait_s, 600.0))
        elif not is_rejected:
            text = f"{text} (given up after {attempts + 1} attempts)"
        source.write(turn, lambda uow: uow.deliveries.failed(delivery_id, text, self._now(), due_at))
        self.health.fates["dead" if due_at is None else "retried"] += 1

    # --- how it is doing ---------------------------------------------------------------------------------------

    def _measure(self, some: bool) -> None:
        push, now = self.poll.push, self._now()
        if some or self.health.last_success_at is not None:
            self.health.succeeded(
                now if some else self.health.last_success_at or now, self.health.last_duration_s or 0.0
            )
        state = "ok" if push.is_healthy else "missing" if push.missed else "new"
        if self.health.state != state:
            self.health.state, self.health.since = state, now
        self.health.told, self.health.missed = push.told, push.missed

    def _failed(self, error: BaseException) -> float | None:
        if self._closed:
            return None
        reaction = react(error, self.health.failures + 1, random.random())  # noqa: S311 - spreading, not secrecy
        bug = error if reaction.bug else None
        self.health.failed(reaction.state, self._text(error), self._now(), bug, self._logger())
        if reaction.renew:
            self._let_go()
        return LOOK_S if reaction.wait_s is None else min(reaction.wait_s, 60.0)

    def _text(self, error: BaseException) -> str:
        text = words(error)
        if not isinstance(error, AdapterError | StoreTrouble | TurnGivenUp | AdapterMisbehaved):
            text = f"{type(error).__name__}: {text}" if text != type(error).__name__ else text
        hosted = self._hosted
        return (hosted.redact(text) if hosted is not None else text)[:1000]

    def _logger(self) -> AnyLogger:
        return self._hosted.context.log if self._hosted is not None else log

    # --- its adapter -------------------------------------------------------------------------------------------

    def _adapter(self) -> HostedAdapter:
        if self._hosted is not None and self._hosted.is_lost:
            self.health.restarts += 1
            self._let_go()
        if self._hosted is None:
            hosted = self.poll.another()
            with self._lock:
                if not self._closed:
                    self._hosted = hosted
            if self._hosted is None:
                hosted.close()
                raise TurnGivenUp("the feed was closed")
        return self._hosted

    def _let_go(self) -> None:
        """Closes the adapter on a thread of its own: `close` is plugin code and may hang."""
        with self._lock:
            hosted, self._hosted = self._hosted, None
        if hosted is not None:
            threading.Thread(target=hosted.close, name=f"runlink-close-{self.engine.name}", daemon=True).start()

    def is_overdue(self) -> bool:
        """Whether the running batch is to be abandoned. One that is past its deadline first loses its connections."""
        turn = self._turn
        if turn is None or time.monotonic() < turn.deadline:
            return False
        if turn.interrupted_at is None:
            turn.interrupted_at = time.monotonic()
            turn.given_up.set()
            self._let_go()
        return time.monotonic() > turn.interrupted_at + LET_GO_S

    def abandon(self) -> float | None:
        """Leaves the running batch behind: its deliveries wait, and are tried again with a new adapter."""
        with self._lock:
            turn, self._turn = self._turn, None
        if turn is None:
            return None
        text = f"a delivery hung beyond poll_deadline_s ({self.poll.settings.poll_deadline_s:g} s) and was abandoned"
        return self._failed(TurnGivenUp(text))

    def close(self) -> None:
        """No more batches; the running one loses its connections. May be repeated."""
        with self._lock:
            self._closed = True
            if self._turn is not None:
                self._turn.given_up.set()
        self._let_go()

    def health_row(self) -> FeedHealthRow:
        """The health as it is stored."""
        hosted = self._hosted
        return self.health.row(self.engine.id, self.kind, hosted.process if hosted is not None else None)


def _settled(receipt: object) -> Receipt:
    """The receipt with nothing lazy in it."""
    if not isinstance(receipt, Receipt):
        raise AdapterMisbehaved(f"receive() gave {type(receipt).__name__} where a Receipt belongs")
    settled = Receipt(
        observations=tuple(receipt.observations),
        refetch=tuple(receipt.refetch),
        unreadable=tuple(receipt.unreadable),
    )
    if not all(o.__class__ is Observation for o in settled.observations):
        raise AdapterMisbehaved("its receipt holds something else than Observations")
    if not all(isinstance(name, str) for name in settled.refetch):
        raise AdapterMisbehaved("its receipt's `refetch` holds something else than external ids, which are text")
    return settled
