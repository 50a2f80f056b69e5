"""Deliveries that arrive together share a transaction. `hooks` comes here with each."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from uuid import UUID

from runlink.application.rows import DeliveryRow
from runlink.http.problems import RETRY_AFTER_S, Problem
from runlink.store import SqlStore, outage

log = logging.getLogger(__name__)

GATHER_S: Final = 0.002
"""How long a transaction waits for as many as there were before it: a commit costs as much as several of them."""
MAX_BATCH: Final = 500
"""Deliveries in one transaction."""
MAX_WAITING_BYTES: Final = 64 << 20
"""Of bodies that wait for the store; what comes beyond is asked to come again."""
STORE_S: Final = 10.0
"""How long a delivery waits for the store."""
_ACTOR: Final = "http"

_Waiting = tuple[DeliveryRow, "asyncio.Future[bool]"]


class GroupCommit:
    """Commits deliveries that arrive together in one transaction. One that comes alone is taken at once; where several
    were on their way at a time, as many are waited for, a moment at most.

    One thread writes, whatever the number of requests.
    """

    def __init__(self, store: SqlStore, store_s: float) -> None:
        self._store = store
        self._store_s = store_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runlink-hooks")
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._writing: asyncio.Future[set[UUID]] | None = None
        self._enough = 1
        self._gathering: asyncio.TimerHandle | None = None
        self._asked: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._ailing = False

    async def put(self, row: DeliveryRow) -> bool:
        """Whether it is new, once it is committed. Raises Problem (503) when the store cannot take it now."""
        if self._bytes + len(row.body) > MAX_WAITING_BYTES:
            raise _unavailable("too much waits for the store")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        self._bytes += len(row.body)
        self._limit(future)
        self._consider()
        return bool(await future)

    async def close(self) -> None:
        while self._waiting or self._writing is not None:
            if self._writing is None:
                self._begin()
            else:
                await asyncio.wait([self._writing])
        if self._expiry is not None:
            self._expiry.cancel()
        self._thread.shutdown(wait=False)

    def _limit(self, future: asyncio.Future[bool]) -> None:
        """Bounds the wait. One timer for all, who wait equally long: one for each costs more than the rest of `put`."""
        while self._asked and self._asked[0][1].done():
            self._asked.popleft()
        loop = asyncio.get_running_loop()
        self._asked.append((loop.time() + self._store_s, future))
        if self._expiry is None:
            self._expiry = loop.call_later(self._store_s, self._expire)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._asked and (self._asked[0][1].done() or self._asked[0][0] <= loop.time()):
            _, future = self._asked.popleft()
            if not future.done():
                future.set_exception(_unavailable("the store takes long, and may not keep this delivery"))
        self._expiry = loop.call_at(self._asked[0][0], self._expire) if self._asked else None

    def _consider(self) -> None:
        """Begins a transaction where none is under way: now where enough wait for it, else in a moment."""
        if self._writing is not None or not self._waiting:
            return
        if len(self._waiting) >= self._enough:
            self._begin()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._begin)

    def _begin(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        wanted = [(row, future) for row, future in batch if not future.done()]  # the others gave up waiting
        self._writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._write, [row for row, _ in wanted]
        )
        self._writing.add_done_callback(partial(self._written, batch, wanted))

    def _written(self, batch: list[_Waiting], wanted: list[_Waiting], writing: asyncio.Future[set[UUID]]) -> None:
        self._writing = None
        self._enough = len(wanted) + len(self._waiting)
        self._bytes -= sum(len(row.body) for row, _ in batch)
        error = writing.exception()
        if error is not None:
            self._refuse(wanted, error)
        else:
            self._ailing = False
            new = writing.result()
            for row, future in wanted:
                if not future.done():
                    future.set_result(row.id in new)
        self._consider()

    def _write(self, rows: list[DeliveryRow]) -> set[UUID]:
        # on this thread, with its own turn before any page: to hand it to the writer's costs as much as ten deliveries
        if not rows:
            return set()
        with self._store.unit_of_work(_ACTOR) as uow:
            return uow.deliveries.add(rows)

    def _refuse(self, wanted: list[_Waiting], error: BaseException) -> None:
        trouble = outage(error)
        if not self._ailing:
            self._ailing = True
            log.error("deliveries cannot be stored: %s", trouble or repr(error), exc_info=None if trouble else error)
        for _, future in wanted:
            if not future.done():
                future.set_exception(_unavailable("the store does not answer"))


def _unavailable(why: str) -> Problem:
    return Problem("store-unavailable", f"{why}; send it again", headers={"Retry-After": str(RETRY_AFTER_S)})
