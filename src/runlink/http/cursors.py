"""Where a listing goes on: 16 bytes in 22 characters, which mean something to the server alone."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}
_MAX_NUMBER: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MICROSECONDS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def cursor_of(place: UUID | int) -> str:
    """The cursor behind a row with this id or number."""
    value = place.bytes if isinstance(place, UUID) else place.to_bytes(16, "big")
    return urlsafe_b64encode(value).decode().rstrip("=")


def id_at(cursor: str | None) -> UUID | None:
    """The id a cursor stands for; any text of its form stands for one."""
    return None if cursor is None else UUID(bytes=urlsafe_b64decode(cursor[:22] + "=="))


def number_at(cursor: str | None) -> int | None:
    """The number a cursor stands for."""
    found = id_at(cursor)
    return None if found is None else min(found.int, _MAX_NUMBER)


def seen(at: datetime, fingerprint: str) -> int:
    """The place of what was seen at a time and has a fingerprint (hexadecimal): both in 16 bytes."""
    return ((at - _EPOCH) // timedelta(microseconds=1) << 64) | int(fingerprint[:16], 16)


def seen_at(cursor: str) -> tuple[datetime, str]:
    """The time a cursor stands for, and how the fingerprint begins."""
    place = UUID(bytes=urlsafe_b64decode(cursor[:22] + "==")).int
    at = _EPOCH + timedelta(microseconds=min(place >> 64, _MAX_MICROSECONDS))
    return at, f"{place & (2**64 - 1):016x}"
