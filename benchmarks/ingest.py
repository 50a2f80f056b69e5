"""(a) 20,000 observations through the one write path, against the raw driver writing the same rows.

Product: `store.write(lambda uow: ingest(…))`, pages of 1,000, 4,000 Runs found by key, linked, rolled up, events in the
outbox. Baseline: `baselines.raw_driver`, the same observations into the same schema with the same indexes and the same
durability, but without the index of texts, which it has no use for. Both are told all 20,000 as new, and then again
with 1 % changed. The final tables are compared, all but the random ids and what an upsert cannot know (which fields
changed, and from which status).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from benchmarks import databases, observations
from benchmarks.baselines import raw_driver
from benchmarks.measure import Figure, compared, cpu, progress
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.application.policy import Policy
from runlink.application.rules.rules import Rules
from runlink.application.settings import LinkRule
from runlink.bootstrap import collect_less_often
from runlink.domain import Automation, Engine, Run
from runlink.spi import Page
from runlink.store import SqlStore, open_store

ROUNDS = 3
GOAL = "at least 0.5 of the raw driver"
ACTOR = "engine:jenkins"
RULE = LinkRule(name="release", automation="release", run_key="parameters.RUN_ID")
FIRST_AT = observations.T0 + timedelta(hours=8)
SECOND_AT = FIRST_AT + timedelta(seconds=15)


def run() -> Iterator[Figure]:
    """Both databases."""
    collect_less_often()  # as in every runlink process; the baseline has the good of it too
    with databases.sqlite(_prepare) as files:
        yield from _on(files)
    with databases.postgresql(_prepare) as server:
        yield from _on(server)


def _prepare(store: SqlStore) -> None:
    """An engine, an automation, and the Runs that the observations name."""
    with store.unit_of_work("bench") as uow:
        automation = Automation(name="release")
        uow.automations.add(automation)
        uow.engines.add(Engine(name="jenkins", type="jenkins", url="https://jenkins.example.org"))
        keys = [observations.run_key(number * observations.INSTANCES_PER_RUN) for number in range(observations.RUNS)]
        made_at = observations.T0 - timedelta(hours=1)
        runs = [Run(automation_id=automation.id, correlation_id=key, created_at=made_at) for key in keys]
        uow.ledger.insert_runs(runs, "bench")


def _on(database: databases.Sqlite | databases.Postgresql) -> Iterator[Figure]:
    first = observations.first()
    second = observations.second(first)
    seconds: dict[tuple[str, str], list[float]] = {}
    durability = wrote = ""
    for number in range(ROUNDS):
        states = []
        for who, write in (("product", _product), ("baseline", _baseline)):
            url = database.fresh()
            durability = durability or database.durability(url)
            for part, spent, rows in write(database, url, first, second):
                seconds.setdefault((who, part), []).append(spent)
                if (who, part) == ("product", "changed"):
                    wrote = rows
            if number == 0:
                states.append(_state(url))
            database.drop(url)
        if states:
            _compare(*states)
        progress(f"ingest on {database.name}, round {number + 1} of {ROUNDS}")
    changed = observations.ROWS // observations.OPEN_EVERY
    for part, more in (("new", {}), ("changed", {"rows_written": wrote, "changed": changed})):
        yield compared(
            f"ingest_{part}_{database.name}",
            seconds["product", part],
            seconds["baseline", part],
            rows=observations.ROWS,
            unit="observations per CPU-second",
            goal=GOAL,
            **more,
            settings=durability,
        )


def _product(database: Any, url: str, first: Any, second: Any) -> Iterator[tuple[str, float, Any]]:
    store = open_store(url)
    with store.reading() as uow:
        engine = uow.engines.list()[0]
        rules = Rules((RULE,), uow.ledger.automation_ids(["release"]))
    for part, told, at in (("new", first, FIRST_AT), ("changed", second, SECOND_AT)):
        read = Read(feed="poll", began_at=at - timedelta(seconds=1))
        before = _counted(store)
        with cpu(database.server_pid) as spent:
            for page in observations.pages(told):
                whole = Page(observations=page)
                store.write(lambda uow: ingest(uow, rules, engine, whole, read, at), actor=ACTOR)  # noqa: B023
        after = _counted(store)
        written = {name: count for name in after if (count := after[name] - before.get(name, 0))}
        yield part, spent(), written
    store.close()


def _baseline(database: Any, url: str, first: Any, second: Any) -> Iterator[tuple[str, float, Any]]:
    connection = database.connect(url)
    ids = [connection.execute(f"SELECT id FROM {table}").fetchone()[0] for table in ("engines", "automations")]
    context = raw_driver.Context(
        *(getattr(found, "hex", found) for found in ids), ACTOR, RULE.name, timedelta(seconds=Policy().quiet_s)
    )
    connection.commit()
    databases.forget_search(connection, database.name)
    write = raw_driver.write_sqlite if database.name == "sqlite" else raw_driver.write_postgresql
    for part, told, at in (("new", first, FIRST_AT), ("changed", second, SECOND_AT)):
        with cpu(database.server_pid) as spent:
            write(connection, observations.pages(told), context, at - timedelta(seconds=1), at)
        yield part, spent(), None
    connection.close()


def _counted(store: SqlStore) -> dict[str, int]:
    """Rows written so far: SQLite tells them per connection, PostgreSQL per table."""
    if store.writing.dialect.name == "sqlite":
        with store.unit_of_work() as uow:
            driver: Any = uow.connection.connection.dbapi_connection
            return {"all tables": driver.total_changes}
    with store.unit_of_work() as uow:
        uow.connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    store.writing.dispose()  # a backend that ends has reported everything
    query = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd > 0"
    with store.unit_of_work() as uow:
        return {name: int(count) for name, count in uow.connection.exec_driver_sql(query)}


# --- the comparison of what was stored -------------------------------------------------------------------------------
_INSTANCES = ", ".join(n for n in raw_driver.INSTANCE if n not in ("id", "engine_id", "created_by", "observed_at"))
_STATE = {
    "instances": f"SELECT {_INSTANCES}, observed_at FROM orchestration_instances ORDER BY external_id",
    "attempts": "SELECT i.external_id, a.number, a.status, a.native_status, a.started_at, a.finished_at, a.message, "
    "a.url FROM instance_attempts a JOIN orchestration_instances i ON i.id = a.instance_id ORDER BY 1, 2",
    "observations": "SELECT i.external_id, o.observed_at, o.recorded_at, o.feed, o.attempt, o.status, o.native_status, "
    "o.digest FROM observations o JOIN orchestration_instances i ON i.id = o.instance_id ORDER BY 1, 2",
    "links": "SELECT i.external_id, r.correlation_id, k.attached_at, k.rule, k.key, k.created_by, k.version, "
    "k.is_active FROM run_orchestrations k JOIN orchestration_instances i ON i.id = k.orchestration_instance_id "
    "JOIN runs r ON r.id = k.run_id ORDER BY 1, 2",
    "runs": "SELECT correlation_id, status, started_at, finished_at, quiet_until, version, updated_by FROM runs "
    "ORDER BY 1",
    "outbox": "SELECT type, occurred_at, recorded_at, data, actor FROM outbox ORDER BY sequence",
}


def _state(url: str) -> dict[str, list[Any]]:
    store = open_store(url)
    found: dict[str, list[Any]] = {}
    with store.unit_of_work() as uow:
        for name, query in _STATE.items():
            rows = [[_plain(v) for v in row] for row in uow.connection.execute(sa.text(query))]
            found[name] = sorted(map(_event, rows), key=repr) if name == "outbox" else rows
    store.close()
    return found


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _event(row: list[Any]) -> list[Any]:
    data = json.loads(row[3]) if isinstance(row[3], str) else row[3]
    random = ("orchestration_instance_id", "run_id", "run_orchestration_id", "engine_id", "automation_id")
    kept = {k: v for k, v in data.items() if k not in (*random, "previous_status", "passed", "because")}
    because = {k: v for k, v in (data.get("because") or {}).items() if k not in random}
    return [*row[:3], row[4], sorted(kept.items()), sorted(because.items())]


def _compare(product: dict[str, list[Any]], baseline: dict[str, list[Any]]) -> None:
    for name, rows in product.items():
        assert len(rows) == len(baseline[name]), f"{name}: {len(rows)} rows against {len(baseline[name])}"
        for ours, theirs in zip(rows, baseline[name], strict=True):
            assert ours == theirs, f"{name} differ:\n{ours}\n{theirs}"
