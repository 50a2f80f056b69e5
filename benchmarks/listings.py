"""(h) Pages of listings at 100,000 Runs and 1,000,000 instances, on SQLite.

Product: `uow.listings.page`, as the API calls it. Baseline: the query somebody would write by hand for the same rows,
on a connection of sqlite3 that is open already, rows decoded no further than the driver does. `scan` tells whether the
plan of the product looks at a whole table for what it filters by.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from benchmarks.databases import sqlite
from benchmarks.measure import Figure, progress
from runlink.domain import Automation, Engine, OrchestrationInstance, Run
from runlink.store import SqlStore, mapping, open_store, tables
from runlink.store.bulk import Bulk

RUNS, INSTANCES, PART = 100_000, 1_000_000, 50_000
ROUNDS, LIMIT = 15, 51
GOAL = "at least 0.5 of the hand-written query, no scan"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED: tuple[tuple[str, str, dict[str, Any], str, tuple[Any, ...]], ...] = (
    ("runs", "runs", {}, "SELECT * FROM runs ORDER BY id DESC", ()),
    (
        "runs_of_an_automation",
        "runs",
        {"automation": "a3"},
        "SELECT * FROM runs WHERE automation_id = (SELECT id FROM automations WHERE name = ?) ORDER BY id DESC",
        ("a3",),
    ),
    (
        "runs_by_status",
        "runs",
        {"status": "PENDING"},
        "SELECT * FROM runs WHERE status = ? ORDER BY id DESC",
        ("PENDING",),
    ),
    ("instances", "instances", {}, "SELECT * FROM orchestration_instances ORDER BY id DESC", ()),
    (
        "instances_of_an_engine",
        "instances",
        {"engine": "e3"},
        "SELECT * FROM orchestration_instances WHERE engine_id = (SELECT id FROM engines WHERE name=?) ORDER BY 1 DESC",
        ("e3",),
    ),
    (
        "runs_searched",
        "runs",
        {"search": "key-99999"},
        "SELECT * FROM runs WHERE correlation_id LIKE '%'||?||'%' ORDER BY id DESC",
        ("key-99999",),
    ),
    (
        "instances_searched_in_vain",
        "instances",
        {"search": "nowhere"},
        "SELECT * FROM orchestration_instances WHERE workflow LIKE '%'||?1||'%' OR message LIKE '%'||?1||'%'",
        ("nowhere",),
    ),
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


def run() -> Iterator[Figure]:
    """A figure for each listing."""
    progress(f"filling in {RUNS} runs and {INSTANCES} instances")
    with sqlite(_prepare) as database:
        url = database.fresh()
        store, bare = open_store(url), database.connect(url)
        for name, kind, filters, statement, values in ASKED:
            yield _compared(store, bare, name, kind, filters, f"{statement} LIMIT {LIMIT}", values)
        bare.close()
        store.close()


def _compared(
    store: SqlStore,
    bare: sqlite3.Connection,
    name: str,
    kind: str,
    filters: dict[str, Any],
    statement: str,
    values: tuple[Any, ...],
) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        with store.reading() as uow:
            rows = uow.listings.page(kind, filters, limit=LIMIT)
        ours.append(time.thread_time() - began)
        began = time.thread_time()
        found = bare.execute(statement, values).fetchall()
        theirs.append(time.thread_time() - began)
        assert len(rows) == len(found)
    mine, other = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    more = {"rows": len(found), "scan": _scans(store, kind, filters)}
    return Figure(f"list_{name}", mine, "ms of CPU per page", other, other / mine, GOAL, more)


def _scans(store: SqlStore, kind: str, filters: dict[str, Any]) -> bool:
    """Whether the plan looks at a whole table for what it filters by; a page in the order of its key is no scan."""
    with store.reading() as uow:
        query = uow.listings.query(kind, filters, None, LIMIT)
        text = query.compile(dialect=uow.connection.dialect, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in uow.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    return bool(filters) and any(step.startswith("SCAN") and "automations" not in step for step in plan)
