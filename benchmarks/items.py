"""(g) A fan-out of 10,000 items through the one write path, against the raw driver writing the same rows.

Product: `store.write(lambda uow: ingest(…))`, one page with one instance of 10,000 steps, an item rule that makes an
item of each, payloads checked against the Automation's schema, batch, executions and history behind them. Baseline:
`baselines.raw_items`, the same observation into the same schema with the same durability, nothing checked. Both are
told all 10,000 as new, and then again with 1 % changed; the final tables are compared, all but random ids and versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from benchmarks import databases, observations
from benchmarks.baselines import raw_driver, raw_items
from benchmarks.ingest import _plain
from benchmarks.measure import Figure, compared, cpu, progress
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.application.policy import Policy
from runlink.application.rules.rules import Rules
from runlink.application.settings import ItemRule, LinkRule
from runlink.bootstrap import collect_less_often
from runlink.domain import Automation, Engine, Run
from runlink.spi import ExecutionStatus, Observation, Page, Step
from runlink.store import SqlStore, open_store

ROUNDS = 5
ITEMS = 10_000
CHANGED = ITEMS // 100
GOAL = "at least 0.5 of the raw driver"
ACTOR = "engine:airflow"
T0 = observations.T0
FIRST_AT, SECOND_AT = T0 + timedelta(hours=8), T0 + timedelta(hours=8, seconds=15)
LINK = LinkRule(name="orders", automation="orders", run_key="parameters.RUN_ID")
ITEM = ItemRule(name="orders", each="steps", payload="inputs", create=True)
SCHEMA = {
    "type": "object",
    "properties": {
        "order": {"type": "string", "minLength": 1},
        "lines": {"type": "integer", "minimum": 1},
        "express": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["order", "lines"],
    "additionalProperties": False,
}


def run() -> Iterator[Figure]:
    """Both databases."""
    collect_less_often()
    with databases.sqlite(_prepare) as files:
        yield from _on(files)
    with databases.postgresql(_prepare) as server:
        yield from _on(server)


def _prepare(store: SqlStore) -> None:
    """An engine, an automation with a schema, and the Run."""
    with store.unit_of_work("bench") as uow:
        automation = Automation(name="orders", item_schema=SCHEMA)
        uow.automations.add(automation)
        uow.engines.add(Engine(name="airflow", type="airflow", url="https://airflow.example.org"))
        run = Run(automation_id=automation.id, correlation_id="monday", created_at=T0)
        uow.ledger.insert_runs([run], "bench")


def told(*, all_ended: bool) -> Observation:
    """The instance with its 10,000 steps; every hundredth runs unless all have ended."""
    return Observation(
        external_id="orders/monday",
        workflow="orders",
        status=ExecutionStatus.PROCESSING,
        native_status="running",
        started_at=T0,
        parameters={"RUN_ID": "monday"},
        steps=tuple(_step(number, ended=all_ended or number % 100 != 0) for number in range(ITEMS)),
    )


def _step(number: int, *, ended: bool) -> Step:
    started = T0 + timedelta(seconds=number)
    return Step(
        external_id=f"handle[{number}]",
        name=f"handle[{number}]",
        status=ExecutionStatus.COMPLETED if ended else ExecutionStatus.PROCESSING,
        native_status="success" if ended else "running",
        final=True if ended else None,
        started_at=started,
        finished_at=started + timedelta(seconds=30) if ended else None,
        inputs={"order": f"A-{number}", "lines": 1 + number % 7, "express": number % 3 == 0, "tags": ["eu", "web"]},
        outputs={"invoice": number} if ended else None,
    )


def _on(database: databases.Sqlite | databases.Postgresql) -> Iterator[Figure]:
    seconds: dict[tuple[str, str], list[float]] = {}
    durability = ""
    for number in range(ROUNDS):
        states = []
        for who, write in (("product", _product), ("baseline", _baseline)):
            url = database.fresh()
            durability = durability or database.durability(url)
            for part, spent in write(database, url):
                seconds.setdefault((who, part), []).append(spent)
            if number == 0:
                states.append(_state(url))
            database.drop(url)
        if states:
            _compare(*states)
        progress(f"items on {database.name}, round {number + 1} of {ROUNDS}")
    for part in ("new", "changed"):
        yield compared(
            f"items_{part}_{database.name}",
            seconds["product", part],
            seconds["baseline", part],
            rows=ITEMS,
            unit="items per CPU-second",
            goal=GOAL,
            settings=durability,
            **({"changed": CHANGED} if part == "changed" else {}),
        )


def _parts() -> tuple[tuple[str, Observation, Any], ...]:
    return ("new", told(all_ended=False), FIRST_AT), ("changed", told(all_ended=True), SECOND_AT)


def _product(database: Any, url: str) -> Iterator[tuple[str, float]]:
    store = open_store(url)
    with store.reading() as uow:
        engine = uow.engines.list()[0]
        rules = Rules((LINK,), uow.ledger.automation_ids(["orders"]), items=(ITEM,))
    for part, observation, at in _parts():
        read, page = Read(feed="poll", began_at=at - timedelta(seconds=1)), Page(observations=(observation,))
        with cpu(database.server_pid) as spent:
            store.write(lambda uow: ingest(uow, rules, engine, page, read, at), actor=ACTOR)  # noqa: B023
        yield part, spent()
    store.close()


def _baseline(database: Any, url: str) -> Iterator[tuple[str, float]]:
    connection = database.connect(url)
    ids = [connection.execute(f"SELECT id FROM {table}").fetchone()[0] for table in ("engines", "automations", "runs")]
    engine_id, automation_id, run_id = (getattr(found, "hex", found) for found in ids)
    context = raw_driver.Context(engine_id, automation_id, ACTOR, LINK.name, timedelta(seconds=Policy().quiet_s))
    connection.commit()
    write = raw_items.write_sqlite if database.name == "sqlite" else raw_items.write_postgresql
    for part, observation, at in _parts():
        with cpu(database.server_pid) as spent:
            began = at - timedelta(seconds=1)
            write(connection, raw_items.Fanned(observation, context, run_id, "handle (monday)", ITEM.name, began, at))
        yield part, spent()
    connection.close()


# --- the comparison of what was stored -------------------------------------------------------------------------------
_STEPS = ", ".join(name for name in raw_items.STEP if name != "instance_id")
_STATE = {
    "steps": f"SELECT {_STEPS} FROM instance_steps ORDER BY external_id",
    "instance": "SELECT external_id, status, digest, steps_state FROM orchestration_instances",
    "batches": "SELECT name, payload, created_at, created_by FROM batches",
    "items": "SELECT i.sequence_number, i.payload, i.created_at, i.created_by FROM items i ORDER BY 1",
    "batch executions": "SELECT status, started_at, finished_at, attempt, created_by FROM batch_executions",
    "item executions": "SELECT i.sequence_number, e.status, e.started_at, e.finished_at, e.attempt_count, "
    "e.max_attempts, e.result_payload, e.error_message, e.updated_by, e.is_active "
    "FROM item_executions e JOIN items i ON i.id = e.item_id ORDER BY 1",
    "history": "SELECT i.sequence_number, h.changed_at, h.previous_status, h.new_status, h.created_at, h.created_by "
    "FROM item_state_history h JOIN item_executions e ON e.id = h.item_execution_id JOIN items i ON i.id = e.item_id "
    "ORDER BY 1, 2",
    "item steps": "SELECT s.external_id, i.sequence_number, s.rule, s.problem, s.differs FROM item_steps s "
    "JOIN items i ON i.id = s.item_id ORDER BY 1",
    "fits": "SELECT workflow, rule, begun_at, drifted_since, counted, unfit, differing FROM item_fits",
    "run": "SELECT status, started_at FROM runs",
}


def _state(url: str) -> dict[str, list[Any]]:
    store = open_store(url)
    with store.unit_of_work() as uow:
        found = {
            name: [[_plain(v) for v in row] for row in uow.connection.execute(sa.text(query))]
            for name, query in _STATE.items()
        }
    store.close()
    return found


def _compare(product: dict[str, list[Any]], baseline: dict[str, list[Any]]) -> None:
    for name, rows in product.items():
        assert rows, f"{name}: nothing was written"
        assert len(rows) == len(baseline[name]), f"{name}: {len(rows)} rows against {len(baseline[name])}"
        for ours, theirs in zip(rows, baseline[name], strict=True):
            assert ours == theirs, f"{name} differ:\n{ours}\n{theirs}"
