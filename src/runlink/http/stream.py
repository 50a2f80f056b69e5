"""The live stream: `GET /api/v1/stream`, server-sent events from the outbox. What is sent is kept in `hub`; here is the
endpoint, and what one client asked for: it costs one buffer of its socket.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runlink.http import schemas
from runlink.http.api.shapes import ROOT, filter_by
from runlink.http.endpoints import Endpoints
from runlink.http.hub import Event, Hub, encoded
from runlink.http.operations import Answer, Call, Operation, Parameter
from runlink.http.problems import Problem, problem_of
from runlink.store import SqlUnitOfWork

log = logging.getLogger(__name__)

SEND_S: Final = 20.0
"""How long a client may take to accept what is sent to it."""
MAX_BEHIND: Final = 20_000
"""How many events a client may fall behind while it is connected; what it missed before does not count."""
PART_BYTES: Final = 32 * 1024
"""How much is handed to a client's connection at a time."""
MAX_CLIENTS: Final = 500


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
