"""Hands the outbox's events to plugins that implement `runlink_event`: at least once, in order.

The daemon comes here with each commit that tells of something, and once a second: `deliver` for each subscriber on a
thread of its own, so that one that hangs keeps nobody waiting. `runlink sync` calls `run`, which does all of it in
turn. Both call `enrol` before any feed has its first turn, so that a subscriber that is new misses nothing of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from runlink.application import tracing
from runlink.daemon.errors import words
from runlink.store import SqlStore, SqlUnitOfWork

log = logging.getLogger(__name__)

Subscriber = Callable[[Mapping[str, Any]], None]
ACTOR = "daemon"
NOTE_S = 1.0
"""How long events are delivered before the place is noted; a crash delivers again what was not noted."""


class Relay:
    """The one relay of a store: gives each subscriber what it has not had.

    fence   the daemon's fencing token; None outside a lease
    """

    def __init__(
        self,
        store: SqlStore,
        subscribers: Sequence[tuple[str, Subscriber]],
        now: Callable[[], datetime],
        fence: int | None = None,
    ) -> None:
        self._store = store
        self._subscribers = dict(subscribers)
        self._now = now
        self._fence = fence
        self._failing: set[str] = set()
        self._stopping = threading.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """The subscribers."""
        return tuple(self._subscribers)

    def run(self) -> int:
        """One pass; returns how many events were delivered."""
        self.enrol()
        return sum(self.deliver(name) for name in self._subscribers)

    def stop(self) -> None:
        """Ends `deliver` before the next event."""
        self._stopping.set()

    def enrol(self) -> None:
        """Gives new subscribers their place: behind what is committed. Raises FenceLost, as all of this class."""
        with self._store.reading() as uow:
            new = [name for name in self._subscribers if not uow.outbox.is_enrolled(name)]
        for name in new:
            self._write(partial(_enrol, name))

    def deliver(self, name: str) -> int:
        """Hands one subscriber what waits for it, until there is nothing, or it fails; returns how many events."""
        delivered = 0
        while not self._stopping.is_set():
            with self._store.reading() as uow:
                position = uow.outbox.position(name, self._now())
                events = uow.outbox.after(position) if position is not None else []
            if position is None or not events:
                break
            reached, error = self._hand(name, events)
            delivered += sum(1 for event in events if event["position"] <= reached)
            self._write(partial(self._note, name, max(reached, position), error))
            if error is not None:
                break
        return delivered

    def _hand(self, name: str, events: Sequence[Mapping[str, Any]]) -> tuple[int, str | None]:
        """Hands over events; gives the position reached, 0 for none, and why no more were."""
        reached, until = 0, time.monotonic() + NOTE_S
        for event in events:
            try:
                with tracing.span("deliver", {"runlink.subscriber": name, "runlink.event": event["type"]}):
                    self._subscribers[name](event)
            except BaseException as problem:  # plugin code
                if isinstance(problem, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                    raise
                return reached, self._told(name, event, f"{type(problem).__name__}: {words(problem)}")
            reached = event["position"]
            if time.monotonic() > until or self._stopping.is_set():
                break
        if name in self._failing:
            self._failing.discard(name)
            log.info("subscriber %s takes events again", name)
        return reached, None

    def _told(self, name: str, event: Mapping[str, Any], error: str) -> str:
        if name not in self._failing:
            self._failing.add(name)
            log.warning("subscriber %s failed on event %s: %s; it is tried again", name, event["id"], error)
        return error

    def _note(self, name: str, reached: int, error: str | None, uow: SqlUnitOfWork) -> None:
        if error is None:
            uow.outbox.delivered(name, reached)
        else:
            uow.outbox.failed(name, reached, error, self._now())

    def _write(self, work: Callable[[SqlUnitOfWork], Any]) -> Any:
        def fenced(uow: SqlUnitOfWork) -> Any:
            if self._fence is not None:
                uow.ledger.check_fence(self._fence)
            return work(uow)

        return self._store.write(fenced, actor=ACTOR)


def _enrol(name: str, uow: SqlUnitOfWork) -> None:
    uow.outbox.enrol(name)
