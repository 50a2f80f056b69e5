"""Which rule of the database a refused write broke, the same words for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.exc import IntegrityError

Violation = Literal["key", "reference", "other"]

_KINDS: dict[str, Violation] = {
    "23505": "key",
    "23503": "reference",
    "SQLITE_CONSTRAINT_UNIQUE": "key",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "key",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "reference",
}


def violation(error: IntegrityError) -> Violation:
    """A taken key, a reference to nothing, or another rule (a check, NOT NULL)."""
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", "")
    return _KINDS.get(str(code), "other")
