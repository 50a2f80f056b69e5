"""Buildbot's REST API, read only and distrusted: each answer is checked against what was asked. The adapter comes here.

Buildbot 4.3.0: a filter that the API does not know is dropped without a word and *all* rows come back (recording 036);
of several `buildrequestid__eq` on /builds none is applied (measured), hence `__in`; `meta.total` of a limited listing
counts that page only, hence pages end with the first short one.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import httpx

from runlink.spi import ConfigRejected, Context, NotFound, TransientError, Unreadable, error_for

Row = dict[str, Any]

PAGE_ROWS: Final = 200
"""Rows per request of a listing."""

IDS_PER_REQUEST: Final = 200
"""Keeps the query of a by-id request under 6 KiB; Twisted takes request lines of up to 16 KiB."""

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, wanted: value == wanted,
    "ge": lambda value, wanted: value >= wanted,
    "in": lambda value, wanted: value in wanted,
}


class Filter(NamedTuple):
    """`field__op=value`. With `in`, `value` is a collection; booleans are written the way Buildbot parses them."""

    field: str
    op: str
    value: Any

    def pairs(self) -> list[tuple[str, str]]:
        """The query parameters that say it."""
        values = sorted(self.value) if self.op == "in" else [self.value]
        return [(f"{self.field}__{self.op}", str(value).lower()) for value in values]

    def admits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the answer is one that was asked for. Raises KeyError or TypeError for a malformed row."""
        return _OPERATORS[self.op](row[self.field], self.value)


class Rest:
    """One engine's API. Used from one thread at a time.

    `unreadable` collects rows without a usable id; whoever makes pages takes them out with `take_unreadable`.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._user: str | None = context.config.get("user")
        self._unreadable: list[Unreadable] = []
        # Buildbot 4.3.0 writes JSON as indented text/plain to whoever does not ask for JSON.
        options: dict[str, Any] = {"headers": {"Accept": "application/json"}}
        if self._user is not None:
            options["auth"] = (self._user, context.config["password"])
        self._client: httpx.Client = context.http(**options)

    def take_unreadable(self) -> tuple[Unreadable, ...]:
        """The malformed rows met since the last call."""
        taken, self._unreadable = tuple(self._unreadable), []
        return taken

    def json(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Any:
        """The JSON under `path`, relative to the engine's address.

        Raises what `spi.error_for` names for the status, and TransientError for a redirect or a body that is not JSON
        (a proxy's login or error page, an answer cut short).
        """
        response = self._get(path, params)
        what = f"Buildbot's /{path}"
        error = error_for(response.status_code, response.headers, what, self._context.now())
        if error is not None:
            raise error
        if response.is_redirect:
            raise TransientError(f"{what} redirects elsewhere: set `url` to the address where Buildbot itself answers")
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("content-type", "no content type")
            raise TransientError(f"{what} answered {kind} that is not JSON, or is cut short") from None

    def _get(self, path: str, params: Sequence[tuple[str, str]]) -> httpx.Response:
        """Buildbot's own login (www.auth) makes a session from Basic credentials; a proxy takes them on any request."""
        response = self._client.get(path, params=list(params))
        if response.status_code in (401, 403) and self._user is not None:
            login = self._client.get("auth/login")
            if login.status_code < 400:
                response = self._client.get(path, params=list(params))
        return response

    def text(self, path: str) -> str:
        """What is under `path`, whatever it is. Raises what `spi.error_for` names for the status."""
        response = self._get(path, ())
        error = error_for(response.status_code, response.headers, f"Buildbot's /{path}", self._context.now())
        if error is not None:
            raise error
        return response.text

    @contextlib.contextmanager
    def stream(self, path: str, *, silence_s: float) -> Iterator[httpx.Response]:
        """A stream of events whose body is still to be read. TransientError after so many seconds of silence."""
        options: Any = {"headers": {"Accept": "text/event-stream"}, "timeout": httpx.Timeout(None, read=silence_s)}
        what = f"Buildbot's /{path}"
        if self._user is not None:
            self._client.get("auth/login")  # a session, where Buildbot itself asks for one
        with self._client.stream("GET", path, **options) as response:
            error = error_for(response.status_code, response.headers, what, self._context.now())
            if isinstance(error, NotFound):
                raise TransientError(f"{error}: this master, or a proxy before it, has no event stream") from error
            if error is not None:
                raise error
            kind = response.headers.get("content-type", "no content type")
            if not kind.startswith("text/event-stream"):
                raise TransientError(f"{what} answered {kind}, which is no stream of events")
            yield response

    def rows(self, collection: str, params: Sequence[tuple[str, str]] = (), *, path: str | None = None) -> list[Row]:
        """The rows of a collection, or of the item or sub-collection at `path`. Raises NotFound for a path alone."""
        try:
            answer = self.json(f"api/v2/{path or collection}", params)
        except NotFound as error:
            if path is not None:
                raise
            raise TransientError(f"{error}: is `url` the address of Buildbot's web interface?") from error
        rows = answer.get(collection) if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise TransientError(f"Buildbot's /api/v2/{path or collection} answered without a list of {collection}")
        return rows

    def pages(
        self,
        collection: str,
        key: str,
        filters: Sequence[Filter] = (),
        *,
        after: int = 0,
        extra: Sequence[tuple[str, str]] = (),
    ) -> Iterator[list[Row]]:
        """Rows by rising `key`, in pages of PAGE_ROWS that continue by key, so rows that come and go shift nothing.

        Raises ConfigRejected when the answer shows that a filter, the order or the start was ignored.
        """
        asked = [pair for each in filters for pair in each.pairs()]
        while True:
            params = [*asked, (f"{key}__gt", str(after)), ("order", key), ("limit", str(PAGE_ROWS)), *extra]
            answer = self.rows(collection, params)
            rows = [row for row in answer if self._readable(collection, key, filters, row)]
            last = after
            for row in rows:
                if row[key] <= last:
                    raise _ignored(collection, f"{key}__gt and order={key}")
                last = row[key]
            if rows:
                yield rows
            if len(answer) < PAGE_ROWS or not rows:
                return
            after = last

    def by_ids(
        self, collection: str, key: str, field: str, ids: Collection[int], *, extra: Sequence[tuple[str, str]] = ()
    ) -> list[Row]:
        """The rows whose `field` is one of `ids`, by rising `key`, in as few requests as a query's length allows."""
        wanted = sorted(set(ids))
        found: list[Row] = []
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            some = frozenset(wanted[start : start + IDS_PER_REQUEST])
            for page in self.pages(collection, key, [Filter(field, "in", some)], extra=extra):
                found += page
        return found

    def _readable(self, collection: str, key: str, filters: Sequence[Filter], row: Any) -> bool:
        try:
            if not isinstance(row[key], int):
                raise TypeError(f"{key} is {row[key]!r}")
            unasked = [each for each in filters if not each.admits(row)]
        except (KeyError, TypeError, IndexError) as error:
            self._unreadable.append(Unreadable(raw=row, reason=f"a row of {collection} that makes no sense: {error!r}"))
            return False
        if unasked:
            raise _ignored(collection, f"{unasked[0].field}__{unasked[0].op}")
        return True


def _ignored(collection: str, what: str) -> ConfigRejected:
    return ConfigRejected(
        f"Buildbot's /api/v2/{collection} ignored {what} and answered with other rows: the master is too old for this "
        "plugin (4.3.0 is known to work), or a proxy drops the query"
    )
