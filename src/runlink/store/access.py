"""Tokens, sessions, idempotency keys and the audit, within a unit of work. `application.access` comes here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.application.access import Token
from runlink.domain import new_id
from runlink.store import tables

_TOKEN = tables.tokens
_SESSION = tables.sessions
_KEY = tables.idempotency_keys
_AUDIT = tables.audit
_COLUMNS = tuple(column for column in _TOKEN.c if column.name != "digest")
USED_TO = timedelta(minutes=15)
"""How exact `last_used_at` is: not every request is worth a write."""


class Access:
    """What opens the server."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_token(self, token: Token, digest: bytes) -> None:
        """A new token."""
        values = {column.name: getattr(token, column.name) for column in _COLUMNS}
        self._connection.execute(sa.insert(_TOKEN), {**values, "scopes": list(token.scopes), "digest": digest})

    def token(self, digest: bytes) -> Token | None:
        """The token with this digest, valid or not."""
        return self._one(sa.select(*_COLUMNS).where(_TOKEN.c.digest == digest))

    def valid_token(self, name: str) -> Token | None:
        """The one of this name that was not revoked; it may have expired."""
        return self._one(sa.select(*_COLUMNS).where(_TOKEN.c.name == name, _TOKEN.c.revoked_at.is_(None)))

    def tokens(self, *, before: UUID | None = None, limit: int = 50) -> list[Token]:
        """Tokens, newest first, revoked ones too."""
        query = sa.select(*_COLUMNS).order_by(_TOKEN.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_TOKEN.c.id < before)
        return [_token(row) for row in self._connection.execute(query)]

    def has_valid(self, now: datetime) -> bool:
        """Whether any token opens anything."""
        lasting = sa.or_(_TOKEN.c.expires_at.is_(None), _TOKEN.c.expires_at > now)
        query = sa.select(_TOKEN.c.id).where(_TOKEN.c.revoked_at.is_(None), lasting).limit(1)
        return self._connection.execute(query).first() is not None

    def used(self, token_id: UUID, now: datetime) -> None:
        """A token was shown now."""
        old = sa.or_(_TOKEN.c.last_used_at.is_(None), _TOKEN.c.last_used_at < now - USED_TO)
        self._connection.execute(sa.update(_TOKEN).where(_TOKEN.c.id == token_id, old).values(last_used_at=now))

    def revoke(self, token_id: UUID, now: datetime) -> None:
        """Ends a token and its sessions."""
        self._connection.execute(sa.update(_TOKEN).where(_TOKEN.c.id == token_id).values(revoked_at=now))
        self._connection.execute(sa.delete(_SESSION).where(_SESSION.c.token_id == token_id))

    def add_session(self, digest: bytes, token_id: UUID, now: datetime, expires_at: datetime) -> None:
        """A new session."""
        values = {"digest": digest, "token_id": token_id, "created_at": now, "expires_at": expires_at}
        self._connection.execute(sa.insert(_SESSION), values)

    def session(self, digest: bytes, now: datetime) -> Token | None:
        """The token of a session that is not over."""
        query = sa.select(*_COLUMNS).join(_SESSION, _SESSION.c.token_id == _TOKEN.c.id)
        return self._one(query.where(_SESSION.c.digest == digest, _SESSION.c.expires_at > now))

    def end_session(self, digest: bytes) -> None:
        """A browser logged out."""
        self._connection.execute(sa.delete(_SESSION).where(_SESSION.c.digest == digest))

    def end_sessions(self, before: datetime) -> None:
        """Removes sessions that were over before a time."""
        self._connection.execute(sa.delete(_SESSION).where(_SESSION.c.expires_at < before))

    def _one(self, query: sa.Select[Any]) -> Token | None:
        row = self._connection.execute(query).first()
        return None if row is None else _token(row)


def _token(row: sa.Row[Any]) -> Token:
    values = row._asdict()
    return Token(**{**values, "scopes": tuple(values["scopes"])})


class IdempotencyKeys:
    """What a request made when it came the first time."""

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor

    def find(self, key: str) -> tuple[bytes, UUID] | None:
        """The digest of this actor's first request with the key, and what it made."""
        query = sa.select(_KEY.c.digest, _KEY.c.entity_id).where(_KEY.c.actor == self._actor, _KEY.c.key == key)
        row = self._connection.execute(query).first()
        return None if row is None else (bytes(row.digest), row.entity_id)

    def add(self, key: str, digest: bytes, entity_id: UUID, now: datetime) -> bool:
        """Keeps what a first request made; False when another was quicker, and then its own is to be undone."""
        values = {"actor": self._actor, "key": key, "digest": digest, "entity_id": entity_id, "created_at": now}
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(_KEY), values)
        except sa.exc.IntegrityError:
            return False
        return True


class Audit:
    """Who changed what, append-only."""

    def __init__(self, connection: sa.Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor

    def add(
        self,
        action: str,
        subject_type: str,
        subject_id: UUID | None,
        at: datetime,
        *,
        address: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """One more entry, in the transaction of what it tells of."""
        values = {
            "id": new_id(),
            "at": at,
            "actor": self._actor,
            "action": action,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "address": address,
            "details": None if details is None else dict(details),
        }
        self._connection.execute(sa.insert(_AUDIT), values)

    def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        subject_id: UUID | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Entries, newest first."""
        query = sa.select(_AUDIT).order_by(_AUDIT.c.id.desc()).limit(limit)
        given = ((_AUDIT.c.actor, actor), (_AUDIT.c.action, action), (_AUDIT.c.subject_id, subject_id))
        for column, value in given:
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(_AUDIT.c.id < before)
        return [dict(row) for row in self._connection.execute(query).mappings()]
