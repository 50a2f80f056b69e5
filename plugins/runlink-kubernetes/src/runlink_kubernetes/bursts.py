"""Between the threads that read watches and the one that takes: the newest state of each attempt of each object.

`reflector` comes here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple

from runlink.spi import Unreadable
from runlink_kubernetes.objects import Kind, T

BURST_CHANGES: Final = 300
BURST_BYTES: Final = 4 << 20
LINGER_S: Final = 0.05
"""How long a burst waits for more, once something is there."""


class Change(NamedTuple, Generic[T]):
    """The state of an object, or its last state before it was deleted."""

    item: T
    deleted: bool


@dataclass
class Burst(Generic[T]):
    """What came since the last one; nothing but versions is a heartbeat."""

    changes: list[Change[T]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)


class Stopped(Exception):
    """The watch is over; nobody takes what is put."""


class Coalescing(Generic[T]):
    """Between the threads that read and the one that takes: the newest state of each attempt of each object.

    A retried object is one more attempt, and the end of the former stays. Full, it makes the readers wait, and so the
    server. Safe to share between threads.
    """

    def __init__(self, kind: Kind[T], *, ended: set[int] | None = None, linger_s: float = LINGER_S) -> None:
        """`ended`: hashes of the uids whose last state that was told is an end; kept up to date here."""
        self._kind = kind
        self._ended = set() if ended is None else ended
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._burst: Burst[T] = Burst()
        self._states: dict[str, list[Change[T]]] = {}
        self._count = self._bytes = 0
        self._failure: Exception | None = None
        self._stopped = False

    def put(self, scope: str, version: str, change: Change[T] | None, size: int) -> None:
        """One event, a bookmark without a change. Waits while there is no room."""
        with self._changed:
            while self._full() and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise Stopped
            if change is not None:
                self._add(change)
                self._bytes += size
            if version:
                self._burst.versions[scope] = version
            self._changed.notify_all()

    def set_aside(self, item: Unreadable) -> None:
        """A line that made no sense."""
        with self._changed:
            self._burst.unreadable.append(item)
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """The first failure ends the watch, once everything before it was taken."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _add(self, change: Change[T]) -> None:
        states = self._states.setdefault(change.item.metadata.uid, [])
        if states and not self._is_one_more(states, change.item):
            states[-1] = change
            return
        states.append(change)
        self._count += 1

    def _is_one_more(self, states: list[Change[T]], now: T) -> bool:
        """After an end the next attempt is kept beside it: its beginning (or two ends alike would look like one), and
        its newest state."""
        kind, before = self._kind, states[-1].item
        if kind.ended(before):
            return not (kind.ended(now) and kind.native(before) == kind.native(now))
        if not kind.ended(now):
            return False
        return kind.ended(states[-2].item) if len(states) > 1 else hash(now.metadata.uid) in self._ended

    def _full(self) -> bool:
        return self._count >= BURST_CHANGES or self._bytes >= BURST_BYTES

    def take(self) -> Burst[T]:
        """All there is; waits for something. Raises what failed, after everything before it was taken."""
        with self._changed:
            self._changed.wait_for(self._something)
            if self._failure is None and self._states and not self._full():
                self._changed.wait_for(lambda: self._full() or self._failure is not None, self._linger_s)
            burst = self._burst
            if not (self._states or burst.versions or burst.unreadable) and self._failure is not None:
                raise self._failure
            burst.changes = [change for states in self._states.values() for change in states]
            for states in self._states.values():
                self._remember(states[-1])
            self._burst, self._states, self._count, self._bytes = Burst(), {}, 0, 0
            self._changed.notify_all()
            return burst

    def _remember(self, last: Change[T]) -> None:
        if self._kind.ended(last.item) and not last.deleted:
            self._ended.add(hash(last.item.metadata.uid))
        else:
            self._ended.discard(hash(last.item.metadata.uid))

    def _something(self) -> bool:
        return bool(self._states or self._burst.versions or self._burst.unreadable or self._failure)

    def stop(self) -> None:
        """Lets waiting readers go."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
