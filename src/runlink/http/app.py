"""`create_app`: the ASGI application with everything in it. Bootstrap comes here, and tests do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from runlink.http import dashboard, openapi
from runlink.http.api import OPERATIONS
from runlink.http.endpoints import Endpoints, Threads
from runlink.http.guard import Guard
from runlink.http.health import Health
from runlink.http.hub import Hub
from runlink.http.login import Login
from runlink.http.metrics import Metrics
from runlink.http.operations import Operation
from runlink.http.problems import Problem
from runlink.http.service import Service
from runlink.http.stream import STREAM, Stream

EVERY_OPERATION: Sequence[Operation] = (*OPERATIONS, STREAM)
Routes = Callable[[Endpoints, Threads], Sequence[BaseRoute]]


def _none(_endpoints: Endpoints, _threads: Threads) -> Sequence[BaseRoute]:
    return ()


def create_app(service: Service, *, more: Routes = _none, on_hub: Callable[[Hub], None] = lambda _hub: None) -> ASGIApp:
    """The whole server.

    `more` gives further routes (webhooks); `on_hub` is handed the stream's hub once the application
    runs, so that a stopping server can close it.
    """
    threads, guard = Threads(), Guard(service.settings)
    endpoints = Endpoints(service, threads, guard)
    hub = Hub(service, threads)
    health, login = Health(service, threads), Login(service, threads, guard, endpoints)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with hub.running():
            on_hub(hub)
            yield

    app = Starlette(
        routes=[
            *more(endpoints, threads),
            *endpoints.routes(OPERATIONS),
            Route(STREAM.path, Stream(hub, endpoints).__call__),
            Route("/login", login.form),
            Route("/login", login.login, methods=["POST"]),
            Route("/logout", login.logout, methods=["POST"]),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            Route("/healthz", health.live),
            Route("/readyz", health.ready),
            Route("/metrics", Metrics(service, threads, endpoints, hub).__call__),
            *_documentation(),
            *dashboard.routes(),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    return guard.layer(app)


def _documentation() -> list[Route]:
    specification = msgspec.json.encode(openapi.document(EVERY_OPERATION))
    page = openapi.page(EVERY_OPERATION)
    style = files("runlink.http").joinpath("static/plain.css").read_bytes()

    async def published(_request: Request) -> Response:
        return Response(specification, media_type="application/json")

    async def shown(_request: Request) -> Response:
        return HTMLResponse(page)

    async def styled(_request: Request) -> Response:
        return Response(style, media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    return [
        Route("/openapi.json", published),
        Route("/docs", shown),
        Route("/static/plain.css", styled),
    ]


async def _refused(request: Request, error: Exception) -> Response:
    """What the router refuses, as a problem."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        headers = dict(error.headers or {})
        detail = f"{request.method} is not for {request.url.path}; it takes {headers.get('Allow', 'other methods')}"
        return Problem("method-not-allowed", detail, headers=headers).response()
    if request.method == "GET" and request.headers.get("accept", "").startswith("text/html"):
        return dashboard.page(404)  # a person in a browser
    return Problem("not-found", f"there is nothing at {request.url.path}").response()
