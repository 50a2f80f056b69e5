"""Who asks, and what they may: bearer tokens, sessions of browsers, and whoever sits at this machine.

Reading without a token is possible under four conditions at once: `auth` is "local", the server listens on loopback and
is not told of a proxy, the request comes from loopback, and it carries no sign of a proxy. The `Host` header is checked
before that (`guard`), so that a page elsewhere cannot have its name rebound to 127.0.0.1 and read along.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Final

from runlink.application.access import Token, covers, csrf_of, digest_of, role_of
from runlink.application.settings import ServerSettings
from runlink.http.problems import Problem
from runlink.http.service import Service
from runlink.store import SqlUnitOfWork
from runlink.store.access import USED_TO

COOKIE: Final = "runlink_session"
CSRF_HEADER: Final = "X-CSRF-Token"
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_OF_A_PROXY: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks. `key` is what their requests are counted under."""

    name: str | None
    scopes: tuple[str, ...]
    key: str
    session: str | None = None
    token: Token | None = None

    @property
    def actor(self) -> str:
        """As it is written to `created_by` and `updated_by`."""
        return f"token:{self.name}" if self.name is not None else "local"

    @property
    def role(self) -> str | None:
        """viewer, operator or admin."""
        return role_of(self.scopes)

    @property
    def csrf_token(self) -> str | None:
        """What the writes of this session carry."""
        return csrf_of(self.session) if self.session is not None else None

    def demand(self, scope: str) -> None:
        """Raises Problem unless this is allowed."""
        if not covers(self.scopes, scope):
            if self.token is None:
                raise unauthenticated(f"reading is free on this machine, but this needs a token with the scope {scope}")
            raise Problem("forbidden", f"token {self.name} has no scope {scope}, but {', '.join(self.scopes)}")


def unauthenticated(detail: str) -> Problem:
    """The problem of whoever shows nothing, or nothing that is known."""
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="runlink"'})


def identify(service: Service, method: str, headers: Mapping[str, str], client: str) -> Principal:
    """Who asks. Reads the store. Raises Problem for a wrong credential, none where one is needed, or a forged write.

    `client` is the address the request came from.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        return _bearer(service, authorization)
    session = session_of(headers)
    if session is not None:
        return _session(service, method, headers, session)
    if is_local(service.settings, headers, client):
        return Principal(None, ("read",), f"address {client}")
    raise unauthenticated("give a token: Authorization: Bearer rl_…; `runlink tokens create` makes one")


def session_of(headers: Mapping[str, str]) -> str | None:
    """The session that a request's cookie names."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def is_local(settings: ServerSettings, headers: Mapping[str, str], client: str) -> bool:
    """Whether a request comes from this machine, and nothing that passes others' requests on is in between."""
    if settings.auth != "local" or not settings.is_local or any(name in headers for name in _OF_A_PROXY):
        return False
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return False


def _bearer(service: Service, authorization: str) -> Principal:
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise unauthenticated("the Authorization header is not of the form: Bearer rl_…")
    with service.store.reading() as uow:
        token = uow.access.token(digest_of(secret.strip()))
    now = service.now()
    if token is None or not token.is_valid(now):
        raise unauthenticated("the token is not known, was revoked, or has expired")
    if token.last_used_at is None or token.last_used_at < now - USED_TO:

        def used(uow: SqlUnitOfWork) -> None:
            uow.access.used(token.id, now)

        service.store.write(used, actor="server")
    return Principal(token.name, token.scopes, f"token {token.id}", token=token)


def _session(service: Service, method: str, headers: Mapping[str, str], session: str) -> Principal:
    with service.store.reading() as uow:
        token = uow.access.session(digest_of(session), service.now())
    if token is None or not token.is_valid(service.now()):
        raise unauthenticated("the session is over; log in again at /login")
    principal = Principal(token.name, token.scopes, f"token {token.id}", session=session, token=token)
    shown = headers.get(CSRF_HEADER.lower(), "")
    if method not in _SAFE and not hmac.compare_digest(shown.encode(), csrf_of(session).encode()):
        raise Problem(
            "csrf", f"a write of a browser's session carries {CSRF_HEADER}; /api/v1/session tells this session's"
        )
    return principal
