"""A Buildbot in memory that answers as the recorded one did, traps included, and the story it was recorded in.

`FakeBuildbot().at(7)` sets its tables to the seventh recorded moment. What it does with filters is
`resultspec_from_jsonapi` and `ResultSpec.apply` of Buildbot 4.3.0; `test_fake.py` holds it to recordings.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

END = 14
RECORDINGS = Path(__file__).with_name("recordings")
STEPS = {1: "fail_1", 2: "long_1", 3: "ok_1", 4: "parent_1", 5: "retry_1", 6: "child1_1", 7: "child2_1", 8: "retry_2"}
STEPS[9] = "retry_3"
KEYS = {"builders": "builderid", "masters": "masterid", "buildsets": "bsid", "builds": "buildid"}
KEYS |= {"buildrequests": "buildrequestid", "steps": "stepid"}
OPERATORS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "ne": lambda value, want: value != want[0],
    "lt": lambda value, want: value < want[0],
    "le": lambda value, want: value <= want[0],
    "gt": lambda value, want: value > want[0],
    "ge": lambda value, want: value >= want[0],
    "eq": lambda value, want: value in want,
    "in": lambda value, want: value in want,
}
Row = dict[str, Any]


def recording(name: str) -> Row:
    """The one recorded exchange whose file name begins with `name`."""
    (path,) = RECORDINGS.glob(f"{name}*.json")
    exchange: Row = json.loads(path.read_text("utf-8"))
    return exchange


def rows(name: str) -> list[Row]:
    """The rows of a recorded answer."""
    body = recording(name)["response"]["json"]
    return next(body[key] for key in body if key != "meta")


class FakeBuildbot:
    """`tables`: collection -> rows. `faults` may answer in its place: called with the request, None passes it on.

    `now` is its clock, which no answer shows.
    """

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 14, 49, tzinfo=UTC)
        self.requests: list[httpx.Request] = []
        self.tables: dict[str, list[Row]] = {name: [] for name in KEYS}
        self.tables |= {"masters": rows("002"), "builders": rows("004")}
        self.faults: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    def at(self, moment: int) -> None:
        """The tables of a recorded moment, 1 to 13, or END."""
        requests_file, builds_file = (
            ("069", "068") if moment == END else (f"020_poll_{moment:02}_buildrequests", f"020_poll_{moment:02}_builds")
        )
        properties = {row["buildrequestid"]: row["properties"] for row in rows("038")}
        self.tables["buildrequests"] = [
            row | {"properties": properties.get(row["buildrequestid"], {})} for row in rows(requests_file)
        ]
        self.tables["builds"] = [
            row | {"properties": row["properties"] | {"workername": ["w1", "Worker"]}} for row in rows(builds_file)
        ]
        self.tables["buildsets"] = list(
            {row["buildsetid"]: self._buildset(row) for row in self.tables["buildrequests"]}.values()
        )
        self.now = datetime.fromisoformat(recording(builds_file)["recorded_at"])
        seen_at = self.now.timestamp()
        self.tables["steps"] = [
            step for build in self.tables["builds"] for step in self._steps(build["buildid"], seen_at, moment)
        ]

    def _buildset(self, request: Row) -> Row:
        """Recorded once (040), and for the children in a push; the others differ in id and reason only."""
        child = recording("push_child1_start")["request"]["body"]["buildset"]
        if request["waited_for"]:
            return rows("040")[0] | {
                "bsid": request["buildsetid"],
                "reason": child["reason"],
                "parent_buildid": 4,
                "parent_relationship": child["parent_relationship"],
            }
        return rows("040")[0] | {"bsid": request["buildsetid"], "reason": f"reason {request['buildsetid']}"}

    def _steps(self, build: int, seen_at: float, moment: int) -> list[Row]:
        """Recorded after the end; as they were earlier by their times."""
        if build not in STEPS:
            return []
        steps = rows("063" if (build, moment) == (2, END) else f"050_steps_{STEPS[build]}")
        return [
            step
            if step["complete_at"] is None or step["complete_at"] <= seen_at
            else step | {"complete": False, "complete_at": None, "results": None}
            for step in steps
            if step["started_at"] <= seen_at
        ]

    # --- REST ----------------------------------------------------------------------------------------------------

    def answer(self, request: httpx.Request) -> httpx.Response:
        """As `renderRest` of 4.3.0 does."""
        self.requests.append(request)
        fault = self.faults(request)
        if fault is not None:
            return fault
        if request.url.path == "/config":
            return httpx.Response(200, json={"versions": [["Python", "3.11.7"], ["Buildbot", "4.3.0"]]})
        path = request.url.path.removeprefix("/api/v2/").split("/")
        status, body = self._rest(path, request.url.params)
        kind = "application/json" if "application/json" in request.headers["accept"] else "text/plain"
        return httpx.Response(status, content=json.dumps(body), headers={"content-type": f"{kind}; charset=utf-8"})

    def _rest(self, path: list[str], params: httpx.QueryParams) -> tuple[int, Row]:
        name, table = path[-1], self.tables.get(path[-1])
        if len(path) == 2 and path[0] in KEYS:
            found = [row for row in self.tables[path[0]] if row[KEYS[path[0]]] == int(path[1])]
            return (200, {path[0]: found, "meta": {}}) if found else (404, {"error": "not found while getting …"})
        if table is None or (len(path) == 1 and name == "steps"):
            return 404, {"error": f"Invalid path: {'/'.join(path)}"}
        if len(path) == 3:
            table = [row for row in table if row["buildid"] == int(path[1])]
        try:
            found = self._select(name, table, params)
        except ValueError as error:
            return 400, {"error": str(error)}
        return 200, {name: found, "meta": {"total": len(found)}}

    def _select(self, name: str, table: list[Row], params: httpx.QueryParams) -> list[Row]:
        found = list(table)
        for key in params:
            values = params.get_list(key)
            field, _, op = key.rpartition("__") if "__" in key else (key, "", "eq")
            if key in ("order", "limit", "offset", "property"):
                continue
            if op not in OPERATORS or (table and field not in table[0]):
                if "__" in key:
                    continue  # the trap: dropped without a word
                raise ValueError(f"unrecognized query parameter '{key}'")
            if (name, field, op, len(values) > 1) == ("builds", "buildrequestid", "eq", True):
                continue  # popIntegerFilter takes it away and gives nothing back
            try:
                wanted = [{"true": True, "false": False}.get(value, value) for value in values]
                wanted = [value if isinstance(value, bool) else int(value) for value in wanted]
            except ValueError:
                raise ValueError(f"invalid filter value for {key}") from None
            found = [row for row in found if row[field] is not None and OPERATORS[op](row[field], wanted)]
        for order in params.get_list("order")[:1]:
            found.sort(key=lambda row: row[order.lstrip("-")], reverse=order.startswith("-"))
        start = int(params.get("offset", 0))
        found = found[start : start + int(params["limit"])] if "limit" in params else found[start:]
        asked = params.get_list("property")
        return [self._with_properties(row, asked) for row in found]

    @staticmethod
    def _with_properties(row: Row, asked: list[str]) -> Row:
        if "properties" not in row:
            return row
        if not asked:
            return row | {"properties": {} if "buildid" in row else None}
        return row | {"properties": {k: v for k, v in row["properties"].items() if "*" in asked or k in asked}}

    def paths(self) -> list[str]:
        """The paths asked for since the last call, without the query."""
        taken, self.requests = self.requests, []
        return [request.url.path.removeprefix("/api/v2/") for request in taken]
