"""`POST /hooks/{engine}`: what engines push, authenticated, committed, and only then answered with 202.

The application's routes come here. Nothing of a delivery is looked into: that is done later, by the daemon.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from runlink.application.rows import DeliveryRow
from runlink.domain import new_id
from runlink.hosting.authentication import SECRET_HEADERS, Door, NotAuthentic
from runlink.http.endpoints import Endpoints
from runlink.http.group_commit import STORE_S, GroupCommit
from runlink.http.problems import Problem, problem_of
from runlink.http.push_metrics import Arrivals
from runlink.store import SqlStore

_UNKEPT: Final = frozenset({"connection", "content-encoding", "content-length", "host", "transfer-encoding"})
_MAX_HEADERS: Final = 100

Doors = Callable[[], Mapping[str, Door]]


class Hooks:
    """Takes deliveries in. One event loop uses it.

    doors    engine name -> its door, asked at each request, so that a reload takes effect
    stored   called with the engine's name after a delivery was committed, from the event loop; must not block
    store_s  see STORE_S
    """

    def __init__(
        self,
        store: SqlStore,
        doors: Doors,
        *,
        now: Callable[[], datetime],
        stored: Callable[[str], None] = lambda _engine: None,
        store_s: float = STORE_S,
    ) -> None:
        self._doors = doors
        self._now = now
        self._stored = stored
        self._writer = GroupCommit(store, store_s)
        self._endpoints: Endpoints | None = None
        self.arrivals = Arrivals()

    def routes(self, endpoints: Endpoints) -> list[Route]:
        """`/hooks/{engine}`, and the path that OpenLineage clients append to the address they are given."""
        self._endpoints = endpoints
        paths = ("/hooks/{engine}", "/hooks/{engine}/api/v1/lineage")
        return [Route(path, self.receive, methods=["POST"]) for path in paths]

    async def receive(self, request: Request) -> Response:
        """202 with the delivery's id once it is committed, or was before; else a problem (RFC 9457)."""
        engine, began = request.path_params["engine"], time.monotonic()
        door = self._doors().get(engine)
        result = "broken-off"
        try:
            row = await self._row(request, door)
            is_new = await self._writer.put(row)
            result = "accepted" if is_new else "duplicate"
        except Problem as problem:
            result = problem.name
            return problem.response()
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self.arrivals.count(engine if door is not None else "", result, time.monotonic() - began)
        if is_new:
            self._stored(engine)
        answer = msgspec.json.encode({"delivery": row.delivery_id or str(row.id), "duplicate": not is_new})
        return Response(answer, status_code=202, media_type="application/json")

    async def close(self) -> None:
        """Waits for what is being written."""
        await self._writer.close()

    async def _row(self, request: Request, door: Door | None) -> DeliveryRow:
        """The delivery, proved to come from its engine. Raises Problem."""
        if door is None:
            raise Problem("not-found", "no engine of this name takes deliveries; see [engines.NAME.webhook]")
        given = request.headers.items()  # decoded once; ASGI has the names in lower case
        headers = dict(given)
        try:
            door.authenticator.check_headers(headers)
            if door.authenticator.by_token:
                await self._token(request)
            raw = await self._body(request, door.max_bytes)
            door.authenticator.check_body(headers, raw, self._now())
        except NotAuthentic as reason:
            scheme = {"bearer": "Bearer", "basic": "Basic", "runlink-token": "Bearer"}.get(door.authenticator.scheme)
            challenge = {"WWW-Authenticate": f'{scheme} realm="runlink"'} if scheme else {}
            raise Problem("unauthenticated", str(reason), headers=challenge) from None
        return DeliveryRow(
            id=new_id(),
            engine_id=door.engine_id,
            delivery_id=door.authenticator.delivery_id(headers, raw),
            received_at=self._now(),
            path=_storable(request.scope["path"][:500]),
            headers=_kept(given),
            body=_unpacked(raw, headers.get("content-encoding", "identity").lower().strip(), door.max_bytes),
            signed=door.authenticator.signs_body,
        )

    async def _token(self, request: Request) -> None:
        """A token that may deliver. Raises Problem; without `routes` nobody knows the tokens."""
        if self._endpoints is None:
            raise NotAuthentic("no token is known here")
        try:
            principal = await self._endpoints.principal(request, counts=False)
        except Exception as error:
            raise problem_of(error) from error
        principal.demand("hooks")

    async def _body(self, request: Request, max_bytes: int) -> bytes:
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > max_bytes:
            raise _too_large(max_bytes)
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():  # `guard` bounds how long it may take
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
        return b"".join(chunks)


def _too_large(max_bytes: int) -> Problem:
    # what is left of the body is not read: the connection cannot be used again
    detail = f"a delivery may have {max_bytes} bytes (max_bytes of the webhook)"
    return Problem("too-large", detail, headers={"Connection": "close"})


def _unpacked(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "deflate"):
        detail = f"the content encoding {encoding[:40]!r} is not understood; send it as it is, or as gzip"
        raise Problem("unsupported-media-type", detail)
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        body = unpacker.decompress(raw, max_bytes + 1)
    except zlib.error:
        raise Problem("invalid-request", f"the body is not {encoding}, which Content-Encoding says it is") from None
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem("invalid-request", f"the body is broken off, or more than one {encoding} document")
    return body


def _kept(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that may be kept and looked at, lower case, in order."""
    found = [
        (name, _storable(value[:2000])) for name, value in given if name not in SECRET_HEADERS and name not in _UNKEPT
    ]
    return found[:_MAX_HEADERS]


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
