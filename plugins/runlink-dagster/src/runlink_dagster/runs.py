"""The questions that are asked of Dagster, and their answers as rows. The adapter and `details` come here.

Dagster lists runs by creation, newest first, whatever the filter; a cursor is the id of the last run read. Traps of
1.13: a cursor whose run was deleted gives an empty page without an error (recording 039), so each further page is asked
for together with that run; an empty `runIds` and an `updatedAfter` of 0 filter nothing (tried).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from runlink_dagster.graphql import GraphQL, result

Row = Mapping[str, Any]

PAGE_RUNS: Final = 100
"""Runs per request of a listing."""

EVENTS_READ: Final = 1_000
"""Events of one failed run that are looked through for what went wrong, from its beginning."""

OPEN: Final = ("QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "SUSPENDED", "CANCELING")

_RUN: Final = """runId status jobName tags { key value } runConfig parentRunId rootRunId creationTime updateTime
      startTime endTime repositoryOrigin { repositoryName repositoryLocationName } assetSelection { path }"""

_LIST: Final = f"""query RunlinkRuns(
  $filter: RunsFilter!, $cursor: String, $limit: Int!, $last: ID!, $go_on: Boolean!
) {{
  runsOrError(filter: $filter, cursor: $cursor, limit: $limit) {{
    __typename
    ... on Runs {{ results {{
      {_RUN}
    }} }}
    ... on Error {{ message }}
  }}
  runOrError(runId: $last) @include(if: $go_on) {{ __typename }}
}}"""

_DETAILS: Final = """query RunlinkDetails($filter: RunsFilter!, $limit: Int!, $events: Int!, $failed: Boolean!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results {
      runId
      stepStats { stepKey status startTime endTime attempts { startTime endTime } }
      eventConnection(limit: $events) @include(if: $failed) { events {
        __typename
        ... on ExecutionStepFailureEvent { stepKey error { ...told } }
        ... on RunFailureEvent { message error { ...told } }
        ... on RunCanceledEvent { message }
      } }
    } }
    ... on Error { message }
  }
}
fragment told on PythonError { className message errorChain { error { message } } }"""

_CHECK: Final = "query RunlinkCheck { version runsOrError(limit: 1) { __typename ... on Error { message } } }"

_DAEMONS: Final = """query RunlinkDaemons {
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}"""


class Listing(NamedTuple):
    """One page. `at` is the engine's clock when it was read; `is_last` says that no older run is left."""

    rows: Sequence[Row]
    at: float | None
    is_last: bool


class Runs:
    """What is asked of one engine. Used from one thread at a time."""

    def __init__(self, graphql: GraphQL) -> None:
        self._graphql = graphql

    def listing(self, wanted: Mapping[str, Any], after: str | None = None) -> Iterator[Listing]:
        """The runs that a RunsFilter selects, newest first, from the one after `after` on.

        Where the run to go on from has been deleted, it goes on from one that was read before it, or from the newest:
        some runs then come twice, none is left out.
        """
        trail = [] if after is None else [after]
        while True:
            last = trail[-1] if trail else ""
            answer = self._graphql.ask(
                _LIST, filter=wanted, cursor=last or None, limit=PAGE_RUNS, last=last, go_on=bool(last)
            )
            if last and answer.data["runOrError"]["__typename"] != "Run":
                trail.pop()
                continue
            rows = result(answer.data, "runsOrError", "Runs")["results"]
            is_last = len(rows) < PAGE_RUNS
            yield Listing(rows, answer.at, is_last)
            if is_last:
                return
            trail = [row["runId"] for row in rows]

    def by_ids(self, run_ids: Collection[str]) -> list[Row]:
        """Those of these runs that Dagster has; at most PAGE_RUNS may be asked for."""
        if not run_ids:
            return []
        wanted = {"runIds": sorted(run_ids)}
        answer = self._graphql.ask(_LIST, filter=wanted, cursor=None, limit=PAGE_RUNS, last="", go_on=False)
        return list(result(answer.data, "runsOrError", "Runs")["results"])

    def missing(self, run_ids: Sequence[str]) -> set[str]:
        """Those of which Dagster itself says, asked for each alone, that it does not have them; in one request."""
        names = {f"r{number}": run_id for number, run_id in enumerate(run_ids)}
        parameters = ", ".join(f"${name}: ID!" for name in names)
        fields = " ".join(f"{name}: runOrError(runId: ${name}) {{ __typename }}" for name in names)
        data = self._graphql.ask(f"query RunlinkMissing({parameters}) {{ {fields} }}", **names).data
        found = {name: result(data, name, "Run", "RunNotFoundError")["__typename"] for name in names}
        return {names[name] for name, kind in found.items() if kind == "RunNotFoundError"}

    def details(self, run_ids: Collection[str], *, failed: bool) -> dict[str, Row]:
        """Steps by run id, and with `failed` the events that say what went wrong."""
        wanted = {"runIds": sorted(run_ids)}
        answer = self._graphql.ask(_DETAILS, filter=wanted, limit=len(run_ids), events=EVENTS_READ, failed=failed)
        return {row["runId"]: row for row in result(answer.data, "runsOrError", "Runs")["results"]}

    def version(self) -> str:
        """Dagster's version; proves that runs may be read."""
        data = self._graphql.ask(_CHECK).data
        result(data, "runsOrError", "Runs")
        return str(data.get("version") or "unknown")

    def sleeping_daemons(self) -> list[str]:
        """The daemons that this instance needs and that do not run."""
        daemons = self._graphql.ask(_DAEMONS).data["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [str(one["daemonType"]) for one in daemons if one["required"] and one["healthy"] is False]
