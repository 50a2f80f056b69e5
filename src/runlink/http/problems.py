"""Every error as RFC 9457 problem details. Whoever answers a request comes here; docs/reference/http-api.md has a
heading for each type.

`type` is `urn:runlink:problem:NAME`; programs decide by it, and never by `detail`, which is for people.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import Response

from runlink.application.errors import AlreadyExists, FenceLost, Missing
from runlink.domain import ConcurrencyError, DomainError, InvalidStateError, ValidationError
from runlink.store import StoreError, outage

log = logging.getLogger(__name__)

URN: Final = "urn:runlink:problem:"
MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5


class Kind(NamedTuple):
    """A type of problem."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "invalid-request": Kind(400, "The request is not what the specification says"),
        "unauthenticated": Kind(401, "A token, or another proof of who asks, is needed"),
        "forbidden": Kind(403, "The token does not allow this"),
        "csrf": Kind(403, "The write does not come from runlink's own page"),
        "not-found": Kind(404, "There is no such thing"),
        "method-not-allowed": Kind(405, "This cannot be done here"),
        "timeout": Kind(408, "The request took too long to arrive"),
        "already-exists": Kind(409, "The name or key is taken"),
        "invalid-state": Kind(409, "The present state does not allow this"),
        "stale-version": Kind(412, "Somebody else changed it first"),
        "too-large": Kind(413, "The request is too large"),
        "unsupported-media-type": Kind(415, "The body is not of a type that is taken here"),
        "misdirected": Kind(421, "This host name is not runlink's"),
        "refused": Kind(422, "A value is not acceptable"),
        "unknown-reference": Kind(422, "The body names something that is not there"),
        "idempotency-key-reused": Kind(422, "The idempotency key belongs to another request"),
        "version-required": Kind(428, "The version that is to be changed must be named"),
        "too-many-requests": Kind(429, "Too many requests"),
        "internal": Kind(500, "A bug in runlink"),
        "store-unavailable": Kind(503, "The store does not answer"),
    }
)


class Problem(Exception):
    """A request that is answered with a problem. `more` are further members of the document."""

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: Sequence[str] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers)
        self.more = more

    @property
    def status(self) -> int:
        """The status code."""
        return KINDS[self.name].status

    def response(self) -> Response:
        """The answer."""
        kind = KINDS[self.name]
        document = {"type": URN + self.name, "title": kind.title, "status": kind.status, "detail": self.detail}
        if self.errors:
            document["errors"] = list(self.errors)
        body = msgspec.json.encode({**document, **self.more})
        return Response(body, kind.status, headers=self.headers, media_type=MEDIA_TYPE)


def problem_of(error: BaseException, *, about_body: bool = False) -> Problem:
    """What an error is to a client. `about_body`: what is missing is something that the body names.

    A bug is logged with its traceback, and told without a word of it.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, DomainError):
        return _refusal(error, about_body=about_body)
    trouble = str(error) if isinstance(error, StoreError) else outage(error)
    if trouble is not None:
        log.warning("the store does not answer: %s", trouble)
        return store_unavailable()
    log.error("a bug of runlink", exc_info=error)
    return Problem("internal", "this is a bug in runlink; its log says more")


def store_unavailable() -> Problem:
    """The store is gone for now."""
    return Problem(
        "store-unavailable",
        f"the store does not answer; nothing was written, try again in {RETRY_AFTER_S} s",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _refusal(error: DomainError, *, about_body: bool) -> Problem:
    text = str(error)
    if isinstance(error, Missing):
        return Problem("unknown-reference" if about_body else "not-found", text)
    if isinstance(error, AlreadyExists):
        return Problem("already-exists", text)
    if isinstance(error, InvalidStateError):
        return Problem("invalid-state", text)
    if isinstance(error, ConcurrencyError):
        return Problem("stale-version", text)
    if isinstance(error, FenceLost):
        return store_unavailable()
    return Problem("refused", text, errors=error.problems if isinstance(error, ValidationError) else ())
