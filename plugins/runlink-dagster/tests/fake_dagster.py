"""A Dagster in memory that answers as the recorded one did, traps included, and the story it was recorded in.

Its GraphQL is the real language over the part of the real schema in `schema.graphql`, so a document that Dagster would
refuse is refused here. What it does with filters and cursors is `SqlRunStorage` of Dagster 1.13.28; `test_fake.py`
holds it to recordings.
"""

import email.utils
import functools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import graphql
import httpx

HERE = Path(__file__).parent
SCHEMA = graphql.build_schema((HERE / "schema.graphql").read_text("utf-8"))
MOMENTS = 12
Row = dict[str, Any]


def recording(name: str) -> Row:
    """The one recorded exchange whose file name begins with `name`."""
    (path,) = (HERE / "recordings").glob(f"{name}*.json")
    exchange: Row = json.loads(path.read_text("utf-8"))
    return exchange


def rows(name: str) -> list[Row]:
    """The runs of a recorded listing, or the one run that was asked for."""
    data = recording(name)["response"]["json"]["data"]
    return data["runsOrError"]["results"] if "runsOrError" in data else [data["runOrError"]]


def full(row: Mapping[str, Any]) -> Row:
    """A recorded row with the fields that the recorded question did not ask for. The older ones gave the configuration
    as YAML; that of `ok_job` is written out here."""
    config = {"ops": {"extract": {"config": {"run_id": "rl-0001"}}}} if "rl-0001" in str(row) else {}
    origin = {"repositoryName": "__repository__", "repositoryLocationName": "dagster_defs.py"}
    base = {"runConfig": config, "assetSelection": None, "repositoryOrigin": origin, "stepStats": [], "events": []}
    return base | dict(row)


class FakeDagster:
    """`runs`: oldest first. `faults` may answer in its place: called with the request, None passes it on.

    `clock` is the engine's, in seconds of the epoch; None leaves the Date header out. `broken` are ids of runs whose
    event log cannot be read. `prefix` is what the webserver's `--path-prefix` says.
    """

    schema = SCHEMA

    def __init__(self) -> None:
        self.requests: list[Row] = []
        self.runs: list[Row] = []
        self.clock: float | None = 1_795_445_031.0
        self.broken: set[str] = set()
        self.version = "1.13.28"
        self.prefix = ""
        self.daemons = recording("101")["response"]["json"]["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
        self.faults: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.before_each: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        """Its clock; where it shows none, that of the story's first moment."""
        return datetime.fromtimestamp(1_795_445_031.0 if self.clock is None else self.clock, UTC)

    def at(self, moment: int) -> None:
        """The runs of a recorded moment: 1 to 9 as polled; 10 while the long one runs; 11 once it was terminated; 12
        after a re-execution of the failed one."""
        if moment <= 9:
            listed = rows(f"020_poll_updated_{moment:02}")
        else:
            listed = rows("030") + rows("031")[-1:] + [row for row in rows("020_poll_updated_09") if is_ok(row)]
        self.runs = [full(row) for row in reversed(listed)]
        if moment >= 11:
            self._end_of_long(rows("051_terminate_2")[0])
        if moment >= 12:
            self._again(recording("054")["response"]["json"]["data"]["launchRunReexecution"]["run"])
        self.clock = max(row["updateTime"] for row in self.runs) + 1

    def _end_of_long(self, ended: Row) -> None:
        events = [
            {"__typename": "ExecutionStepFailureEvent", "stepKey": "sleepy", "message": "", "error": INTERRUPTION},
            {"__typename": "RunCanceledEvent", "message": 'Execution of run for "long_job" canceled.', "error": None},
        ]
        (long,) = (row for row in self.runs if row["runId"] == ended["runId"])
        long |= {key: ended[key] for key in ("status", "updateTime", "stepStats")}
        long |= {"endTime": ended["updateTime"], "events": events}

    def _again(self, launched: Row) -> None:
        """Of 054 the answer to the launch was recorded; its times are made up."""
        (parent,) = (row for row in self.runs if row["runId"] == launched["parentRunId"])
        at = 1_795_445_300.25
        self.runs.append(
            full(parent) | launched | {"creationTime": at, "updateTime": at, "startTime": None, "endTime": None}
        )
        self.runs[-1]["stepStats"] = []

    # --- HTTP ----------------------------------------------------------------------------------------------------

    def answer(self, request: httpx.Request) -> httpx.Response:
        """As the webserver of 1.13.28 does."""
        self.requests.append(json.loads(request.content) if request.method == "POST" and request.content else {})
        self.before_each()
        fault = self.faults(request)
        if fault is not None:
            return fault
        if request.url.path != f"{self.prefix}/graphql":
            if request.method == "POST":
                return httpx.Response(405, headers={"allow": "HEAD, GET"})
            return httpx.Response(200, headers={"content-type": "text/html"}, text="<!DOCTYPE html>")
        headers = {} if self.clock is None else {"date": email.utils.formatdate(self.clock, usegmt=True)}
        status, body = self.ask(self.requests[-1]["query"], self.requests[-1].get("variables") or {})
        return httpx.Response(status, json=body, headers=headers)

    def ask(self, document: str, variables: Mapping[str, Any]) -> tuple[int, Row]:
        """400 for what is no valid document, 500 for what fails under way."""
        parsed, wrong = _read(self.schema, document)
        if wrong:
            return 400, {"data": None, "errors": [error.formatted for error in wrong]}
        done = graphql.execute(self.schema, parsed, _Root(self), variable_values=dict(variables))
        assert isinstance(done, graphql.ExecutionResult)
        body: Row = {"data": done.data}
        if done.errors:
            body["errors"] = [error.formatted for error in done.errors]
        return (500 if done.errors else 200), body

    def asked(self) -> list[str]:
        """The names of the questions asked since the last call."""
        taken, self.requests = self.requests, []
        return [one["query"].split()[1].split("(")[0].removeprefix("Runlink") if one else "" for one in taken]

    # --- storage -------------------------------------------------------------------------------------------------

    def select(self, wanted: Mapping[str, Any], cursor: str | None, limit: int | None) -> list[Row]:
        """Newest first; an empty or zero filter is none; a cursor of no run selects nothing."""
        found = list(reversed(self.runs))
        if cursor:
            places = [place for place, row in enumerate(found) if row["runId"] == cursor]
            found = found[places[0] + 1 :] if places else []
        if wanted.get("runIds"):
            found = [row for row in found if row["runId"] in wanted["runIds"]]
        if wanted.get("statuses"):
            found = [row for row in found if row["status"] in wanted["statuses"]]
        if wanted.get("updatedAfter"):
            found = [row for row in found if row["updateTime"] > wanted["updatedAfter"]]
        return found[:limit] if limit else found

    def find(self, run_id: str) -> Row | None:
        """The run of this id."""
        return next((row for row in self.runs if row["runId"] == run_id), None)


@functools.cache
def _read(schema: graphql.GraphQLSchema, document: str) -> tuple[graphql.DocumentNode, list[graphql.GraphQLError]]:
    try:
        parsed = graphql.parse(document)
    except graphql.GraphQLSyntaxError as error:
        return graphql.DocumentNode(), [error]
    return parsed, graphql.validate(schema, parsed)


INTERRUPTION = {
    "message": "dagster._core.errors.DagsterExecutionInterruptedError\n",
    "className": "DagsterExecutionInterruptedError",
    "errorChain": [],
}


def is_ok(row: Mapping[str, Any]) -> bool:
    return bool(row["jobName"] == "ok_job")


class _Root:
    """The resolvers: methods of the root, dicts below."""

    def __init__(self, engine: FakeDagster) -> None:
        self._engine = engine
        self.version = engine.version
        self.instance = {"daemonHealth": {"allDaemonStatuses": engine.daemons}}

    def runsOrError(  # noqa: N802 - Dagster's name
        self,
        _info: Any,
        filter: Any = None,  # noqa: A002 - Dagster's name
        cursor: str | None = None,
        limit: int | None = None,
    ) -> Row:
        found = self._engine.select(filter or {}, cursor, limit)
        return {"__typename": "Runs", "results": [self._run(row) for row in found], "count": len(found)}

    def runOrError(self, _info: Any, runId: str) -> Row:  # noqa: N802, N803 - Dagster's names
        row = self._engine.find(runId)
        if row is not None:
            return self._run(row)
        return {"__typename": "RunNotFoundError", "message": f"Pipeline run {runId} could not be found."}

    def _run(self, row: Row) -> Row:
        def step_stats(_info: Any) -> Any:
            if row["runId"] in self._engine.broken:
                raise ValueError(f"Event logs invalid for run id {row['runId']}")
            return row["stepStats"]

        def events(_info: Any, afterCursor: str | None = None, limit: int | None = None) -> Row:  # noqa: N803
            return {"events": row["events"][:limit], "hasMore": False, "cursor": ""}

        return row | {"__typename": "Run", "stepStats": step_stats, "eventConnection": events}
