"""A fan-out's rows by hand: a change-detecting upsert of steps with RETURNING, and what follows from those it wrote.

It takes the same Observation into the same schema, in one transaction. It is spared what a product cannot leave out: it
trusts the page and the payloads (no schema check), knows the Run, that each step is the item its index says, and that
there is one attempt of each, and takes no late or repeated news.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from benchmarks.baselines.raw_driver import (
    ATTEMPT,
    INSTANCE,
    LINK,
    OBSERVATION,
    Context,
    _copy,
    _document,
    _insert,
    _instance_row,
    _new_id,
    _text,
)
from runlink.spi import ExecutionStatus, Observation

_json = msgspec.json.Encoder(order="deterministic")
ACTOR = "rule:items"
STEP = (
    "instance_id", "external_id", "attempt", "name", "status", "native_status", "final", "started_at", "finished_at",
    "message", "inputs", "outputs", "parent", "digest",
)  # fmt: skip
_INHERITED = ("created_at", "updated_at", "created_by", "updated_by", "version", "is_active")
BATCH = ("id", "automation_id", "name", "payload", *_INHERITED)
ITEM = ("id", "batch_id", "sequence_number", "payload", *_INHERITED)
BATCH_EXECUTION = ("id", "run_id", "batch_id", "status", "started_at", "finished_at", "attempt", *_INHERITED)
EXECUTION = (
    "id", "run_id", "batch_execution_id", "item_id", "result_payload", "error_message", "status", "started_at",
    "finished_at", "attempt_count", "max_attempts", *_INHERITED,
)  # fmt: skip
HISTORY = ("id", "item_execution_id", "previous_status", "new_status", "changed_at", "created_at", "created_by")
CLAIM = ("instance_id", "external_id", "run_id", "rule", "item_id", "max_attempts", "differs", "problem")
FIT = (
    "engine_id", "workflow", "rule", "instance_id", "begun_at", "seen_at", "drifted_since", "reason", "counted",
    "unfit", "differing",
)  # fmt: skip
_REPLACED = STEP[3:]


def _upsert(source: str, distinct: str) -> str:
    new = ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
    return (
        f"INSERT INTO instance_steps ({', '.join(STEP)}) {source} ON CONFLICT (instance_id, external_id, attempt) "
        f"DO UPDATE SET {new} WHERE instance_steps.digest {distinct} excluded.digest RETURNING external_id"
    )


class Fanned:
    """The rows of a fan-out whose Run and rule are known."""

    def __init__(
        self, o: Observation, context: Context, run_id: str, batch: str, item_rule: str, began: datetime, now: datetime
    ) -> None:
        self.o, self.context, self.run_id, self.batch, self.rule = o, context, run_id, batch, item_rule
        self.began, self.now, self.at = _text(began), now, _text(now)
        self.instance = _instance_row(o, context, began, now)
        self.text = _json.encode(msgspec.structs.replace(o, steps=None))
        digest = hashlib.blake2b(self.text + b"\0" + _json.encode(o.steps), digest_size=16).digest()
        self.digest = digest
        self.instance = (*self.instance[: INSTANCE.index("digest")], digest, 0, None, "read")
        self.steps: list[tuple[Any, ...]] = []

    def of(self, instance_id: str) -> list[tuple[Any, ...]]:
        """The step rows."""
        self.steps = [
            (
                instance_id, step.external_id, step.attempt, step.name, step.status.value, step.native_status,
                step.final, _text(step.started_at), _text(step.finished_at), step.message, _document(step.inputs),
                _document(step.outputs), step.parent, hashlib.blake2b(_json.encode(step), digest_size=16).digest(),
            )
            for step in self.o.steps  # type: ignore[union-attr]
        ]  # fmt: skip
        return self.steps

    def observation(self, instance_id: str, changed: set[str] | None) -> tuple[Any, ...]:
        """The line of history: how many steps there are, or how each is that changed."""
        o = self.o
        if changed is None:
            text = b'%s,"steps":%d}' % (self.text[:-1], len(self.steps))
        else:
            text = _json.encode({"steps": [_told(row) for row in self.steps if row[1] in changed]})
        return (
            instance_id, self.began, self.at, "poll", o.attempt, o.status.value, o.native_status, self.digest,
            text.decode(),
        )  # fmt: skip

    def first(self, instance_id: str) -> dict[str, list[tuple[Any, ...]]]:
        """Everything behind the steps, for an instance that is new."""
        o, at, context, run_id = self.o, self.at, self.context, self.run_id
        tail = (at, at, ACTOR, ACTOR, 1, True)
        status, started = o.status.value, _text(o.started_at)
        batch_id, whole_id = _new_id(self.now), _new_id(self.now)
        rows: dict[str, list[tuple[Any, ...]]] = {
            "instance_attempts": [(instance_id, 1, status, o.native_status, started, None, o.message, o.url)],
            "observations": [self.observation(instance_id, None)],
            "run_orchestrations": [
                (
                    _new_id(self.now),
                    run_id,
                    instance_id,
                    at,
                    context.rule,
                    (o.parameters or {})["RUN_ID"],
                    at,
                    at,
                    context.actor,
                    context.actor,
                    1,
                    True,
                )
            ],
            "batches": [(batch_id, context.automation_id, self.batch, None, *tail)],
            "batch_executions": [],
            "items": [],
            "item_executions": [],
            "item_state_history": [],
            "item_steps": [],
            "item_fits": [],
        }
        first_start = None
        for step, row in zip(self.o.steps, self.steps, strict=True):  # type: ignore[arg-type]
            item_id, execution_id = _new_id(self.now), _new_id(self.now)
            number = int(step.name[step.name.index("[") + 1 : -1])
            rows["items"].append((item_id, batch_id, number, row[10], *tail))
            ended = step.status is ExecutionStatus.COMPLETED
            begun, over = row[7], row[8]
            first_start = begun if first_start is None or begun < first_start else first_start
            rows["item_executions"].append(
                (
                    execution_id, run_id, whole_id, item_id, row[11] if ended else None, None, step.status.value, begun,
                    over, 1, 1 if ended else None, *tail,
                )
            )  # fmt: skip
            rows["item_state_history"].append(
                (_new_id(self.now), execution_id, "PENDING", "PROCESSING", begun, at, ACTOR)
            )
            if ended:
                rows["item_state_history"].append(
                    (_new_id(self.now), execution_id, "PROCESSING", "COMPLETED", over, at, ACTOR)
                )
            rows["item_steps"].append((instance_id, step.external_id, run_id, self.rule, item_id, None, None, None))
        rows["batch_executions"].append((whole_id, run_id, batch_id, "PROCESSING", first_start, None, 1, *tail))
        count = len(self.steps)
        rows["item_fits"].append(
            (context.engine_id, o.workflow, self.rule, instance_id, started, at, None, None, count, 0, 0)
        )
        return rows


_TOLD = ("external_id", "attempt", "status", "native_status", "started_at", "finished_at", "message")


def _told(row: tuple[Any, ...]) -> dict[str, Any]:
    return {name: value for name in _TOLD if (value := row[STEP.index(name)]) is not None}


_TABLES = {
    "instance_attempts": ATTEMPT, "observations": OBSERVATION, "run_orchestrations": LINK, "batches": BATCH,
    "batch_executions": BATCH_EXECUTION, "items": ITEM, "item_executions": EXECUTION, "item_state_history": HISTORY,
    "item_steps": CLAIM, "item_fits": FIT,
}  # fmt: skip
_ENDED = (
    "UPDATE item_executions SET status = 'COMPLETED', finished_at = {0}, result_payload = {0}, max_attempts = 1, "
    "version = version + 2, updated_at = {0}, updated_by = {0} WHERE id = {0}"
)
_OF_STEPS = (
    "SELECT s.external_id, e.id FROM item_steps s JOIN item_executions e "
    "ON e.item_id = s.item_id AND e.run_id = s.run_id WHERE s.instance_id = {} AND s.external_id {}"
)


def _changes(
    fanned: Fanned, changed: set[str], executions: dict[str, Any]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    updates, history = [], []
    for row in fanned.steps:
        if row[1] in changed:
            execution = executions[row[1]]
            updates.append((row[8], row[11], fanned.at, ACTOR, execution))
            history.append((_new_id(fanned.now), execution, "PROCESSING", "COMPLETED", row[8], fanned.at, ACTOR))
    return updates, history


def write_sqlite(connection: Any, fanned: Fanned) -> None:
    """One page with one instance into SQLite."""
    connection.execute("BEGIN IMMEDIATE")
    query = "SELECT id FROM orchestration_instances WHERE engine_id = ? AND external_id = ?"
    found = connection.execute(query, (fanned.context.engine_id, fanned.o.external_id)).fetchone()
    instance_id = found[0] if found else fanned.instance[0]
    if not found:
        connection.execute(_insert("orchestration_instances", INSTANCE, "?"), fanned.instance)
    upsert = _upsert(f"VALUES ({', '.join('?' * len(STEP))})", "IS NOT")
    written = {
        row[0] for step in fanned.of(instance_id) if (row := connection.execute(upsert, step).fetchone()) is not None
    }
    if not found:
        for table, rows in fanned.first(instance_id).items():
            connection.executemany(_insert(table, _TABLES[table], "?"), rows)
        connection.execute(
            "UPDATE runs SET status = 'PROCESSING', started_at = ?, quiet_until = NULL, version = version + 1, "
            "updated_at = ?, updated_by = 'rule:roll-up' WHERE id = ?",
            (_text(fanned.o.started_at), fanned.at, fanned.run_id),
        )
    else:
        connection.execute(
            "UPDATE orchestration_instances SET digest = ?, updated_at = ? WHERE id = ?",
            (fanned.digest, fanned.at, instance_id),
        )
        connection.execute(_insert("observations", OBSERVATION, "?"), fanned.observation(instance_id, written))
        names = _json.encode(sorted(written)).decode()
        query = _OF_STEPS.format("?", "IN (SELECT value FROM json_each(?))")
        executions = dict(connection.execute(query, (instance_id, names)).fetchall())
        updates, history = _changes(fanned, written, executions)
        connection.executemany(_ENDED.format("?"), updates)
        connection.executemany(_insert("item_state_history", HISTORY, "?"), history)
    connection.execute("COMMIT")


def write_postgresql(connection: Any, fanned: Fanned) -> None:
    """One page with one instance into PostgreSQL: COPY wherever rows are new."""
    cursor = connection.cursor()
    cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS page (LIKE instance_steps) ON COMMIT DELETE ROWS")
    query = "SELECT id::text FROM orchestration_instances WHERE engine_id = %s AND external_id = %s"
    found = cursor.execute(query, (fanned.context.engine_id, fanned.o.external_id)).fetchone()
    instance_id = found[0] if found else fanned.instance[0]
    if not found:
        cursor.execute(_insert("orchestration_instances", INSTANCE, "%s"), fanned.instance)
    _copy(cursor, "page", STEP, fanned.of(instance_id))
    upsert = _upsert(f"SELECT {', '.join(STEP)} FROM page", "IS DISTINCT FROM")
    written = {row[0] for row in cursor.execute(upsert).fetchall()}
    if not found:
        for table, rows in fanned.first(instance_id).items():
            _copy(cursor, table, _TABLES[table], rows)
        cursor.execute(
            "UPDATE runs SET status = 'PROCESSING', started_at = %s, quiet_until = NULL, version = version + 1, "
            "updated_at = %s, updated_by = 'rule:roll-up' WHERE id = %s",
            (_text(fanned.o.started_at), fanned.at, fanned.run_id),
        )
    else:
        cursor.execute(
            "UPDATE orchestration_instances SET digest = %s, updated_at = %s WHERE id = %s",
            (fanned.digest, fanned.at, instance_id),
        )
        cursor.execute(_insert("observations", OBSERVATION, "%s"), fanned.observation(instance_id, written))
        query = _OF_STEPS.format("%s", "= ANY(%s)")
        executions = dict(cursor.execute(query, (instance_id, sorted(written))).fetchall())
        updates, history = _changes(fanned, written, executions)
        cursor.executemany(_ENDED.format("%s"), updates)
        _copy(cursor, "item_state_history", HISTORY, history)
    connection.commit()
