"""An Airflow in memory that answers as the recorded one did, traps included, and the story it was recorded in.

`airflow` is that Airflow behind respx; `airflow.at(7)` sets its tables to the seventh moment. What it does with filters
and page tokens is `get_dag_runs` and `get_task_instances` of Airflow 3.3.2; `test_fake.py` holds it to recordings.
"""

import base64
import email.utils
import functools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import respx

from runlink.testing import Host, hosts
from runlink_airflow import AirflowAdapter

URL = "http://airflow.test"
END = 14
MOST_ROWS = 100
RECORDINGS = Path(__file__).with_name("recordings")
LOGIN = {"user": "runlink", "password": "s3cret-word"}
Row = dict[str, Any]


@functools.cache
def recording(name: str) -> Row:
    """The one recorded exchange whose file name begins with `name`."""
    (path,) = RECORDINGS.glob(f"{name}*.json")
    exchange: Row = json.loads(path.read_text("utf-8"))
    return exchange


def rows(name: str) -> list[Row]:
    """The rows of a recorded answer, or the one row it is."""
    body = recording(name)["response"]["json"]
    lists = [value for key, value in body.items() if isinstance(value, list) and key != "dag_versions"]
    return lists[0] if "dag_run_id" not in body else [body]


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


class FakeAirflow:
    """`runs`: rows of the API, each with `_id` and `_updated_at` beside, which are in the database and in no answer.

    `faults` may answer in its place: called with the request, None passes it on. `now` is the engine's clock.
    """

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.runs: list[Row] = []
        self.tasks: list[Row] = []
        self.tries: list[Row] = []
        self.events: list[Row] = []
        self.xcoms: dict[tuple[str, str, str], str] = {}
        self.now = datetime(2026, 11, 23, 14, 34, tzinfo=UTC)
        self.tokens = 0
        self.valid: set[str] = set()
        self.keyset = True
        self.faults: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    # --- the story -----------------------------------------------------------------------------------------------

    def at(self, number: int) -> None:
        """The tables of a moment of the recorded story, 1 to END."""
        self.now = self._time(number)
        runs = {(row["dag_id"], row["dag_run_id"]): row for row in rows(STORY[min(number, 8)])}
        for since, name in CHANGES:
            if number >= since:
                (row,) = rows(name)
                runs[row["dag_id"], row["dag_run_id"]] = row
        if number == 11:  # recorded when it had ended
            paused = next(row for row in runs.values() if row["dag_id"] == "paused_pipeline")
            ended = rows("110")[0] | {"state": "running", "end_date": None}
            runs[paused["dag_id"], paused["dag_run_id"]] = ended
        if number >= 13:
            del runs["ok_pipeline", "rl-0007"]
        self.runs = []
        for row in sorted(runs.values(), key=lambda row: row["run_after"]):
            self.add(row)
        self._tasks_at(number)

    def _time(self, number: int) -> datetime:
        name = (
            STORY[number] if number <= 8 else {9: "092", 10: "103_after_clear_1", 11: "103_after_clear_2"}.get(number)
        )
        name = name or {12: "110", 13: "123", 14: "124"}[number]
        return datetime.fromisoformat(recording(name)["recorded_at"]) + timedelta(seconds=number == 14)

    def add(self, row: Row) -> Row:
        """One more run, touched when its state last changed, or just now if it runs."""
        touched = row["end_date"] or row["queued_at"]
        updated = self.now if row["state"] == "running" else moment(touched)
        kept = row | {"_id": len(self.runs) + 1, "_updated_at": updated}
        self.runs.append(kept)
        return kept

    def _tasks_at(self, number: int) -> None:
        """As they were by their times, from what was recorded at the end."""
        final = [*rows("070"), *rows("072"), *rows("073"), *rows("075")]
        final += [row for row in rows("076") if row["dag_run_id"] == "rl-0007"]
        final += rows("093") if number >= 9 else rows("074")
        final += rows("104") if number >= 10 else rows("071")
        there = {(row["dag_id"], row["dag_run_id"]) for row in self.runs}
        second = timedelta(seconds=1)  # moments were recorded in whole seconds
        self.tries = [row for row in [*rows("079"), *rows("105")] if moment(row["end_date"]) < self.now + second]
        self.tasks = [self._then(row) for row in final if (row["dag_id"], row["dag_run_id"]) in there]
        flaky = TRY_FILES.get(number)
        if flaky is not None:
            self.tasks = [row for row in self.tasks if row["task_id"] != "flaky"] + rows(flaky)
        if number == 10:  # as recorded in 141: cleared, with the times of the try before
            boom = next(row for row in rows("071") if row["task_id"] == "boom")
            cleared = boom | {"state": None, "max_tries": 1}
            self.tasks = [row for row in self.tasks if row["task_id"] != "boom"] + [cleared]

    def _then(self, row: Row) -> Row:
        start, end = moment(row["start_date"]), moment(row["end_date"])
        if start is not None and start > self.now:
            return row | {"state": None, "start_date": None, "end_date": None, "try_number": 0}
        if end is not None and end > self.now:
            return row | {"state": "running", "end_date": None}
        return row

    # --- REST ----------------------------------------------------------------------------------------------------

    def answer(self, request: httpx.Request) -> httpx.Response:
        """With the engine's clock in the `Date`, as uvicorn writes it."""
        self.requests.append(request)
        fault = self.faults(request)
        if fault is not None:
            return fault
        if request.url.path == "/auth/token":
            return self._token(request)
        status, body = self._authorised(request)
        dated = {"date": email.utils.format_datetime(self.now.replace(microsecond=0), usegmt=True)}
        return httpx.Response(status, json=body, headers=dated)

    def _token(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and json.loads(request.content) != {
            "username": LOGIN["user"],
            "password": LOGIN["password"],
        }:
            return httpx.Response(401, json={"detail": "Invalid credentials"})
        self.tokens += 1
        self.valid = {f"token-{self.tokens}"}
        return httpx.Response(201, json={"access_token": f"token-{self.tokens}"})

    def _authorised(self, request: httpx.Request) -> tuple[int, Any]:
        given = request.headers.get("authorization")
        if given is None:
            return 401, {"detail": "Not authenticated"}
        if given.removeprefix("Bearer ") not in self.valid:
            return 403, {"detail": "Invalid JWT token"}
        path = [unquote(part) for part in request.url.raw_path.decode().split("?")[0].split("/")[3:]]
        return self._rest(path, request.url.params)

    def _rest(self, path: list[str], params: httpx.QueryParams) -> tuple[int, Any]:
        match path:
            case ["version"]:
                return 200, recording("005")["response"]["json"]
            case ["monitor", "health"]:
                return 200, recording("006")["response"]["json"]
            case ["eventLogs"]:
                return self._event_logs(params)
            case ["dags", "~", "dagRuns"]:
                return self._list("dag_runs", self._matching(params), params)
            case ["dags", dag_id, "dagRuns", run_id]:
                return self._run(dag_id, run_id)
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances"]:
                if (missing := self._run(dag_id, run_id))[0] == 404:
                    return missing
                return self._list("task_instances", self._of(self.tasks, dag_id, run_id), params)
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, *index, "tries"]:
                return self._tries(dag_id, run_id, task_id, int(index[0]) if index else -1)
            case ["dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "xcomEntries", "trigger_run_id"]:
                value = self.xcoms.get((dag_id, run_id, task_id))
                return (200, {"value": value}) if value else (404, {"detail": "XCom entry with key … not found"})
        return 404, {"detail": "Not Found"}

    @staticmethod
    def _of(table: list[Row], dag_id: str, run_id: str) -> list[Row]:
        return [row for row in table if (row["dag_id"], row["dag_run_id"]) == (dag_id, run_id)]

    def _run(self, dag_id: str, run_id: str) -> tuple[int, Any]:
        for row in self._of(self.runs, dag_id, run_id):
            return 200, _shown(row)
        return 404, {"detail": f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"}

    def _tries(self, dag_id: str, run_id: str, task_id: str, index: int) -> tuple[int, Any]:
        """The past ones first; one that waits for its next try is among these, with its end."""

        def mine(table: list[Row]) -> list[Row]:
            return [
                row for row in self._of(table, dag_id, run_id) if (row["task_id"], row["map_index"]) == (task_id, index)
            ]

        current = mine(self.tasks)
        latest = current[0]["try_number"] if current else 0
        waits = bool(current) and current[0]["state"] in (None, "up_for_retry")
        past = [row for row in mine(self.tries) if row["try_number"] < latest + waits]
        return 200, {"task_instances": past + [row for row in current if row["state"] != "up_for_retry"]}

    def _matching(self, params: httpx.QueryParams) -> list[Row]:
        since = moment(params.get("updated_at_gte"))
        states = params.get_list("state")
        found = [row for row in self.runs if since is None or row["_updated_at"] >= since]
        return [row for row in found if not states or row["state"] in states]

    def _list(self, key: str, table: list[Row], params: httpx.QueryParams) -> tuple[int, Any]:
        limit = min(int(params.get("limit", 50)), MOST_ROWS)
        order = params.get("order_by", "id").replace("updated_at", "_updated_at")
        order = "_id" if order == "id" and key == "dag_runs" else order
        found = sorted(table, key=lambda row: (row[order], row.get("_id", 0)))
        total = {"total_entries": len(found)}
        if "cursor" not in params or not self.keyset:
            start = int(params.get("offset", 0))
            return 200, {key: [_shown(row) for row in found[start : start + limit]], **total}
        if params["cursor"]:
            try:
                after = json.loads(base64.urlsafe_b64decode(params["cursor"]))
            except ValueError:
                return 400, {"detail": "Invalid cursor token"}
            found = [row for row in found if [_key(row[order]), row.get("_id", 0)] > after]
        page, more = found[:limit], len(found) > limit
        token = json.dumps([_key(page[-1][order]), page[-1].get("_id", 0)]) if more else None
        following = None if token is None else base64.urlsafe_b64encode(token.encode()).decode()
        return 200, {key: [_shown(row) for row in page], "next_cursor": following, "previous_cursor": None, **total}

    def _event_logs(self, params: httpx.QueryParams) -> tuple[int, Any]:
        names, after, before = params.get_list("included_events"), params.get("after"), params.get("before")
        found = [row for row in self.events if not names or row["event"] in names]
        found = [row for row in found if after is None or moment(row["when"]) > moment(after)]
        found = [row for row in found if before is None or moment(row["when"]) < moment(before)]
        found.sort(key=lambda row: -row["event_log_id"])
        start, limit = int(params.get("offset", 0)), min(int(params.get("limit", 50)), MOST_ROWS)
        return 200, {"event_logs": found[start : start + limit], "total_entries": len(found)}

    def paths(self) -> list[str]:
        """The paths asked for since the last call, without the query."""
        taken, self.requests = self.requests, []
        return [unquote(request.url.path).removeprefix("/api/v2/") for request in taken]


STORY = {1: "040_poll_updated_00", 2: "040_poll_updated_02", 3: "040_poll_updated_03", 4: "040_poll_updated_04"}
STORY |= {5: "040_poll_updated_05", 6: "040_poll_updated_06", 7: "040_poll_updated_07", 8: "050"}
CHANGES = [(9, "092"), (10, "103_after_clear_1"), (11, "103_after_clear_2"), (12, "103_after_clear_3"), (12, "110")]
CHANGES += [(13, "123"), (14, "124")]
TRY_FILES = {1: "041_retry_ti_01", 2: "041_retry_ti_02", 3: "041_retry_ti_03", 4: "041_retry_ti_04"}
TRY_FILES |= {5: "041_retry_ti_06", 6: "041_retry_ti_06"}


def _key(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith("_")}


@pytest.fixture
def airflow() -> Iterator[FakeAirflow]:
    fake = FakeAirflow()
    with respx.mock(assert_all_called=False) as router:

        def answer(request: httpx.Request) -> httpx.Response:
            return fake.answer(request)  # looked up each time: a test may put its own in its place

        router.route(host="airflow.test").mock(side_effect=answer)
        yield fake


@pytest.fixture
def make_host(airflow: FakeAirflow) -> Iterator[Callable[..., Host]]:
    """Makes hosts with the fake's clock, whose look-back window begins a day before the recorded story."""
    since = datetime.fromisoformat("2026-11-22T14:34:00+00:00")
    with hosts(AirflowAdapter, URL, now=lambda: airflow.now, since=since, config=LOGIN) as make:
        yield make


@pytest.fixture
def make_adapter(make_host: Callable[..., Host]) -> Callable[..., AirflowAdapter]:
    return lambda **options: make_host(**options).adapter


@pytest.fixture
def adapter(make_host: Callable[..., Host]) -> AirflowAdapter:
    built: AirflowAdapter = make_host().adapter
    return built


@pytest.fixture
def recorded() -> Callable[[str], Row]:
    return recording


@pytest.fixture
def recorded_rows() -> Callable[[str], list[Row]]:
    return rows


@pytest.fixture
def run_row() -> Callable[..., Row]:
    """Makes a run of DAG `etl` that is queued; `at` is a second of the story's minute 14:40."""

    def make(number: int, at: int = 0, **changes: Any) -> Row:
        queued = (datetime(2026, 11, 23, 14, 40, tzinfo=UTC) + timedelta(seconds=at)).isoformat()
        row = rows("097")[0] | {"dag_id": "etl", "dag_run_id": f"r{number}", "queued_at": queued, "run_after": queued}
        return row | changes

    return make


@pytest.fixture
def patch_line() -> Callable[..., Row]:
    """Makes a line of the audit log as in recording 144: somebody set the state of a run by hand."""

    def make(dag_id: str, run_id: str, when: str, state: str = "failed") -> Row:
        line = next(row for row in rows("144") if row["event"] == "patch_dag_run")
        extra = json.dumps({"state": state, "method": "PATCH"})
        return line | {"dag_id": dag_id, "run_id": run_id, "when": when, "owner": "admin", "extra": extra}

    return make
