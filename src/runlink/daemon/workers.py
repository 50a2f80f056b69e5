"""Threads that run turns, as many as are needed up to a limit; one whose turn hangs can be abandoned."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Task = Callable[[], None]

SLOW_S = 5.0
"""A task that has run for so long mostly waits (for an engine that does not answer): it makes room for another."""
MOST = 8
"""How many times `limit` there may be threads at most, with those that make room."""
IDLE_S = 30.0
"""An idle thread ends after this."""


class Workers:
    """Runs tasks, first come first served, on at most `limit` threads, beside those that are slow.

    An abandoned thread no longer counts: another takes its place. It ends when its task returns, if ever.
    """

    def __init__(self, limit: int, *, name: str = "runlink-worker", slow_s: float = SLOW_S) -> None:
        self._limit = limit
        self._name = name
        self._slow_s = slow_s
        self._condition = threading.Condition()
        self._tasks: deque[tuple[object, Task]] = deque()
        self._running: dict[object, float] = {}
        self._threads = 0
        self._idle = 0
        self._started = 0
        self._closed = False
        self.abandoned = 0

    def submit(self, key: object, task: Task) -> None:
        """Runs a task some time; `key` names it for `abandon`."""
        with self._condition:
            if self._closed:
                return
            self._tasks.append((key, task))
            self._grow()
            self._condition.notify()

    def grow(self) -> None:
        """Starts threads where tasks wait and there is room. Call it now and then: tasks become slow by themselves."""
        with self._condition:
            self._grow()

    def abandon(self, key: object) -> bool:
        """Stops counting the thread that runs this task; False when it runs no more."""
        with self._condition:
            if self._running.pop(key, None) is None:
                return False
            self._threads -= 1
            self.abandoned += 1
            self._grow()
            return True

    def close(self, wait_s: float) -> bool:
        """Takes no more tasks, and waits for the running ones; False when some are still running after `wait_s`."""
        with self._condition:
            self._closed = True
            self._tasks.clear()
            self._condition.notify_all()
            return self._condition.wait_for(lambda: not self._running, wait_s)

    def _grow(self) -> None:
        waiting = len(self._tasks) - self._idle
        if waiting <= 0:
            return
        slow_since = time.monotonic() - self._slow_s
        slow = sum(1 for began in self._running.values() if began < slow_since)
        most = min(self._limit + slow, self._limit * MOST)
        for _ in range(min(waiting, most - self._threads)):
            self._threads += 1
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._condition:
                taken = self._take()
                if taken is None:
                    self._threads -= 1
                    return
                key, task = taken
                mine = self._running[key] = time.monotonic()
            try:
                task()
            except BaseException:  # a task answers for itself; this is a bug of ours, and must not end the thread
                log.exception("a task failed")
            with self._condition:
                if self._running.get(key) is not mine:
                    return  # abandoned meanwhile: somebody else has this place
                del self._running[key]
                self._condition.notify_all()

    def _take(self) -> tuple[object, Task] | None:
        self._idle += 1
        self._condition.wait_for(lambda: self._tasks or self._closed, timeout=IDLE_S)
        self._idle -= 1
        return self._tasks.popleft() if self._tasks else None
