"""The live stream: `GET /api/v1/stream`, server-sent events from the outbox, in the order of its commits.

The latest events are kept for all clients, encoded once: whoever commits in this process hands them over, and one
reader follows the outbox for what is told elsewhere, or arrives out of order. A client is a position: it takes what
lies behind it from there, or, when it is further back, from the store, page by page. So nothing is queued for anybody,
and what a client costs is one buffer of its socket.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runlink.http import schemas
from runlink.http.api.shapes import ROOT, filter_by
from runlink.http.endpoints import Endpoints, Threads
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.http.problems import Problem, problem_of
from runlink.http.service import Service
from runlink.store import SqlUnitOfWork
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
SEND_S: Final = 20.0
"""How long a client may take to accept what is sent to it."""
MAX_BEHIND: Final = 20_000
"""How many events a client may fall behind while it is connected; what it missed before does not count."""
NOTICES: Final = ("engines.changed", "deliveries.changed")
"""What is told without being an event: only those who ask for it hear of it, nothing keeps it, nobody misses it."""
PART_BYTES: Final = 32 * 1024
"""How much is handed to a client's connection at a time."""
MAX_CLIENTS: Final = 500


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sent."""

    position: int
    type: str
    runs: tuple[str, ...]
    automations: tuple[str, ...]
    text: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asked for."""

    run: str | None = None
    automation: str | None = None
    type: str | None = None
    notices: bool = False

    def __contains__(self, event: object) -> bool:
        if not isinstance(event, Event):
            return False
        return (
            (self.run is None or self.run in event.runs)
            and (self.automation is None or self.automation in event.automations)
            and (self.type is None or fnmatch.fnmatchcase(event.type, self.type))
        )


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


LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    where="header",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
    description="The id of the last event that arrived; what came after it is sent first. Browsers send it themselves.",
)


def _undone(_uow: SqlUnitOfWork, _call: Call) -> Answer:
    raise NotImplementedError("the stream is no single answer")


STREAM = Operation(
    method="GET",
    path=f"{ROOT}/stream",
    name="stream.follow",
    tag="system",
    summary="What happens, live: server-sent events",
    description=(
        "Each event has its position as id and its type as event name; `data` is JSON. `reset` says that events "
        "between the given id and now are gone: read everything anew. `dropped` is the last event of a client that was "
        "too slow. A comment comes every 15 s when nothing else does. With `notices` there are `engines.changed` and "
        "`deliveries.changed`, once a second at most, with the id of the event before: read anew what is no event."
    ),
    handler=_undone,
    parameters=(
        LAST_EVENT_ID,
        filter_by("run", schemas.ID, "Only what concerns this Run, its instances too."),
        filter_by("automation", schemas.line(200, "Text"), "Only what concerns Runs of the automation of this name."),
        filter_by("type", schemas.line(100, "Text"), "Only events of this type; a pattern such as run.*."),
        filter_by("notices", schemas.BOOLEAN, "Whether to say when the health of feeds, or deliveries, changed."),
    ),
    answer={"type": "string"},
)


class Stream:
    """The endpoint."""

    def __init__(self, hub: Hub, endpoints: Endpoints) -> None:
        self._hub = hub
        self._endpoints = endpoints

    async def __call__(self, request: Request) -> Response:
        """Answers one client until it goes."""
        try:
            principal = await self._endpoints.principal(request)
            principal.demand("read")
            given = STREAM.read_parameters({}, request.query_params.multi_items(), request.headers)
            if self._hub.clients >= MAX_CLIENTS:
                raise Problem(
                    "too-many-requests", f"{MAX_CLIENTS} clients follow already", headers={"Retry-After": "30"}
                )
            first, last = await self._hub.bounds()
        except Exception as error:  # noqa: BLE001 - told as a problem
            return problem_of(error).response()
        run = str(UUID(given["run"])) if given["run"] else None
        wanted = Wanted(run, given["automation"], given["type"], bool(given["notices"]))
        since = given["Last-Event-ID"]
        position = last if since is None else int(since)
        lost = since is not None and (position > last or (position + 1 < first and position < last))
        return _Following(self._hub, wanted, last if lost else position, first=first, last=last, lost=lost)


def _parts(texts: Sequence[bytes]) -> Iterator[bytes]:
    """The texts in pieces of about PART_BYTES: what was sent before must be on its way before the next is taken."""
    part: list[bytes] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)


class _Following(Response):
    """The answer to one client."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, wanted: Wanted, position: int, *, first: int, last: int, lost: bool) -> None:
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.status_code = 200
        self.background = None
        self._hub = hub
        self._wanted = wanted
        self._position = position
        self._bounds = {"first": first, "last": last}
        self._lost = lost
        self._noticed = hub.noticed if wanted.notices else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        self._hub.clients += 1
        self._hub.watchers += self._wanted.notices
        try:
            async with anyio.create_task_group() as group:

                async def gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(gone)
                await self._follow(send)
                group.cancel_scope.cancel()
        finally:
            self._hub.clients -= 1
            self._hub.watchers -= self._wanted.notices

    async def _follow(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        allowed = self._bounds["last"] - self._position + MAX_BEHIND
        hello = encoded("reset", self._bounds, self._position) if self._lost else f"id: {self._position}\n\n".encode()
        if not await self._send(send, b"retry: 1000\n" + hello):
            return
        while True:
            page = await self._hub.after(self._position, self._noticed)
            if self._hub.is_closing:
                break
            if self._hub.last - self._position > allowed:
                behind = {"reason": "too slow", "behind": self._hub.last - self._position}
                await self._send(send, encoded("dropped", behind, self._position))
                break
            notices = self._notices()
            chosen = [event.text for event in page if event in self._wanted] + notices
            if page:
                self._position = page[-1].position
            if page and not chosen:
                continue
            # the id alone moves the client's place past what it did not ask for
            for part in _parts(chosen) if chosen else [f": heartbeat\nid: {self._position}\n\n".encode()]:
                if not await self._send(send, part):
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _notices(self) -> list[bytes]:
        """What is to be said since it was last."""
        if self._noticed is None:
            return []
        before, self._noticed = self._noticed, self._hub.noticed
        return [
            encoded(name, {"type": name}, self._position)
            for name, count in self._noticed.items()
            if count != before[name]
        ]

    async def _send(self, send: Send, data: bytes) -> bool:
        """False when the client does not take it: nothing more can be told to it."""
        with anyio.move_on_after(SEND_S) as limit:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if limit.cancelled_caught:
            log.info("a client of the stream took nothing for %g s and was dropped", SEND_S)
        return not limit.cancelled_caught
