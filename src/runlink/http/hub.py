"""The latest events, kept for all clients of the stream and encoded once, in the order of the outbox's commits.

Whoever commits in this process hands them over, and one reader follows the outbox for what is told elsewhere, or
arrives out of order. A client is a position: it takes what lies behind it from here, or, when it is further back, from
the store, page by page. So nothing is queued for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from runlink.http.endpoints import Threads
from runlink.http.service import Service
from runlink.store.event_log import Announcer, Committed, LoggedEvent

log = logging.getLogger(__name__)

KEPT: Final = 2000
"""How many of the latest events are kept in memory."""
PAGE: Final = 500
HEARTBEAT_S: Final = 15.0
NOTICE_S: Final = 1.0
"""How often it is looked at how feeds and deliveries are doing, while a client wants to know."""
LOOK_S: Final = 1.0
"""How often the outbox is looked at without a commit of this process: others write, too."""
NOTICES: Final = ("engines.changed", "deliveries.changed")
"""What is told without being an event: only those who ask for it hear of it, nothing keeps it, nobody misses it."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sent."""

    position: int
    type: str
    runs: tuple[str, ...]
    automations: tuple[str, ...]
    text: bytes


def encoded(name: str, data: Mapping[str, Any], position: int | None = None) -> bytes:
    """One server-sent event."""
    head = f"id: {position}\n" if position is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


def as_sent(event: LoggedEvent) -> Event:
    """An event of the outbox, encoded."""
    data = {
        "position": event.position,
        "type": event.type,
        "occurred_at": event.occurred_at,
        "runs": event.runs,
        "automations": event.automations,
        "data": event.data,
    }
    text = encoded(event.type, data, event.position)
    return Event(event.position, event.type, event.runs, event.automations, text)


class Hub:
    """The latest events. `clients` is how many follow, `watchers` how many of them want notices."""

    def __init__(self, service: Service, threads: Threads) -> None:
        self._service = service
        self._threads = threads
        self._announcer = Announcer(service.store.reading)
        self._events: list[Event] = []
        self._last = 0
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._closing = False
        self._noticed: dict[str, int] = dict.fromkeys(NOTICES, 0)
        self.clients = 0
        self.watchers = 0

    @property
    def is_closing(self) -> bool:
        """Whether the server stops."""
        return self._closing

    @property
    def noticed(self) -> Mapping[str, int]:
        """How often each of NOTICES was given so far."""
        return dict(self._noticed)

    @property
    def last(self) -> int:
        """The position read so far."""
        return self._last

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows the outbox within the block."""
        loop = asyncio.get_running_loop()
        self._last = await self._bounds_or_zero()
        forget = self._service.store.listen(partial(self._committed, loop), heard=lambda: self.clients > 0)
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look_around())]
        try:
            yield
        finally:
            forget()
            await self.close()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _bounds_or_zero(self) -> int:
        try:
            return (await self.bounds())[1]
        except Exception:  # noqa: BLE001 - the store is gone for now: it is read from the beginning once it is back
            return 0

    async def close(self) -> None:
        """Tells every client to go."""
        self._closing = True
        self._tell()

    async def bounds(self) -> tuple[int, int]:
        """The first and last position of the outbox; 0 and 0 when it is empty."""
        return await self._threads.read(self._bounds)

    def _bounds(self) -> tuple[int, int]:
        with self._service.store.reading() as uow:
            return uow.event_log.bounds()

    async def _follow(self) -> None:
        ailing = False
        while True:
            try:
                page = await self.read(self._last)
                ailing = False
            except Exception as error:  # noqa: BLE001 - the store is gone for now
                if not ailing:
                    log.warning("the stream cannot read the outbox: %s", error)
                ailing, page = True, []
            self._take(page)
            if len(page) < PAGE:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_S)
                self._wake.clear()

    def _committed(self, loop: asyncio.AbstractEventLoop, committed: Committed) -> None:
        """On the thread that committed: what it told is made ready here, so that nobody reads it first."""
        page: list[Event] = []
        if committed.about is not None:
            try:
                page = [as_sent(event) for event in self._announcer.events(committed.events, committed.about)]
            except Exception as error:  # noqa: BLE001 - the store is gone since the commit: the reader tells of it
                log.debug("events are left to the reader: %s", error)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._handed, page)

    def _handed(self, page: Sequence[Event]) -> None:
        if page and page[0].position == self._last + 1:
            self._take(page)
        else:  # something before it has not come yet, or was told elsewhere
            self._wake.set()

    def _take(self, page: Sequence[Event]) -> None:
        """Keeps what is new of a page and wakes whoever waits."""
        new = [event for event in page if event.position > self._last]
        if new:
            self._events.extend(new)
            del self._events[:-KEPT]
            self._last = new[-1].position
            self._tell()

    async def _look_around(self) -> None:
        """Gives a notice where what is no event has changed: it is compared in memory, and costs the store nothing."""
        seen: dict[str, object] = {}
        while True:
            await asyncio.sleep(NOTICE_S)
            if not self.watchers:
                continue
            try:
                present = await self._threads.read(self._service.notable)
            except Exception as error:  # noqa: BLE001 - pages ask by themselves now and then
                log.debug("no notices are given: %s", error)
                continue
            changed = [name for name, value in present.items() if seen.get(name) != value]
            seen = dict(present)
            for name in changed:
                self._noticed[name] += 1
            if changed:
                self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def read(self, position: int) -> list[Event]:
        """A page of the store behind a position."""
        return await self._threads.read(self._read, position)

    def _read(self, position: int) -> list[Event]:
        with self._service.store.reading() as uow:
            return [as_sent(event) for event in uow.event_log.after(position, PAGE)]

    async def after(self, position: int, noticed: Mapping[str, int] | None = None) -> Sequence[Event]:
        """Up to a page of what lies behind a position; none when nothing came within HEARTBEAT_S, or at the end, or
        when there are more notices than these."""
        if position >= self._last and not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    while self._last <= position and not self._closing and noticed in (None, self._noticed):
                        await self._news.wait()
        if position >= self._last:
            return ()
        if self._events and self._events[0].position <= position + 1:
            start = bisect_right(self._events, position, key=lambda event: event.position)
            return self._events[start : start + PAGE]
        return await self.read(position)
