"""The same rows by hand: no entities, no rules, no SQLAlchemy; one change-detecting upsert with RETURNING, one commit a
page, straight to sqlite3 or psycopg.

It takes the same Observation objects into the same schema and computes the same values. It is spared what a product
cannot leave out: it trusts the page, knows that a page holds whole Runs (and so rolls them up without reading), takes
no late or repeated news, and does not find out which fields changed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg

from runlink.spi import Observation

_json = msgspec.json.Encoder(order="deterministic")
INSTANCE = (
    "id", "engine_id", "external_id", "duration_seconds", "instance_metadata", "status", "started_at", "finished_at",
    "workflow", "native_status", "url", "message", "attempt", "revision", "parent_external_id", "parameters", "labels",
    "queued_at", "observed_at", "vanished_at", "created_at", "updated_at", "created_by", "updated_by", "version",
    "is_active", "digest", "attempt_offset", "missing_since", "steps_state",
)  # fmt: skip
ATTEMPT = ("instance_id", "number", "status", "native_status", "started_at", "finished_at", "message", "url")
OBSERVATION = (
    "instance_id", "observed_at", "recorded_at", "feed", "attempt", "status", "native_status", "digest", "changes",
)  # fmt: skip
LINK = (
    "id", "run_id", "orchestration_instance_id", "attached_at", "rule", "key", "created_at", "updated_at", "created_by",
    "updated_by", "version", "is_active",
)  # fmt: skip
OUTBOX = ("type", "run_id", "occurred_at", "recorded_at", "data", "actor")
_REPLACED = (
    "status", "started_at", "finished_at", "duration_seconds", "native_status", "url", "message", "parameters",
    "labels", "instance_metadata", "observed_at", "updated_at", "updated_by", "digest",
)  # fmt: skip
_ID, _EXTERNAL_ID, _DIGEST = INSTANCE.index("id"), INSTANCE.index("external_id"), INSTANCE.index("digest")


def _upsert(source: str, distinct: str) -> str:
    new = ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
    return (
        f"INSERT INTO orchestration_instances ({', '.join(INSTANCE)}) {source} "
        f"ON CONFLICT (engine_id, external_id) DO UPDATE SET {new}, version = orchestration_instances.version + 1 "
        f"WHERE orchestration_instances.digest {distinct} excluded.digest RETURNING external_id, id, version"
    )


def _insert(table: str, names: Sequence[str], mark: str) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"


_ATTEMPT_NEWS = (
    " ON CONFLICT (instance_id, number) DO UPDATE SET status = excluded.status, "
    "native_status = excluded.native_status, started_at = excluded.started_at, finished_at = excluded.finished_at, "
    "message = excluded.message, url = excluded.url"
)
_RUN_STARTED = (
    "UPDATE runs SET status = 'PROCESSING', started_at = {0}, quiet_until = {0}, version = version + 1, "
    "updated_at = {0}, updated_by = {0} WHERE id = {0}"
)
_RUN_QUIET = "UPDATE runs SET quiet_until = {0} WHERE id = {0}"


@dataclass
class Context:
    """Who writes what for whom, in both dialects as text."""

    engine_id: str
    automation_id: str
    actor: str
    rule: str
    quiet: timedelta


def write_sqlite(
    connection: sqlite3.Connection, pages: Iterator[Sequence[Observation]], context: Context, began: datetime,
    now: datetime,
) -> None:  # fmt: skip
    """All pages into SQLite."""
    upsert = _upsert(f"VALUES ({', '.join('?' * len(INSTANCE))})", "IS NOT")
    attempts, observations = _insert("instance_attempts", ATTEMPT, "?"), _insert("observations", OBSERVATION, "?")
    for page in pages:
        connection.execute("BEGIN IMMEDIATE")
        rows = [_instance_row(o, context, began, now) for o in page]
        returned = [found for row in rows if (found := connection.execute(upsert, row).fetchone()) is not None]
        written = _Written(page, rows, returned, context, began, now)
        if written.keys:
            query = (
                "SELECT correlation_id, id FROM runs WHERE automation_id = ? "
                "AND correlation_id IN (SELECT value FROM json_each(?))"
            )
            keys = _json.encode(written.keys).decode()
            written.link(dict(connection.execute(query, (context.automation_id, keys))))
        connection.executemany(attempts, written.new_attempts)
        connection.executemany(attempts + _ATTEMPT_NEWS, written.attempts)
        connection.executemany(observations, written.observations)
        connection.executemany(_insert("run_orchestrations", LINK, "?"), written.links)
        connection.executemany(_insert("outbox", OUTBOX, "?"), written.events)
        connection.executemany(_RUN_STARTED.format("?"), written.started)
        connection.executemany(_RUN_QUIET.format("?"), written.quieted)
        connection.execute("COMMIT")


def write_postgresql(
    connection: psycopg.Connection[Any], pages: Iterator[Sequence[Observation]], context: Context, began: datetime,
    now: datetime,
) -> None:  # fmt: skip
    """All pages into PostgreSQL: COPY to a temporary table, INSERT … SELECT from it, COPY for the rest."""
    cursor = connection.cursor()
    cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS page (LIKE orchestration_instances) ON COMMIT DELETE ROWS")
    connection.commit()
    upsert = _upsert(f"SELECT {', '.join(INSTANCE)} FROM page", "IS DISTINCT FROM")
    for page in pages:
        rows = [_instance_row(o, context, began, now) for o in page]
        _copy(cursor, "page", INSTANCE, rows)
        returned = [(name, str(key), version) for name, key, version in cursor.execute(upsert).fetchall()]
        written = _Written(page, rows, returned, context, began, now)
        if written.keys:
            query = "SELECT correlation_id, id::text FROM runs WHERE automation_id = %s AND correlation_id = ANY(%s)"
            written.link(dict(cursor.execute(query, (context.automation_id, written.keys)).fetchall()))
        _copy(cursor, "instance_attempts", ATTEMPT, written.new_attempts)
        if written.attempts:
            cursor.executemany(_insert("instance_attempts", ATTEMPT, "%s") + _ATTEMPT_NEWS, written.attempts)
        _copy(cursor, "observations", OBSERVATION, written.observations)
        _copy(cursor, "run_orchestrations", LINK, written.links)
        _copy(cursor, "outbox", OUTBOX, written.events)
        if written.started:
            cursor.executemany(_RUN_STARTED.format("%s"), written.started)
        if written.quieted:
            cursor.executemany(_RUN_QUIET.format("%s"), written.quieted)
        connection.commit()


def _copy(cursor: psycopg.Cursor[Any], table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


class _Written:
    """The rows that follow from the instances an upsert says it wrote."""

    def __init__(
        self, page: Sequence[Observation], rows: list[tuple[Any, ...]], returned: list[tuple[str, str, int]],
        context: Context, began: datetime, now: datetime,
    ) -> None:  # fmt: skip
        self._page, self._context, self._now = page, context, now
        self._at, self._began, self._began_at = _text(now), _text(began), began
        self._ids = {external_id: (instance_id, version) for external_id, instance_id, version in returned}
        self.keys: list[str] = []
        self.new_attempts: list[tuple[Any, ...]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.observations: list[tuple[Any, ...]] = []
        self.links: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        self.started: list[tuple[Any, ...]] = []
        self.quieted: list[tuple[Any, ...]] = []
        self._members: dict[str, list[Observation]] = {}
        if returned:
            for o, row in zip(page, rows, strict=True):
                self._add(o, row)

    def _add(self, o: Observation, row: tuple[Any, ...]) -> None:
        key = o.parameters["RUN_ID"]  # type: ignore[index]
        self._members.setdefault(key, []).append(o)
        found = self._ids.get(o.external_id)
        if found is None:
            return
        instance_id, version = found
        started, finished = row[6], row[7]
        status = o.status.value
        attempt = (instance_id, o.attempt, status, o.native_status, started, finished, o.message, o.url)
        (self.new_attempts if version == 1 else self.attempts).append(attempt)
        self.observations.append(
            (
                instance_id,
                self._began,
                self._at,
                "poll",
                o.attempt,
                status,
                o.native_status,
                row[_DIGEST],
                _json.encode(o).decode(),
            )
        )
        self._event(
            "instance.status_changed",
            None,
            {
                "orchestration_instance_id": instance_id,
                "engine_id": self._context.engine_id,
                "external_id": o.external_id,
                "attempt": o.attempt,
                "native_status": o.native_status,
                "previous_status": None,
                "new_status": status,
                "passed": (),
                "started_at": o.started_at,
                "finished_at": o.finished_at,
                "message": o.message,
            },
        )
        self.keys.append(key)

    def _event(self, kind: str, run_id: str | None, data: dict[str, Any]) -> None:
        text = _json.encode({"occurred_at": self._now, **data}).decode()
        self.events.append((kind, run_id, self._at, self._at, text, self._context.actor))

    def link(self, runs: dict[str, str]) -> None:
        """Links, their events, and the Runs' states: of a page that holds whole Runs."""
        context, at = self._context, self._at
        for key in dict.fromkeys(self.keys):
            run_id, members = runs[key], self._members[key]
            new = False
            for o in members:
                found = self._ids.get(o.external_id)
                if found is None or found[1] != 1:
                    continue
                new = True
                link_id = _new_id(self._now)
                actor = context.actor
                row = (link_id, run_id, found[0], at, context.rule, key, at, at, actor, actor, 1, True)
                self.links.append(row)
                self._event(
                    "instance.linked",
                    run_id,
                    {
                        "run_orchestration_id": link_id,
                        "run_id": run_id,
                        "orchestration_instance_id": found[0],
                        "rule": context.rule,
                    },
                )
            quiet = None if any(o.finished_at is None for o in members) else _text(self._now + context.quiet)
            if not new:
                self.quieted.append((quiet, run_id))
                continue
            first = min((o for o in members if o.started_at), key=lambda o: (o.started_at, o.external_id))
            started = first.started_at
            because = {
                "orchestration_instance_id": self._ids[first.external_id][0],
                "engine": "jenkins",
                "external_id": first.external_id,
                "workflow": first.workflow,
                "native_status": first.native_status,
                "observed_at": self._began_at,
            }
            self.started.append((_text(started), quiet, at, "rule:roll-up", run_id))
            self.events.append(
                (
                    "run.started",
                    run_id,
                    _text(started),
                    at,
                    _json.encode(
                        {
                            "occurred_at": started,
                            "run_id": run_id,
                            "automation_id": context.automation_id,
                            "correlation_id": key,
                            "attempt": 1,
                            "because": because,
                        }
                    ).decode(),
                    "rule:roll-up",
                )
            )


def _instance_row(o: Observation, context: Context, began: datetime, now: datetime) -> tuple[Any, ...]:
    duration = (o.finished_at - o.started_at).total_seconds() if o.finished_at and o.started_at else None
    at = _text(now)
    return (
        _new_id(now), context.engine_id, o.external_id, duration, _document(o.metadata), o.status.value,
        _text(o.started_at), _text(o.finished_at), o.workflow, o.native_status, o.url, o.message, o.attempt, None,
        o.parent, _document(o.parameters), _document(o.labels), _text(o.created_at), _text(began), None, at, at,
        context.actor, context.actor, 1, True, hashlib.blake2b(_json.encode(o), digest_size=16).digest(), 0, None, None,
    )  # fmt: skip


def _text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="microseconds")


def _document(value: Any) -> str | None:
    return None if value is None else _json.encode(value).decode()


def _new_id(now: datetime) -> str:
    """A UUID that sorts by time, as its 32 digits."""
    return f"{int(now.timestamp() * 1000):012x}7{os.urandom(10).hex()[1:]}"
