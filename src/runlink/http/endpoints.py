"""From an Operation to a route: identity, checks, a thread with a transaction, the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import anyio
import msgspec
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from runlink.application import tracing
from runlink.http.guard import Guard
from runlink.http.identity import Principal, identify
from runlink.http.operations import Answer, Call, Operation
from runlink.http.problems import Problem, problem_of
from runlink.http.service import Service
from runlink.store import SqlUnitOfWork

log = logging.getLogger(__name__)
T = TypeVar("T")

READERS: Final = 8
WRITERS: Final = 16
"""Threads at a time. A writer waits for its commit; on SQLite those that wait together share one."""


class Threads:
    """Where the synchronous store is called, bounded: whoever comes too many waits without a thread."""

    def __init__(self) -> None:
        self._readers = anyio.CapacityLimiter(READERS)
        self._writers = anyio.CapacityLimiter(WRITERS)

    async def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs something that only reads."""
        return await to_thread.run_sync(work, *arguments, limiter=self._readers)

    async def write(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs something that waits for a commit."""
        return await to_thread.run_sync(work, *arguments, limiter=self._writers)


class Endpoints:
    """Makes routes of operations."""

    def __init__(self, service: Service, threads: Threads, guard: Guard) -> None:
        self._service = service
        self._threads = threads
        self._guard = guard

    def routes(self, operations: Iterable[Operation]) -> list[Route]:
        """One route for each path, with all its methods."""
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        return [Route(path, self._endpoint(methods), methods=list(methods)) for path, methods in by_path.items()]

    async def principal(self, request: Request, *, counts: bool = True) -> Principal:
        """Who asks, and, where it `counts`, not too often. Raises Problem."""
        client = request.client.host if request.client is not None else ""
        try:
            principal = await self._threads.read(identify, self._service, request.method, request.headers, client)
        except Problem as problem:
            if problem.name == "unauthenticated":
                self._guard.count_failure(client)
            raise
        request.scope["runlink.principal"] = principal
        if counts:
            self._guard.count(principal.key)
        return principal

    def _endpoint(self, methods: Mapping[str, Operation]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            operation = methods["GET" if request.method == "HEAD" else request.method]
            told = {"http.request.method": request.method, "http.route": operation.path}
            with tracing.span(operation.name, told, kind="server", parent=request.headers) as span:
                answer = await self._told(operation, request)
                span.set("http.response.status_code", answer.status_code)
            return answer

        return endpoint

    async def _told(self, operation: Operation, request: Request) -> Response:
        try:
            return await self._answer(operation, request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it: a page was left, or looks for something else
        except Exception as error:  # noqa: BLE001 - the last place: told as a problem
            return problem_of(error, about_body=operation.body is not None and "{" not in operation.path).response()

    async def _answer(self, operation: Operation, request: Request) -> Response:
        principal = await self.principal(request)
        principal.demand(operation.scope)
        data = await request.body()
        call = Call(
            service=self._service,
            principal=principal,
            given=operation.read_parameters(request.path_params, request.query_params.multi_items(), request.headers),
            body=operation.read_body(data, request.headers.get("content-type", "")),
            body_bytes=data,
            address=request.client.host if request.client is not None else "",
        )
        run = self._threads.write if operation.writes else self._threads.read
        return await run(_perform, operation, call)


def _perform(operation: Operation, call: Call) -> Response:
    """The operation in its transaction, and its answer."""
    store = call.service.store
    if not operation.writes:
        with store.glance() if operation.glances else store.reading() as uow:
            return _response(operation, operation.handler(uow, call))

    def work(uow: SqlUnitOfWork) -> Answer:
        answer = operation.handler(uow, call)
        if answer.subject is not None:
            kind, subject_id = answer.subject
            uow.audit.add(
                operation.name, kind, subject_id, call.service.now(), address=call.address, details=answer.details
            )
        return answer

    return _response(operation, store.write(work, actor=call.principal.actor, urgent=True))


def _response(operation: Operation, answer: Answer) -> Response:
    headers = {"Cache-Control": "no-store"}
    if answer.version is not None:
        headers["ETag"] = f'"{answer.version}"'
    if answer.location is not None:
        headers["Location"] = answer.location
    status = answer.status or operation.status
    if status == 204:
        return Response(None, 204, headers=headers)
    return Response(msgspec.json.encode(answer.body), status, headers=headers, media_type="application/json")
