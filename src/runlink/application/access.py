"""Who may use the server: tokens, what they allow, sessions of browsers. The CLI and the http room come here.

A token or session is 256 random bits, shown once. The store has its SHA-256 alone; a slow hash would add nothing, for
there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from uuid import UUID

from runlink.application.errors import AlreadyExists, Missing
from runlink.domain import ValidationError, new_id

if TYPE_CHECKING:
    from runlink.application.ports import UnitOfWork

SCOPES: Final = ("read", "write", "hooks", "admin")
"""read: see everything but tokens and the audit; write: change the record; hooks: deliver to engines whose
webhook asks for such a token; admin: everything."""
ROLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"viewer": ("read",), "operator": ("read", "write"), "admin": SCOPES}
)
_HIGHEST: Final = (("admin", "admin"), ("operator", "write"), ("viewer", "read"))
_INCLUDED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"write": frozenset({"read"}), "admin": frozenset(SCOPES)}
)
PREFIX: Final = "rl_"
"""What every token begins with, so that scanners for leaked secrets find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; the token itself is not."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it still opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def covers(scopes: Iterable[str], wanted: str) -> bool:
    """Whether scopes allow what `wanted` stands for: `write` includes `read`, `admin` everything."""
    return any(scope == wanted or wanted in _INCLUDED.get(scope, ()) for scope in scopes)


def role_of(scopes: Iterable[str]) -> str | None:
    """The highest role that scopes come to; None for one that only delivers."""
    held = tuple(scopes)
    return next((role for role, wanted in _HIGHEST if covers(held, wanted)), None)


def digest_of(secret: str) -> bytes:
    """What the store knows a token or session by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def create_token(
    uow: UnitOfWork, name: str, scopes: Iterable[str], *, now: datetime, expires_at: datetime | None = None
) -> tuple[Token, str]:
    """A new token, and its text, which is kept nowhere. Raises AlreadyExists while another has the name."""
    held = tuple(scope for scope in SCOPES if scope in set(scopes))
    unknown = sorted(set(scopes) - set(SCOPES))
    name = name.strip()
    if unknown or not held:
        reason = f"{', '.join(unknown)} is no scope" if unknown else "none is given"
        raise ValidationError(f"scopes: {reason}; there are {', '.join(SCOPES)}")
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise ValidationError("name: must be 1 to 100 printable characters")
    if expires_at is not None and expires_at <= now:
        raise ValidationError(f"expires_at: {expires_at.isoformat()} is over already")
    if uow.access.valid_token(name) is not None:
        raise AlreadyExists(f"a token is called {name!r} already; revoke that one first, or take another name")
    text = PREFIX + secrets.token_urlsafe(32)
    token = Token(id=new_id(), name=name, scopes=held, created_at=now, created_by=uow.actor, expires_at=expires_at)
    uow.access.add_token(token, digest_of(text))
    uow.audit.add("token.create", "token", token.id, now, details={"name": name, "scopes": list(held)})
    return token, text


def revoke_token(uow: UnitOfWork, name: str, *, now: datetime) -> Token:
    """Ends a token and the sessions that were opened with it, at once. Raises Missing."""
    token = uow.access.valid_token(name)
    if token is None:
        raise Missing(f"no valid token is called {name!r}; see `runlink tokens list`")
    uow.access.revoke(token.id, now)
    uow.audit.add("token.revoke", "token", token.id, now, details={"name": name})
    return token


def open_session(uow: UnitOfWork, token: Token, *, now: datetime, ttl_s: float) -> tuple[str, datetime]:
    """A browser's session, and when it ends: with the token at the latest."""
    secret = secrets.token_urlsafe(32)
    expires_at = now + timedelta(seconds=ttl_s)
    if token.expires_at is not None:
        expires_at = min(expires_at, token.expires_at)
    uow.access.end_sessions(before=now)
    uow.access.add_session(digest_of(secret), token.id, now, expires_at)
    uow.audit.add("session.open", "token", token.id, now)
    return secret, expires_at


def csrf_of(session: str) -> str:
    """The token that a session's writes carry: made from it by a hash, so that it is stored nowhere and does not lead
    back."""
    return hashlib.sha256(b"csrf:" + session.encode()).hexdigest()
