"""Airflow's REST API v2, read only, with a token that is renewed. The adapter and `details` come here.

Airflow 3.3.2: more than 100 rows are never given, whatever `limit` says (recording 120); the only other way to list, a
POST to …/list, writes a line into the engine's audit log each time, so everything here is a GET.
"""

import email.utils
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx

from runlink.spi import (
    ConfigRejected,
    Context,
    CredentialsRejected,
    CursorExpired,
    TransientError,
    error_for,
)

Row = dict[str, Any]
Params = Sequence[tuple[str, str]]

PAGE_ROWS: Final = 100
"""Rows per request of a listing: the most that Airflow gives."""

_TOKEN_IS_NO_MORE: Final = "Invalid JWT token"  # noqa: S105 - the engine's words, with 403 (recording 004)


class NotPermitted(CredentialsRejected):
    """We are known and may not read this: 403 without a word about the token."""


class Listing(NamedTuple):
    """One page of a listing. `after` is where the next one begins, None at the end; `at` the engine's time; `total` how
    many rows there are."""

    rows: list[Row]
    after: str | None
    at: datetime
    total: int


def run_path(dag_id: str, dag_run_id: str) -> str:
    """A DAG run below /api/v2; run ids hold colons and plus signs."""
    return f"dags/{quote(dag_id, safe='')}/dagRuns/{quote(dag_run_id, safe='')}"


class Rest:
    """One engine's API. Used from one thread at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._user: str | None = context.config.get("user")
        self._given: str | None = context.config.get("token")
        self._token: str | None = self._given
        self._client: httpx.Client = context.http(headers={"Accept": "application/json"})

    def get(self, path: str, params: Params = (), *, key: str) -> Row:
        """The JSON object under `/api/v2/{path}`, which has a `key`.

        Raises what `spi.error_for` names for the status (NotPermitted for 403, CursorExpired for a page token that is
        none), and TransientError for anything else than such an object (a proxy's page, an answer cut short).
        """
        return self._json(self._answer(path, params), path, key)

    def rows(self, path: str, key: str, params: Params = ()) -> list[Row]:
        """The rows under `key` of an answer that comes in one piece. Raises as `get`."""
        return self._rows(self.get(path, params, key=key), path, key)

    def listing(self, path: str, key: str, params: Params, *, after: str | None = None) -> Listing:
        """One page of the rows under `key`, in an order that `params` must name, from the token `after` on.

        A token is the engine's own (keyset paging, `cursor=`), or `offset:N` where it knows only offsets.
        """
        start = [("offset", after[7:])] if after and after.startswith("offset:") else [("cursor", after or "")]
        answer = self._answer(path, [*params, *start, ("limit", str(PAGE_ROWS))])
        body = self._json(answer, path, key)
        rows = self._rows(body, path, key)
        total = int(body.get("total_entries") or len(rows))
        following = body.get("next_cursor")
        if "next_cursor" not in body:  # an Airflow without keyset paging
            reached = len(rows) + (int(start[0][1]) if start[0][0] == "offset" else 0)
            following = f"offset:{reached}" if rows and reached < total else None
        if following is not None and following == after:
            raise TransientError(f"Airflow's /api/v2/{path} names the same next page again")
        return Listing(rows, following, self._date(answer), total)

    def pages(self, path: str, key: str, params: Params) -> Iterator[Listing]:
        """All pages of a listing that holds still."""
        after: str | None = None
        while True:
            page = self.listing(path, key, params, after=after)
            yield page
            if (after := page.after) is None:
                return

    @staticmethod
    def _rows(body: Row, path: str, key: str) -> list[Row]:
        rows = body[key]
        if not isinstance(rows, list):
            raise TransientError(f"Airflow's /api/v2/{path} answered with {key} that is no list")
        return rows

    def _date(self, answer: httpx.Response) -> datetime:
        """The engine's time; the host's where a proxy has taken the `Date` away."""
        try:
            return email.utils.parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
        except (KeyError, ValueError, TypeError):
            return self._context.now()

    def _answer(self, path: str, params: Params) -> httpx.Response:
        """A token that has run out (401), or that another secret signed (403), is renewed once."""
        fresh = self._token is None
        if fresh:
            self._log_in()
        answer = self._ask(path, params)
        if not fresh and self._given is None and _about_the_token(answer):
            self._log_in()
            answer = self._ask(path, params)
        return answer

    def _ask(self, path: str, params: Params) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self._token}"}
        answer = self._client.get(f"api/v2/{path}", params=list(params), headers=bearer)
        # httpx leaves an answer and its stream in a circle: a hundred pages would wait for the garbage collector.
        answer.stream = httpx.ByteStream(b"")
        return answer

    def _log_in(self) -> None:
        """Without a user, the token of an Airflow that takes everybody for an administrator is asked for."""
        self._token = None
        if self._user is None:
            answer = self._client.get("auth/token")
        else:
            answer = self._client.post(
                "auth/token", json={"username": self._user, "password": self._context.config["password"]}
            )
        if answer.status_code in (404, 405):
            raise ConfigRejected(
                f"there is no /auth/token at {self._context.url}: `url` must be the address of an Airflow 3 API server "
                "(Airflow 2 has another API)"
            )
        if answer.status_code in (400, 401, 403, 422):
            raise CredentialsRejected(
                f"Airflow's /auth/token answered HTTP {answer.status_code}: check `user` and `password`"
            )
        self._token = str(self._json(answer, "auth/token", "access_token", below="")["access_token"])

    def _json(self, answer: httpx.Response, path: str, key: str, *, below: str = "api/v2/") -> Row:
        what = f"Airflow's /{below}{path}"
        if answer.status_code == 400 and "cursor" in _detail(answer).lower():
            raise CursorExpired(f"{what} does not know the page token any more")
        if answer.status_code == 403 and not _about_the_token(answer):
            raise NotPermitted(f"{what} answered HTTP 403: the user may not read it")
        if answer.status_code == 404 and not _detail(answer):
            raise TransientError(f"{what} answered HTTP 404 that is not Airflow's: is `url` right, is a proxy between?")
        error = error_for(answer.status_code, answer.headers, what, self._context.now())
        if error is not None:
            detail = _detail(answer)
            raise type(error)(f"{error} ({detail[:200]})") if detail and type(error) is not TransientError else error
        if answer.is_redirect:
            raise TransientError(f"{what} redirects elsewhere: set `url` to the address where Airflow itself answers")
        try:
            body = answer.json()
        except ValueError:
            kind = answer.headers.get("content-type", "no content type")
            raise TransientError(f"{what} answered {kind} that is not JSON, or is cut short") from None
        if not isinstance(body, dict) or key not in body:
            raise TransientError(f"{what} answered without {key}")
        return body


def _about_the_token(answer: httpx.Response) -> bool:
    return answer.status_code == 401 or (answer.status_code == 403 and _TOKEN_IS_NO_MORE in _detail(answer))


def _detail(answer: httpx.Response) -> str:
    """What Airflow says about an error; empty where the answer is not its own."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
