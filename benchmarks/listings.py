"""(h) Pages of listings and searches at 100,000 Runs and 1,000,000 instances.

Product: `uow.listings.page`, as the API calls it: rows with their ids, times and documents decoded. Baseline: the query
somebody would write by hand for the same columns of the same rows, with the same indexes (a search asks the trigrams'),
on a connection of the driver that is open already, decoded no further than the driver does, in no transaction that
would have to be ended. What is told is CPU time, of the thread and on PostgreSQL of the server's process beside it,
in nanoseconds as Linux counts them; on PostgreSQL `clock_ms` as well, which on a busy machine tells mostly how often
each side waits for its turn. `scan` tells whether the plan of the product looks at a whole table for its filter.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.databases import Postgresql, Sqlite, postgresql, sqlite
from benchmarks.measure import Figure, progress
from runlink.bootstrap import collect_less_often
from runlink.domain import Automation, Engine, OrchestrationInstance, Run
from runlink.store import SqlStore, mapping, open_store, tables
from runlink.store.bulk import Bulk

RUNS, INSTANCES, PART = 100_000, 1_000_000, 10_000
ROUNDS, WARM, LIMIT = 101, 10, 51
GOAL = "at least 0.5 of the hand-written query, no scan"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_RUN = (
    "SELECT r.*, a.name, (SELECT count(*) FROM run_orchestrations l WHERE l.run_id = r.id AND l.is_active) FROM {} "
    "JOIN automations a ON a.id = r.automation_id WHERE r.is_active AND {} ORDER BY {} DESC"
)
_INSTANCE = "SELECT i.*, e.name FROM {} JOIN engines e ON e.id = i.engine_id WHERE i.is_active AND {} ORDER BY {} DESC"
_TEXTS = {
    "sqlite": "{0}_index JOIN {0} t ON t.number = {0}_index.rowid JOIN {1} ON {2}.id = +t.{3}",
    "postgresql": "{0} t JOIN {1} ON {2}.id = t.{3}",
}
_RUN_TEXTS = ("run_texts", "runs r", "r", "run_id")
_INSTANCE_TEXTS = ("instance_texts", "orchestration_instances i", "i", "instance_id")
Asked = tuple[str, str, dict[str, Any], str, tuple[Any, ...]]
ASKED: tuple[Asked, ...] = (
    ("runs", "runs", {}, _RUN.format("runs r", "true", "r.id"), ()),
    (
        "runs_of_an_automation",
        "runs",
        {"automation": "a3"},
        _RUN.format("runs r", "r.automation_id = (SELECT id FROM automations WHERE name = ?)", "r.id"),
        ("a3",),
    ),
    ("runs_by_status", "runs", {"status": "FAILED"}, _RUN.format("runs r", "r.status = ?", "r.id"), ("FAILED",)),
    ("instances", "instances", {}, _INSTANCE.format("orchestration_instances i", "true", "i.id"), ()),
    (
        "instances_of_an_engine",
        "instances",
        {"engine": "e3"},
        _INSTANCE.format("orchestration_instances i", "i.engine_id = (SELECT id FROM engines WHERE name=?)", "i.id"),
        ("e3",),
    ),
)
SEARCHED = (  # a key; a message that one has; a workflow of which a five hundredth are; what everyone has; nothing
    ("runs_searched_by_key", "runs", "key-99999"),
    ("instances_searched_by_message", "instances", "Step 999990 failed"),
    ("instances_searched_by_workflow", "instances", "job-499"),
    ("instances_searched_for_what_all_have", "instances", "folder/job"),
    ("instances_searched_in_vain", "instances", "nowhere"),
)


def _prepare(store: SqlStore) -> None:
    automations = [Automation(name=f"a{number}") for number in range(20)]
    engines = [Engine(name=f"e{number}", type="x") for number in range(10)]
    with store.unit_of_work() as uow:
        for automation in automations:
            uow.automations.add(automation)
        for engine in engines:
            uow.engines.add(engine)
    for first in range(0, RUNS, PART):
        runs = [
            Run(automation_id=automations[n % 20].id, correlation_id=f"key-{n}", created_at=NOW)
            for n in range(first, first + PART)
        ]
        for run in runs[::7]:
            run.start(NOW)
            run.fail("it broke", NOW)
        with store.unit_of_work() as uow:
            Bulk(uow.connection).insert(tables.runs, mapping.RUN.columns, [mapping.RUN.to_row(run) for run in runs])
    for first in range(0, INSTANCES, PART):
        instances = [
            OrchestrationInstance(
                engine_id=engines[n % 10].id,
                external_id=f"b-{n}",
                workflow=f"folder/job-{n % 500}",
                message=None if n % 10 else f"step {n} failed",
                created_at=NOW,
            )
            for n in range(first, first + PART)
        ]
        rows = [mapping.INSTANCE.to_row(instance) for instance in instances]
        with store.unit_of_work() as uow:
            Bulk(uow.connection).insert(tables.orchestration_instances, mapping.INSTANCE.columns, rows)
    with store.unit_of_work() as uow:
        uow.connection.exec_driver_sql("ANALYZE")


def run() -> Iterator[Figure]:
    """A figure for each listing, on both databases."""
    for kind in (sqlite, postgresql):
        progress(f"filling in {RUNS} runs and {INSTANCES} instances")
        with kind(_prepare) as database:
            yield from _on(database)


def _on(database: Sqlite | Postgresql) -> Iterator[Figure]:
    url = database.fresh()
    collect_less_often()
    store, bare = open_store(url), database.connect(url)
    if database.name == "postgresql":
        bare.autocommit = True
    asked = [*ASKED, *(_search(database.name, *one) for one in SEARCHED)]
    for name, kind, filters, statement, values in asked:
        mark = "?" if database.name == "sqlite" else "%s"
        by_hand = f"{statement.replace('?', mark)} LIMIT {LIMIT}"
        yield _compared(f"list_{name}_{database.name}", store, bare, (kind, filters), (by_hand, values))
    bare.close()
    store.close()


def _search(database: str, name: str, kind: str, text: str) -> Asked:
    """The search, and as it would be written by hand for this database."""
    texts, template = (_RUN_TEXTS, _RUN) if kind == "runs" else (_INSTANCE_TEXTS, _INSTANCE)
    grams = [text[n : n + 3] for n in range(len(text) - 2)]
    if database == "sqlite":
        index = f"{texts[0]}_index"
        found = f"{index} MATCH ? AND instr(lower(t.text), lower(?)) > 0"
        values: tuple[Any, ...] = (" AND ".join(f'"{gram}"' for gram in grams), text)
        order = f"{index}.rowid"
    else:
        found = "runlink_trigrams(t.text) @> ? AND strpos(lower(t.text), lower(?)) > 0"
        values, order = ([gram.lower() for gram in grams], text), "t.number"
    statement = template.format(_TEXTS[database].format(*texts), found, order)
    return name, kind, {"search": text}, statement, values


def _compared(
    name: str, store: SqlStore, bare: Any, asked: tuple[str, dict[str, Any]], by_hand: tuple[str, tuple[Any, ...]]
) -> Figure:
    kind, filters = asked
    with store.glance() as uow:
        plan = uow.listings.plan(kind, filters, limit=LIMIT)
        mine, other = Spent(uow.connection.connection.driver_connection), Spent(bare)
    for _ in range(WARM + ROUNDS):
        with mine.measured(), store.glance() as uow:
            rows = uow.listings.page(kind, filters, limit=LIMIT)
        with other.measured():
            found = bare.execute(*by_hand).fetchall()
        assert [str(row["id"]).replace("-", "") for row in rows] == [str(row[0]).replace("-", "") for row in found]
    more: dict[str, Any] = {"rows": len(found), "scan": bool(filters) and any(map(_is_scan, plan))}
    if mine.server is not None:
        more |= {"clock_ms": mine.clock_ms(), "baseline_clock_ms": other.clock_ms()}
    ours, theirs = mine.cpu_ms(), other.cpu_ms()
    return Figure(name, ours, "ms of CPU per page", theirs, theirs / ours, GOAL, more)


class Spent:
    """What the rounds of one side cost: the thread's CPU time, and that of the server's process of its connection."""

    def __init__(self, connection: Any) -> None:
        pid = connection.info.backend_pid if hasattr(connection, "info") else None
        self.server = None if pid is None else Path(f"/proc/{pid}/schedstat")
        self._cpu_s: list[float] = []
        self._clock_s: list[float] = []

    @contextmanager
    def measured(self) -> Iterator[None]:
        """One round."""
        server, clock, mine = self._server_s(), time.perf_counter(), time.thread_time()
        yield
        mine, clock = time.thread_time() - mine, time.perf_counter() - clock
        self._cpu_s.append(mine + self._server_s() - server)
        self._clock_s.append(clock)

    def _server_s(self) -> float:
        return 0.0 if self.server is None else int(self.server.read_text("ascii").split()[0]) / 1e9

    def cpu_ms(self) -> float:
        """The median of the rounds, but for the first, in which plans are made."""
        return statistics.median(self._cpu_s[WARM:]) * 1000

    def clock_ms(self) -> float:
        """As `cpu_ms`, on the clock."""
        return statistics.median(self._clock_s[WARM:]) * 1000


def _is_scan(step: str) -> bool:
    """Whether a step looks at a whole table that is large (links there are none). FTS5 calls a look-up a scan, too."""
    return bool(
        re.search(r"SCAN (?!automations|engines|\w+ VIRTUAL)|Seq Scan on (?!automations|engines|run_orch)", step)
    )
