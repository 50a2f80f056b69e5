"""`/login` and `/logout`: a browser exchanges a token for a cookie. Works without a script.

The cookie is HttpOnly and SameSite=Lax, so that a link to a Run opens it; what changes something needs the session's
CSRF token beside it (`identity`), which another site cannot read.
"""

from __future__ import annotations

import html
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from runlink.application.access import Token, csrf_of, digest_of, open_session, role_of
from runlink.http.endpoints import Endpoints, Threads
from runlink.http.guard import Guard
from runlink.http.identity import COOKIE, session_of, unauthenticated
from runlink.http.problems import Problem, problem_of
from runlink.http.service import Service

HOME: Final = "/"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · runlink</title><link rel="icon" href="/static/dashboard/icon.svg">
<link rel="stylesheet" href="/static/dashboard/style.css"></head><body class="login"><main>
<h1><img src="/static/dashboard/icon.svg" alt="" width="28" height="28">runlink</h1>
{complaint}<form method="post" action="/login"><input type="hidden" name="next" value="{following}">
<div class="field"><label for="token">Token</label><input id="token" name="token" type="password"
 autocomplete="current-password" required autofocus></div><button class="main">Log in</button></form>
<p class="faint">An administrator makes one with <code>runlink tokens create</code>.</p></main></body></html>
"""


class Login:
    """The endpoints."""

    def __init__(self, service: Service, threads: Threads, guard: Guard, endpoints: Endpoints) -> None:
        self._service = service
        self._threads = threads
        self._guard = guard
        self._endpoints = endpoints

    async def form(self, request: Request) -> Response:
        """The page."""
        return _page(_local(request.query_params.get("next", HOME)))

    async def login(self, request: Request) -> Response:
        """A token for a cookie: from the page, or as JSON."""
        client = request.client.host if request.client is not None else ""
        from_page = not request.headers.get("content-type", "").startswith("application/json")
        following = HOME
        try:
            _check_origin(request)
            given = _given(await request.body(), from_page)
            following = _local(given.get("next", HOME))
            text = given.get("token", "")
            secret, token, expires_at = await self._threads.write(self._open, text.strip())
        except Exception as error:  # noqa: BLE001 - told on the page, or as a problem
            problem = problem_of(error)
            if problem.name == "unauthenticated":
                self._guard.count_failure(client)
            return _page(following, problem) if from_page else problem.response()
        answer: Response = (
            RedirectResponse(following, 303) if from_page else JSONResponse(_told(token, secret, expires_at))
        )
        answer.headers["Cache-Control"] = "no-store"
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=int((expires_at - self._service.now()).total_seconds()),
            path="/",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    async def logout(self, request: Request) -> Response:
        """Ends the session; a write like any other, so it carries the CSRF token."""
        try:
            await self._endpoints.principal(request)
            session = session_of(request.headers)
            if session is not None:
                await self._threads.write(self._close, session)
        except Exception as error:  # noqa: BLE001 - told as a problem
            return problem_of(error).response()
        answer = Response(None, 204)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
        return answer

    def _open(self, text: str) -> tuple[str, Token, datetime]:
        now = self._service.now()
        with self._service.store.reading() as uow:
            token = uow.access.token(digest_of(text))
        if token is None or not token.is_valid(now):
            raise unauthenticated("the token is not known, was revoked, or has expired")
        if role_of(token.scopes) is None:
            raise Problem("forbidden", f"token {token.name} may deliver, and nothing else")
        secret, expires_at = self._service.store.write(
            lambda uow: open_session(uow, token, now=now, ttl_s=self._service.settings.session_ttl_s),
            actor=f"token:{token.name}",
            urgent=True,
        )
        return secret, token, expires_at

    def _close(self, session: str) -> None:
        self._service.store.write(lambda uow: uow.access.end_session(digest_of(session)), actor="server", urgent=True)


def _told(token: Token, secret: str, expires_at: datetime) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": role_of(token.scopes),
        "scopes": list(token.scopes),
        "csrf_token": csrf_of(secret),
        "expires_at": expires_at.isoformat(),
    }


def _given(data: bytes, from_page: bool) -> dict[str, str]:
    try:
        if from_page:
            return {name: values[0] for name, values in parse_qs(data.decode("utf-8"), max_num_fields=10).items()}
        return msgspec.json.decode(data, type=dict[str, str])
    except (ValueError, msgspec.DecodeError):
        raise Problem("invalid-request", "give the token as a form's field, or as JSON: token") from None


def _check_origin(request: Request) -> None:
    """A form on another site cannot log a browser in. Raises Problem."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise Problem("csrf", "this login comes from another site")


def _local(target: str) -> str:
    """A path of this server; anything else becomes the first page."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_path and "\\" not in target else HOME


def _page(following: str, problem: Problem | None = None) -> Response:
    complaint = f'<p role="alert">{html.escape(problem.detail)}</p>' if problem is not None else ""
    body = _PAGE.format(complaint=complaint, following=html.escape(following, quote=True))
    headers = {"Cache-Control": "no-store", **(problem.headers if problem is not None else {})}
    return HTMLResponse(body, problem.status if problem is not None else 200, headers=headers)
