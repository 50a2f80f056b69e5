"""A Prefect in memory: tables, and the answers that 3.9.1 gives from them, traps included. `test_fake.py` holds it to
the recordings.
"""

import base64
import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

Row = dict[str, Any]
Answer = tuple[int, Any]

SORTS: Mapping[str, tuple[str, bool]] = {
    "ID_DESC": ("id", True),
    "START_TIME_ASC": ("start_time", False),
    "START_TIME_DESC": ("start_time", True),
    "EXPECTED_START_TIME_ASC": ("expected_start_time", False),
    "EXPECTED_START_TIME_DESC": ("expected_start_time", True),
    "END_TIME_DESC": ("end_time", True),
}
FLOW_RUN_FILTERS = {"id", "state", "tags", "idempotency_key", "start_time", "expected_start_time", "end_time"}
COLLECTIONS = ("flows", "deployments", "flow_runs", "task_runs")
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


@functools.lru_cache(100_000)
def moment(text: str) -> datetime:
    """A time as anybody writes it."""
    return datetime.fromisoformat(text)


class Tables:
    """`rows` by collection, `states` by run, `events` in any order. `version` None is a Prefect without events."""

    def __init__(self, url: str = "http://prefect.test") -> None:
        self.url = url
        self.rows: dict[str, list[Row]] = {name: [] for name in COLLECTIONS}
        self.states: dict[str, list[Row]] = {}
        self.events: list[Row] = []
        self.has_events_api = True
        self.now = "2026-11-23T14:42:30Z"

    # --- answers -------------------------------------------------------------------------------------------------

    def answer(self, method: str, parts: Sequence[str], query: Mapping[str, str], body: Any) -> Answer:
        """Status and JSON. `parts` are those of the path after `/api`."""
        match method, *parts:
            case "GET", "admin", "version":
                return 200, "3.9.1"
            case "GET", "health":
                return 200, True
            case "POST", "events", "filter" if self.has_events_api:
                return self._filter_events(body or {})
            case "GET", "events", "filter", "next" if self.has_events_api:
                return self._next_events(query)
            case "POST", ("flows" | "deployments" | "flow_runs" | "task_runs") as name, "filter":
                return self._filter(name, body or {})
            case "GET", "flow_runs", id_:
                found = [row for row in self.rows["flow_runs"] if row["id"] == id_]
                return (200, found[0]) if found else (404, {"detail": "Flow run not found"})
            case "GET", ("flow_run_states" | "task_run_states") as name:
                run = query[name.replace("_states", "_id")]
                return 200, self.states.get(run, [])
        return 404, {"detail": "Not Found"}

    def _filter(self, name: str, body: Row) -> Answer:
        if body.get("limit", 200) > 200:
            return 422, {"detail": "Invalid limit: must be less than or equal to 200."}
        sort = body.get("sort", "ID_DESC")
        if name in ("flow_runs", "task_runs") and sort not in SORTS:
            return 422, {"exception_message": "Invalid request received.", "exception_detail": [{"input": sort}]}
        found = list(self.rows[name])
        for collection, filters in body.items():
            if collection in COLLECTIONS:
                tests = list(_tests(name, collection, filters))
                if None in tests:
                    detail = [{"type": "extra_forbidden", "loc": ["body", collection]}]
                    return 422, {"exception_message": "Invalid request received.", "exception_detail": detail}
                found = [row for row in found if all(test is not None and test(row) for test in tests)]
        if name in ("flow_runs", "task_runs"):
            field, descending = SORTS[sort]
            with_value = [row for row in found if _sort_value(row, field) is not None]
            without = [row for row in found if _sort_value(row, field) is None]
            with_value.sort(key=lambda row: (str(_sort_value(row, field)), row["id"]), reverse=descending)
            found = with_value + without if descending else without + with_value
        start = body.get("offset", 0)
        return 200, found[start : start + body.get("limit", 200)]

    # --- events --------------------------------------------------------------------------------------------------

    def _filter_events(self, body: Row) -> Answer:
        if body.get("limit", 50) > 50:
            return 422, {"exception_message": "Invalid request received.", "exception_detail": [{"loc": ["limit"]}]}
        asked = body.get("filter", {})
        occurred = {"since": "2026-01-01T00:00:00Z", "until": self.now} | asked.get("occurred", {})
        return self._page_of_events(asked | {"occurred": occurred}, body.get("limit", 50), 0)

    def _next_events(self, query: Mapping[str, str]) -> Answer:
        try:
            token = json.loads(base64.b64decode(query["page-token"]))
        except (ValueError, KeyError):
            return 403, {"detail": "Forbidden"}
        return self._page_of_events(token["filter"], token["size"], token["offset"])

    def _page_of_events(self, asked: Row, size: int, offset: int) -> Answer:
        found = sorted(self.select_events(asked), key=lambda event: moment(event["occurred"]))
        if asked.get("order", "DESC") == "DESC":
            found.reverse()
        page = {"events": found[offset : offset + size], "total": len(found), "next_page": None}
        if offset + size < len(found):
            token = json.dumps({"filter": asked, "size": size, "offset": offset + size})
            query = urlencode({"page-token": base64.b64encode(token.encode()).decode()})
            page["next_page"] = f"{self.url}/api/events/filter/next?{query}"
        return 200, page

    def select_events(self, asked: Row) -> list[Row]:
        """Those that a filter lets pass, as the stream does, too."""
        names = asked.get("event", {})
        since, until = (moment(asked["occurred"][name]) for name in ("since", "until"))
        return [
            event
            for event in self.events
            if since <= moment(event["occurred"]) <= until
            and event["event"] not in names.get("exclude_name", ())
            and any(event["event"].startswith(prefix) for prefix in names.get("prefix", [""]))
        ]


def _sort_value(row: Row, field: str) -> Any:
    if field == "start_time":  # coalesced, so that what waits for its time comes among what has begun
        return row["start_time"] or row["expected_start_time"]
    return row[field]


def _tests(name: str, collection: str, filters: Row) -> Iterator[Callable[[Row], bool] | None]:
    """None for a filter that Prefect forbids."""
    if name == "task_runs" and collection == "flow_runs":
        ids = set(filters["id"]["any_"])
        yield lambda row: row["flow_run_id"] in ids
        return
    for field, test in filters.items():
        if collection == "flow_runs" and field not in FLOW_RUN_FILTERS:
            yield None
        elif field == "state":
            types, names = (test.get(key, {}).get("any_") for key in ("type", "name"))
            others = test.get("type", {}).get("not_any_", ())
            yield lambda row, types=types: types is None or row["state_type"] in types
            yield lambda row, others=others: row["state_type"] not in others
            yield lambda row, names=names: names is None or row["state_name"] in names
        elif field == "tags":
            yield lambda row, tags=test["all_"]: set(tags) <= set(row["tags"])
        elif "any_" in test:
            yield lambda row, field=field, ids=frozenset(test["any_"]): row[field] in ids
        else:
            yield _within(field, test)


def _within(field: str, test: Row) -> Callable[[Row], bool]:
    """A time between limits, both inclusive. None is within no limits."""
    after, before = (moment(test[name]) if name in test else None for name in ("after_", "before_"))
    null = test.get("is_null_")

    def within(row: Row) -> bool:
        value = row[field]
        if value is None:
            return null is not False and after is None and before is None
        if null:
            return False
        at = moment(value)
        return (after is None or at >= after) and (before is None or at <= before)

    return within


def json_of(body: bytes) -> Any:
    """A request's body, None if it has none."""
    with contextlib.suppress(ValueError):
        return json.loads(body)
    return None
