"""The one writer of a SQLite file: a thread, a queue, and many jobs in one commit.

SQLite lets one transaction write at a time and each commit waits for the disk; jobs that wait together share both.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

Job = Callable[[sa.Connection], Any]


class Turnstile:
    """Lets one in at a time, the urgent before the rest, otherwise in order of arrival.

    A thread that holds its turn and asks for another would wait for itself: that is refused with RuntimeError.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: list[tuple[int, int]] = []
        self._arrivals = 0
        self._holder: int | None = None

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Waits for the turn and holds it."""
        self.refuse_holder()
        with self._condition:
            self._arrivals += 1
            ticket = (0 if urgent else 1, self._arrivals)
            heapq.heappush(self._queue, ticket)
            try:
                self._condition.wait_for(lambda: self._holder is None and self._queue[0] == ticket)
            finally:  # also when a signal ends the wait
                self._queue.remove(ticket)
                heapq.heapify(self._queue)
                self._condition.notify_all()
            self._holder = threading.get_ident()
        try:
            yield
        finally:
            with self._condition:
                self._holder = None
                self._condition.notify_all()

    @property
    def is_urgent(self) -> bool:
        """Whether somebody urgent waits."""
        with self._condition:
            return bool(self._queue) and self._queue[0][0] == 0

    def refuse_holder(self) -> None:
        """Raises RuntimeError when this thread holds the turn."""
        if self._holder == threading.get_ident():
            raise RuntimeError("a unit of work is open on this thread already; do this within it, or after it")


class GroupWriter:
    """Runs jobs in one thread, urgent ones first; jobs that wait together are committed together.

    A job that fails is rolled back to where it began and fails alone. A transaction takes further jobs for at most
    `window_s`, and none while somebody urgent waits for a turn; a result is given only after its commit.
    """

    def __init__(self, engine: sa.Engine, turnstile: Turnstile, *, window_s: float = 0.1) -> None:
        self._engine = engine
        self._turnstile = turnstile
        self._window_s = window_s
        self._condition = threading.Condition()
        self._queue: list[tuple[int, int, Job, Future[Any]]] = []
        self._arrivals = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="runlink-writer", daemon=True)
        self._thread.start()

    def run(self, job: Job, *, urgent: bool = False) -> Any:
        """The job's result, once it is committed; its exception, once it is rolled back."""
        self._turnstile.refuse_holder()
        future: Future[Any] = Future()
        with self._condition:
            if self._closed:
                raise RuntimeError("the store is closed")
            self._arrivals += 1
            heapq.heappush(self._queue, (0 if urgent else 1, self._arrivals, job, future))
            self._condition.notify()
        return future.result()

    def close(self) -> None:
        """Finishes what waits and ends the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _next(self, *, wait: bool) -> tuple[Job, Future[Any]] | None:
        with self._condition:
            if wait:
                self._condition.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return None
            _, _, job, future = heapq.heappop(self._queue)
            return job, future

    def _work(self) -> None:
        while (first := self._next(wait=True)) is not None:
            done: list[tuple[Future[Any], Any, BaseException | None]] = []
            failure: BaseException | None = None
            try:
                with self._turnstile.turn(urgent=False), self._engine.begin() as connection:
                    self._group(connection, first, done)
            except BaseException as error:  # noqa: BLE001 - handed to everyone who waits for this commit
                failure = error
            for future, result, refusal in done:
                reason = refusal or failure
                if reason is not None:
                    future.set_exception(reason)
                else:
                    future.set_result(result)
            if not done:
                first[1].set_exception(failure or RuntimeError("the writer stopped"))

    def _group(
        self,
        connection: sa.Connection,
        first: tuple[Job, Future[Any]],
        done: list[tuple[Future[Any], Any, BaseException | None]],
    ) -> None:
        until = time.monotonic() + self._window_s
        entry: tuple[Job, Future[Any]] | None = first
        while entry is not None:
            job, future = entry
            try:
                with connection.begin_nested():
                    result = job(connection)
                done.append((future, result, None))
            except BaseException as error:  # noqa: BLE001 - belongs to whoever asked for this job
                done.append((future, None, error))
            is_time = time.monotonic() < until and not self._turnstile.is_urgent
            entry = self._next(wait=False) if is_time else None
