"""Prefect's REST API, read only: every question is a POST of a filter, and answers are checked. The adapter comes here.

Prefect 3.9.1: at most 200 rows and 50 events at a time, more is refused with 422; a page token of the events freezes
`until`, and its `next_page` names the server as it sees itself, so only the token is used.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

from runlink.spi import ConfigRejected, Context, NotFound, TransientError, Unreadable, error_for
from runlink_prefect.events import Event, read_event
from runlink_prefect.tries import time_of

Row = dict[str, Any]

PAGE_ROWS: Final = 200
"""Rows per request of a listing, the most that Prefect gives."""

PAGE_EVENTS: Final = 50
"""Events per request, the most that Prefect gives."""

EVENT_NAMES: Final = {"prefix": ["prefect.flow-run."], "exclude_name": ["prefect.flow-run.heartbeat"]}
"""The events that tell of a flow run's state. A running flow also sends a heartbeat every 30 s."""

_NAMED: Final[Mapping[str, Any]] = {"id": str, "name": str}
_RUN: Final[Mapping[str, Any]] = {
    "id": str,
    "name": str,
    "state_id": str,
    "state_type": str,
    "state_name": str,
    "run_count": int,
    "state": dict,
    "start_time": datetime,
    "end_time": datetime,
    "expected_start_time": datetime,
}
_SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "flows": _NAMED,
    "deployments": _NAMED,
    "flow_runs": {**_RUN, "flow_id": str, "auto_scheduled": bool, "empirical_policy": dict, "created": datetime},
    "task_runs": {**_RUN, "flow_run_run_count": int, "dynamic_key": str},
}
"""What is relied on, by collection. `datetime` is a time as Prefect writes it, or null."""


class Rest:
    """One engine's API. Used from one thread at a time.

    What makes no sense is set aside; whoever makes pages takes it out with `take_unreadable`.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._prefix = "" if "/api/" in f"{urlsplit(context.url).path}/" else "api/"
        self._client: httpx.Client = context.http(**_authentication(context.config))
        self._csrf: dict[str, str] = {}
        self._date: str | None = None
        self._unreadable: list[Unreadable] = []

    @property
    def client(self) -> httpx.Client:
        """The client, for the websocket, which begins as a request."""
        return self._client

    def path(self, path: str) -> str:
        """A path of the API, relative to the engine's address, which may end in `/api` or not."""
        return self._prefix + path

    @property
    def engine_now(self) -> datetime:
        """The engine's clock at its last answer (whole seconds), or else ours."""
        try:
            return parsedate_to_datetime(self._date or "").astimezone(UTC)
        except ValueError:
            return self._context.now()

    def take_unreadable(self) -> tuple[Unreadable, ...]:
        """What was set aside since the last call."""
        taken, self._unreadable = tuple(self._unreadable), []
        return taken

    def set_aside(self, raw: Any, reason: str) -> None:
        """Keeps what made no sense for the next page."""
        id_ = raw.get("id") if isinstance(raw, dict) else None
        self._unreadable.append(Unreadable(raw=raw, reason=reason, external_id=id_ if isinstance(id_, str) else None))

    # --- requests ------------------------------------------------------------------------------------------------

    def json(self, path: str, *, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """The JSON that a path answers, asked for with POST when there is a body.

        Raises what `spi.error_for` names for the status, ConfigRejected for a filter that this Prefect does not know
        (422), and TransientError for a redirect or a body that is not JSON (a proxy's page, an answer cut short).
        """
        response = self._send(path, body, params)
        what = f"Prefect's /{self.path(path)}"
        if response.status_code == 422:
            raise ConfigRejected(
                f"{what} refused the question ({response.text[:300]}): this Prefect is too old or too new for the "
                "plugin; 3.9.1 is known to work"
            )
        error = error_for(response.status_code, response.headers, what, self._context.now())
        if error is not None:
            raise error
        if response.is_redirect:
            raise TransientError(f"{what} redirects elsewhere: set `url` to the address where Prefect itself answers")
        self._date = response.headers.get("date", self._date)
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("content-type", "no content type")
            raise TransientError(f"{what} answered {kind} that is not JSON, or is cut short") from None

    def _send(self, path: str, body: Any, params: Mapping[str, str] | None) -> httpx.Response:
        """A server with CSRF protection refuses a POST without its token, and says so; it is asked for then."""

        def once() -> httpx.Response:
            if body is None:
                return self._client.get(self.path(path), params=params)
            return self._client.post(self.path(path), json=body, headers=self._csrf)

        response = once()
        if response.status_code == 403 and "CSRF" in response.text:
            client = str(uuid.uuid4())
            token = self._client.get(self.path("csrf-token"), params={"client": client})
            if token.status_code == 200:
                self._csrf = {"Prefect-Csrf-Token": token.json()["token"], "Prefect-Csrf-Client": client}
                response = once()
        return response

    # --- rows ----------------------------------------------------------------------------------------------------

    def rows(self, collection: str, body: Mapping[str, Any]) -> list[Row]:
        """The rows of one question, at most PAGE_ROWS; those that make no sense are set aside."""
        return self._readable(collection, self._list(collection, body))

    def _list(self, collection: str, body: Mapping[str, Any]) -> list[Any]:
        try:
            answer = self.json(f"{collection}/filter", body={"limit": PAGE_ROWS, **body})
        except NotFound as error:
            raise TransientError(f"{error}: is `url` the address of a Prefect server (PREFECT_API_URL)?") from error
        if not isinstance(answer, list):
            raise TransientError(f"Prefect's /{self.path(collection)}/filter answered without a list")
        return answer

    def _readable(self, collection: str, answer: Sequence[Any]) -> list[Row]:
        rows = []
        for row in answer:
            try:
                _check(row, _SHAPES[collection])
            except (KeyError, TypeError, ValueError) as error:
                self.set_aside(row, f"a row of {collection} that makes no sense: {error!r}")
            else:
                rows.append(row)
        return rows

    def by_ids(self, collection: str, ids: Sequence[str]) -> dict[str, Row]:
        """Id to row, for those that are there."""
        found: dict[str, Row] = {}
        for start in range(0, len(ids), PAGE_ROWS):
            some = list(ids[start : start + PAGE_ROWS])
            found.update((row["id"], row) for row in self.rows(collection, {collection: {"id": {"any_": some}}}))
        return found

    def flow_runs(
        self, filters: Mapping[str, Any], field: str, bound: str, sort: str, start: str | None = None
    ) -> Iterator[list[Row]]:
        """Flow runs in the order of a time `field`, each once. Pages continue by that time (`bound`: `after_` or
        `before_`, both inclusive), so that rows that come and go meanwhile shift nothing."""
        place, offset, told = start, 0, frozenset[str]()
        while True:
            limits = {} if place is None else {field: {**filters.get(field, {}), bound: place}}
            body = {"flow_runs": {**filters, **limits}, "sort": sort, "offset": offset}
            answer = self._list("flow_runs", body)
            rows = self._readable("flow_runs", answer)
            fresh = [row for row in rows if row["id"] not in told]
            if fresh:
                yield fresh
            if len(answer) < PAGE_ROWS or not rows:
                return
            last = rows[-1][field]
            ties = frozenset(row["id"] for row in rows if row[field] == last)
            if last is None or last == place:  # more rows of one time than a page holds
                told, offset = told | ties, offset + PAGE_ROWS
            else:
                place, told, offset = last, ties, 0

    # --- events --------------------------------------------------------------------------------------------------

    def events(self, since: datetime) -> Iterator[list[Event]]:
        """The events of flow runs since then, oldest first, in pages. Raises NotFound where there is no such API."""
        body = {"filter": {"event": EVENT_NAMES, "occurred": {"since": since.isoformat()}, "order": "ASC"}}
        answer = self.json("events/filter", body=body | {"limit": PAGE_EVENTS})
        while True:
            yield self._events_in(answer)
            token = parse_qs(urlsplit(answer.get("next_page") or "").query).get("page-token")
            if not token:
                return
            answer = self._next_events(token[0])

    def _next_events(self, token: str) -> Any:
        """A token is refused with 403 as well, which is no refusal of who we are: the next poll makes a new one."""
        response = self._client.get(self.path("events/filter/next"), params={"page-token": token})
        if response.status_code == 403:
            raise TransientError("Prefect's /api/events/filter/next refused the token that it gave")
        error = error_for(response.status_code, response.headers, "Prefect's events", self._context.now())
        if error is not None:
            raise error
        try:
            return response.json()
        except ValueError:
            raise TransientError("Prefect's /api/events/filter/next answered with what is not JSON") from None

    def newest_event(self) -> Event | None:
        """The newest event of a flow run. Raises NotFound where there is no such API."""
        body = {"filter": {"event": EVENT_NAMES, "order": "DESC"}, "limit": 1}
        return next(iter(self._events_in(self.json("events/filter", body=body))), None)

    def _events_in(self, answer: Any) -> list[Event]:
        raw = answer.get("events") if isinstance(answer, dict) else None
        if not isinstance(raw, list):
            raise TransientError("Prefect's /api/events/filter answered without a list of events")
        events = []
        for each in raw:
            try:
                events.append(read_event(each))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self.set_aside(each, f"an event that makes no sense: {error!r}")
        return events


def _check(row: Any, shape: Mapping[str, Any]) -> None:
    for name, kind in shape.items():
        if kind is datetime:
            time_of(row[name])
        elif not isinstance(row[name], kind):
            raise TypeError(f"{name} is {row[name]!r}")
    if "state" in shape:
        time_of(row["state"]["timestamp"])


def _authentication(config: Mapping[str, Any]) -> dict[str, Any]:
    if key := config.get("api_key"):
        return {"headers": {"Authorization": f"Bearer {key}"}}
    user, _, password = config.get("auth_string", "").partition(":")
    return {"auth": (user, password)} if user or password else {}
