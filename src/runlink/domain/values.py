"""What a field may hold: ids, text, counts, times. Entities come here to have a value checked before they keep it.

Every check returns the value as it is to be stored, or raises ValidationError with the field's name.
The first line of each is the fast path: ingest builds tens of thousands of entities through them.
"""

import json
import os
import struct
import threading
import time
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from runlink.domain.errors import ValidationError
from runlink.domain.status import ExecutionStatus


class Keep(Enum):
    """The type of KEEP, the default of an update's parameter: leave as it is (where None means remove)."""

    KEEP = "KEEP"


KEEP: Final = Keep.KEEP

NOT_GIVEN: Final = datetime.min.replace(tzinfo=UTC)
"""The default of a time field that becomes now when the entity is built; compared by identity."""

_clock_lock = threading.Lock()
_last_tick = 0
_random_bits: list[tuple[int, ...]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random_bits.clear)  # two processes must never draw the same


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562), strictly rising within this process and sorted by time across processes.

    The 12 bits after the version hold the fraction of the millisecond. A clock that is set back is not followed.
    """
    global _last_tick  # noqa: PLW0603 - the process's last id, guarded by the lock
    now_ns = time.time_ns()
    tick = (now_ns // 1_000_000) << 12 | (now_ns % 1_000_000) * 4096 // 1_000_000
    with _clock_lock:
        _last_tick = tick = max(tick, _last_tick + 1)
        if not _random_bits:
            # the kernel is asked once for 256 ids: asked for each, it took half of this function's time
            _random_bits.extend(struct.iter_unpack("Q", os.urandom(2048)))
        random_bits = _random_bits.pop()[0] >> 2
    return UUID(int=(tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | random_bits)


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def refusal(field: str, reason: str) -> ValidationError:
    """The error for one field."""
    problem = f"{field}: {reason}"
    return ValidationError(problem, (problem,))


def checked_time(value: datetime, field: str) -> datetime:
    """An aware time, in UTC. A naive one is refused: nobody can say later what it meant."""
    if isinstance(value, datetime):
        if value.tzinfo is UTC:
            return value
        if value.utcoffset() is not None:
            return value.astimezone(UTC)
        raise refusal(field, f"{value.isoformat()} has no time zone; give an aware datetime, e.g. with tzinfo=UTC")
    raise refusal(field, f"must be a datetime, not {type(value).__name__}")


def checked_optional_time(value: datetime | None, field: str) -> datetime | None:
    """As `checked_time`, None allowed."""
    return None if value is None else checked_time(value, field)


def moment_of(at: datetime | None) -> datetime:
    """The time of a change: `at`, or now."""
    return utc_now() if at is None else checked_time(at, "at")


def checked_id(value: UUID, field: str) -> UUID:
    """A UUID; text that looks like one is refused, so that ids compare equal everywhere."""
    if isinstance(value, UUID):
        return value
    raise refusal(field, f"must be a UUID, not {type(value).__name__}; convert text with uuid.UUID(…)")


def checked_text(value: str, field: str) -> str:
    """Text without white space round it, never empty, that any database keeps."""
    if not isinstance(value, str):
        raise refusal(field, f"must be text, not {type(value).__name__}")
    if "\0" in value or not (value.isascii() or _is_unicode(value)):
        raise refusal(field, f"{value[:40]!r} has a character that no database keeps: U+0000, or half a surrogate pair")
    stripped = value.strip()
    if not stripped:
        raise refusal(field, "must not be empty")
    return stripped


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_count(value: int, field: str, *, least: int) -> int:
    """A whole number from `least` upward; True and False are no numbers."""
    if type(value) is int and value >= least:
        return value
    raise refusal(field, f"must be a whole number, at least {least}, not {value!r}")


def checked_status(value: ExecutionStatus, field: str = "status") -> ExecutionStatus:
    """A member of ExecutionStatus; its bare text is refused, since that has no transitions."""
    if type(value) is ExecutionStatus:
        return value
    raise refusal(field, f"must be an ExecutionStatus ({', '.join(ExecutionStatus)}), not {value!r}")


def checked_json(value: Any, field: str) -> Any:
    """A value that JSON can carry."""
    if value is not None:
        try:
            _encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise refusal(field, f"must be JSON data: {error}") from error
    return value


_encode = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps makes one for each value


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces. What JSON cannot carry raises TypeError or ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def same_json(left: Any, right: Any) -> bool:
    """Whether two values are the same to JSON. `==` is not enough: for it, True equals 1."""
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right) and isinstance(left, bool) is isinstance(right, bool)
