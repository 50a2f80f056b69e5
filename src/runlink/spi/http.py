"""What an HTTP answer means to the host, the same for every client an adapter may use."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runlink.spi.errors import AdapterError, CredentialsRejected, NotFound, Refused, TransientError

if TYPE_CHECKING:
    import httpx


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds asked for by a `Retry-After` header: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def error_for(status: int, headers: Mapping[str, str], what: str, now: datetime) -> AdapterError | None:
    """The error that an answer's status calls for, None for 2xx and 3xx. `what` names the request in the message.

    401 and 403 are CredentialsRejected, 404 and 410 NotFound, 408, 425, 429 and all 5xx TransientError, the rest of 4xx
    Refused.
    """
    if status < 400:
        return None
    sentence = f"{what} answered HTTP {status}"
    if status in (401, 403):
        return CredentialsRejected(f"{sentence}: check the user, the token and what it may read")
    if status in (404, 410):
        return NotFound(sentence)
    if status in (408, 425, 429) or status >= 500:
        wait = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
        return TransientError(sentence, retry_after_s=retry_after_s(wait, now))
    return Refused(sentence)


def json_of(answer: httpx.Response, now: datetime, *keys: str) -> Any:
    """The JSON of an answer; with `keys`, an object that has them.

    Raises what `error_for` says of the status, and TransientError for anything else than that JSON: a login page, half
    of an answer.
    """
    what = f"{answer.request.method} {answer.request.url.copy_with(query=None)}"
    error = error_for(answer.status_code, answer.headers, what, now)
    if error is not None:
        raise error
    try:
        told = answer.json()
    except ValueError:
        raise TransientError(f"{what} answered HTTP {answer.status_code} with what is no JSON; check url") from None
    missing = [key for key in keys if not isinstance(told, dict) or key not in told]
    if missing:
        raise TransientError(f"{what} answered JSON without {', '.join(missing)}; check url")
    return told
