"""Dagster's one endpoint, POST /graphql, and the three ways in which it says no. `runs` comes here.

Dagster 1.13: HTTP 400 with `errors` for a document that it does not know (recordings 036, 044); 500, earlier 200, with
`errors` where carrying it out failed (122, 123); an object whose `__typename` ends in `Error` for what it understood
and has no answer to, with 200 (041) or 500 (121).
"""

import email.utils
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx

from runlink.spi import ConfigRejected, Context, TransientError, error_for

_BEARER: Final = "authorization"


class Answer(NamedTuple):
    """`data` of an answer; `at` is when the engine gave it by its own clock, in seconds of the epoch, None untold."""

    data: Mapping[str, Any]
    at: float | None


class QueryFailed(TransientError):
    """Dagster understood the question and failed over it: its database is away, a run cannot be read, …"""


class NoGraphQL(TransientError):
    """What answers at this address is not Dagster's GraphQL endpoint."""


class GraphQL:
    """One engine's endpoint. Used from one thread at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client: httpx.Client = context.http(**_credentials(context.config))

    def ask(self, document: str, **variables: Any) -> Answer:
        """Raises QueryFailed and NoGraphQL, what `spi.error_for` names for the status, and ConfigRejected for a
        document that this version of Dagster does not know.
        """
        response = self._client.post("graphql", json={"query": document, "variables": variables})
        body = self._body(response)
        errors = body.get("errors")
        if errors:
            raise self._refusal(response.status_code, errors)
        data = body.get("data")
        if not isinstance(data, dict):
            raise TransientError("Dagster's /graphql answered without data")
        return Answer(data, _clock(response.headers.get("date")))

    def _body(self, response: httpx.Response) -> Mapping[str, Any]:
        """The JSON object of an answer, also of a 400 or 500 that Dagster itself gave: they tell what was wrong."""
        if response.is_redirect:
            raise TransientError(
                "Dagster's /graphql redirects elsewhere: set `url` to the address where Dagster itself answers"
            )
        if response.status_code in (404, 405):
            raise NoGraphQL(
                f"/graphql answered HTTP {response.status_code}: `url` must be the address of Dagster's web interface, "
                "with its path prefix if it has one"
            )
        try:
            body = response.json()
        except ValueError:
            body = None
        error = error_for(response.status_code, response.headers, "Dagster's /graphql", self._context.now())
        is_dagsters = isinstance(body, dict) and ("data" in body or isinstance(body.get("errors"), list))
        if error is not None and not (is_dagsters and response.status_code in (400, 500)):
            raise error
        if not isinstance(body, dict):
            kind = response.headers.get("content-type", "no content type")
            raise TransientError(f"Dagster's /graphql answered {kind} that is not a JSON object, or is cut short")
        return body

    def _refusal(self, status: int, errors: Any) -> Exception:
        sentence = _message(errors[0]) if isinstance(errors, list) else _message(errors)
        if status == 400:
            return ConfigRejected(
                f"Dagster did not understand this plugin ({sentence}): its version is not one that was tried; "
                "1.13 is known to work"
            )
        return QueryFailed(f"Dagster failed over a query: {sentence}")


def result(data: Mapping[str, Any], field: str, *wanted: str) -> Mapping[str, Any]:
    """The object under `field`, whose `__typename` must be one of `wanted`. Raises QueryFailed for an error object."""
    found = data.get(field)
    if not isinstance(found, dict):
        raise QueryFailed(f"Dagster's {field} answered {found!r} in place of an object")
    kind = found.get("__typename")
    if kind not in wanted:
        raise QueryFailed(f"Dagster's {field} answered {kind}: {_message(found)}")
    return found


def _message(error: Any) -> str:
    """One line of at most 300 characters."""
    text = error.get("message") if isinstance(error, dict) else error
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _clock(date: str | None) -> float | None:
    """A `Date` header in seconds of the epoch."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def _credentials(config: Mapping[str, Any]) -> dict[str, Any]:
    if "user" in config:
        return {"auth": (config["user"], config["password"])}
    if "token" in config:
        header = config.get("token_header", "Authorization")
        value = config["token"] if header.lower() != _BEARER else f"Bearer {config['token']}"
        return {"headers": {header: value}}
    return {}
