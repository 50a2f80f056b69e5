"""`POST /hooks/{engine}`: what engines push, authenticated, committed, and only then answered with 202.

The application's routes come here. Nothing of a delivery is looked into: that is done later, by the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runlink.application.rows import DeliveryRow
from runlink.domain import new_id
from runlink.hosting.authentication import SECRET_HEADERS, Door, NotAuthentic
from runlink.http.endpoints import Endpoints
from runlink.http.problems import RETRY_AFTER_S, Problem, problem_of
from runlink.http.push_metrics import Arrivals
from runlink.store import SqlStore, outage

log = logging.getLogger(__name__)

GATHER_S: Final = 0.001
"""How long a transaction waits for more where deliveries arrive together: a commit costs as much as several of them."""
MAX_BATCH: Final = 500
"""Deliveries in one transaction."""
MAX_WAITING_BYTES: Final = 64 << 20
"""Of bodies that wait for the store; what comes beyond is asked to come again."""
BODY_S: Final = 20.0
"""How long a body may take to arrive."""
STORE_S: Final = 10.0
"""How long a delivery waits for the store."""
_ACTOR: Final = "http"
_UNKEPT: Final = frozenset({"connection", "content-encoding", "content-length", "host", "transfer-encoding"})
_MAX_HEADERS: Final = 100

Doors = Callable[[], Mapping[str, Door]]


class Hooks:
    """Takes deliveries in. One event loop uses it.

    doors    engine name -> its door, asked at each request, so that a reload takes effect
    stored   called with the engine's name after a delivery was committed, from the event loop; must not block
    body_s, store_s   see BODY_S and STORE_S
    """

    def __init__(
        self,
        store: SqlStore,
        doors: Doors,
        *,
        now: Callable[[], datetime],
        stored: Callable[[str], None] = lambda _engine: None,
        body_s: float = BODY_S,
        store_s: float = STORE_S,
    ) -> None:
        self._doors = doors
        self._now = now
        self._stored = stored
        self._body_s = body_s
        self._writer = _GroupedWrites(store, store_s)
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
        return JSONResponse({"delivery": row.delivery_id or str(row.id), "duplicate": not is_new}, status_code=202)

    async def close(self) -> None:
        """Waits for what is being written."""
        await self._writer.close()

    async def _row(self, request: Request, door: Door | None) -> DeliveryRow:
        """The delivery, proved to come from its engine. Raises Problem."""
        if door is None:
            raise Problem("not-found", "no engine of this name takes deliveries; see [engines.NAME.webhook]")
        headers = {name.lower(): value for name, value in request.headers.items()}
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
            path=_storable(request.url.path[:500]),
            headers=_kept(request),
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
        try:
            async with asyncio.timeout(self._body_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    chunks.append(chunk)
        except TimeoutError:
            detail = f"the body did not arrive within {self._body_s:g} s; send it anew"
            raise Problem("timeout", detail, headers={"Connection": "close"}) from None
        return b"".join(chunks)


class _GroupedWrites:
    """Commits deliveries that arrive together in one transaction. One that comes alone is taken at once; behind several
    that came together, it is waited for a moment for more.

    One thread writes, whatever the number of requests.
    """

    def __init__(self, store: SqlStore, store_s: float) -> None:
        self._store = store
        self._store_s = store_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runlink-hooks")
        self._waiting: list[tuple[DeliveryRow, asyncio.Future[bool]]] = []
        self._bytes = 0
        self._drain: asyncio.Task[None] | None = None
        self._ailing = False
        self._are_many = False

    async def put(self, row: DeliveryRow) -> bool:
        """Whether it is new, once it is committed. Raises Problem (503) when the store cannot take it now."""
        if self._bytes + len(row.body) > MAX_WAITING_BYTES:
            raise _unavailable("too much waits for the store")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        self._bytes += len(row.body)
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._write_waiting())
        try:
            async with asyncio.timeout(self._store_s):
                return bool(await future)
        except TimeoutError:
            raise _unavailable("the store takes long, and may not keep this delivery") from None

    async def close(self) -> None:
        if self._drain is not None:
            await asyncio.wait([self._drain])
        self._thread.shutdown(wait=False)

    async def _write_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._are_many:
                await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            wanted = [(row, future) for row, future in batch if not future.done()]  # the others gave up waiting
            rows = [row for row, _ in wanted]
            self._are_many = len(rows) > 1
            if rows:
                try:
                    new = await loop.run_in_executor(self._thread, self._write, rows)
                except Exception as error:  # noqa: BLE001 - answered to everyone who waits
                    self._refuse(wanted, error)
                else:
                    self._ailing = False
                    for row, future in wanted:
                        if not future.done():
                            future.set_result(row.id in new)
            self._bytes -= sum(len(row.body) for row, _ in batch)

    def _write(self, rows: list[DeliveryRow]) -> set[UUID]:
        # on this thread, with its own turn before any page: to hand it to the writer's costs as much as ten deliveries
        with self._store.unit_of_work(_ACTOR) as uow:
            return uow.deliveries.add(rows)

    def _refuse(self, wanted: list[tuple[DeliveryRow, asyncio.Future[bool]]], error: Exception) -> None:
        trouble = outage(error)
        if not self._ailing:
            self._ailing = True
            log.error("deliveries cannot be stored: %s", trouble or repr(error), exc_info=None if trouble else error)
        for _, future in wanted:
            if not future.done():
                future.set_exception(_unavailable("the store does not answer"))


def _unavailable(why: str) -> Problem:
    return Problem("store-unavailable", f"{why}; send it again", headers={"Retry-After": str(RETRY_AFTER_S)})


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


def _kept(request: Request) -> list[tuple[str, str]]:
    """The headers that may be kept and looked at, lower case, in order."""
    found = [
        (name, _storable(value[:2000]))
        for name, value in request.headers.items()
        if name not in SECRET_HEADERS and name not in _UNKEPT
    ]
    return found[:_MAX_HEADERS]


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
