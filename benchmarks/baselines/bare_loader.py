"""Nothing but the work: a tree request per 25 jobs, msgspec into typed structs, sqlite3 executemany, a commit each.

`rows` says what is written: "same", the instance, attempt and history rows of runlink's schema with its indexes, or
"lean", one table of ten columns with one index.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from benchmarks.databases import durable

FIELDS = (
    "number,result,building,timestamp,duration,queueId,displayName,description,keepLog,builtOn,"
    "actions[causes[shortDescription,userId,upstreamProject,upstreamBuild],parameters[name,value]]"
)
JOBS_PER_REQUEST = 25


class Parameter(msgspec.Struct):
    name: str
    value: Any = None


class Cause(msgspec.Struct):
    shortDescription: str = ""  # noqa: N815 - Jenkins' name
    userId: str | None = None  # noqa: N815


class Action(msgspec.Struct):
    causes: list[Cause] | None = None
    parameters: list[Parameter] | None = None


class Build(msgspec.Struct):
    number: int
    result: str | None
    building: bool
    timestamp: int
    duration: int
    queueId: int  # noqa: N815
    displayName: str  # noqa: N815
    description: str | None = None
    keepLog: bool = False  # noqa: N815
    builtOn: str | None = None  # noqa: N815
    actions: list[Action] = []


class Job(msgspec.Struct):
    fullName: str  # noqa: N815
    builds: list[Build] = []


class Answer(msgspec.Struct):
    jobs: list[Job]


_answer = msgspec.json.Decoder(Answer)
_json = msgspec.json.Encoder(order="deterministic")
_STATUS = {"SUCCESS": "COMPLETED", "FAILURE": "FAILED", "UNSTABLE": "COMPLETED", "ABORTED": "CANCELLED"}
_LEAN = (
    "CREATE TABLE IF NOT EXISTS builds (id TEXT PRIMARY KEY, job TEXT, number INTEGER, status TEXT, result TEXT, "
    "started_ms INTEGER, duration_ms INTEGER, url TEXT, parameters TEXT, metadata TEXT)"
)
_INSTANCE = (
    "id", "engine_id", "external_id", "duration_seconds", "instance_metadata", "status", "started_at", "finished_at",
    "workflow", "native_status", "url", "attempt", "parameters", "labels", "observed_at", "created_at", "updated_at",
    "created_by", "updated_by", "version", "is_active", "digest", "attempt_offset",
)  # fmt: skip


def bare_loader(url: str, database: Path, *, rows: str, engine_id: str = "", now: datetime | None = None) -> None:
    """All jobs, a commit per answer."""
    connection = sqlite3.connect(database, isolation_level=None)
    durable(connection)
    if rows == "lean":
        connection.execute(_LEAN)
    at = (now or datetime.now(UTC)).isoformat(timespec="microseconds")
    address = urlsplit(url)
    http_client = http.client.HTTPConnection(address.hostname or "", address.port)
    start = 0
    while True:
        tree = f"jobs[fullName,builds[{FIELDS}]{{0,100}}]{{{start},{start + JOBS_PER_REQUEST}}}"
        http_client.request("GET", f"/api/json?tree={quote(tree, safe='[]{},*')}")
        jobs = _answer.decode(http_client.getresponse().read()).jobs
        if not jobs:
            break
        connection.execute("BEGIN IMMEDIATE")
        if rows == "lean":
            _write_lean(connection, url, jobs)
        else:
            _write_same(connection, url, jobs, engine_id, at)
        connection.execute("COMMIT")
        start += JOBS_PER_REQUEST
    http_client.close()
    connection.close()


def _facts(build: Build) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Parameters, labels and metadata."""
    parameters = {p.name: p.value for action in build.actions for p in action.parameters or ()}
    causes = [cause for action in build.actions for cause in action.causes or ()]
    labels = {"cause": "UserIdCause", "user": causes[0].userId or ""} if causes else {}
    metadata = {"number": build.number, "queueId": build.queueId, "displayName": build.displayName}
    return parameters, labels, metadata | {"causes": [cause.shortDescription for cause in causes]}


def _write_lean(connection: sqlite3.Connection, url: str, jobs: list[Job]) -> None:
    rows = []
    for job in jobs:
        for b in job.builds:
            parameters, _, metadata = _facts(b)
            rows.append(
                (
                    f"{job.fullName}#{b.number}@{b.timestamp}",
                    job.fullName,
                    b.number,
                    _STATUS[b.result or ""],
                    b.result,
                    b.timestamp,
                    b.duration,
                    f"{url}/job/{job.fullName}/{b.number}/",
                    _json.encode(parameters).decode(),
                    _json.encode(metadata).decode(),
                )
            )
    connection.executemany(
        f"INSERT INTO builds VALUES ({', '.join('?' * 10)}) ON CONFLICT (id) DO UPDATE SET status = excluded.status, "
        "result = excluded.result, duration_ms = excluded.duration_ms, metadata = excluded.metadata",
        rows,
    )


def _write_same(connection: sqlite3.Connection, url: str, jobs: list[Job], engine_id: str, at: str) -> None:
    instances, attempts, history = [], [], []
    for job in jobs:
        for b in job.builds:
            parameters, labels, metadata = _facts(b)
            status, key = _STATUS[b.result or ""], os.urandom(16).hex()
            started = datetime.fromtimestamp(b.timestamp / 1000, UTC).isoformat(timespec="microseconds")
            finished = datetime.fromtimestamp((b.timestamp + b.duration) / 1000, UTC).isoformat(timespec="microseconds")
            address = f"{url}/job/{job.fullName}/{b.number}/"
            name = f"{job.fullName}#{b.number}@{b.timestamp}"
            told = {
                "external_id": name, "workflow": job.fullName, "status": status, "native_status": b.result,
                "started_at": started, "finished_at": finished, "url": address, "parameters": parameters,
                "labels": labels, "metadata": metadata,
            }  # fmt: skip
            text = _json.encode(told)
            digest = hashlib.blake2b(text, digest_size=16).digest()
            instances.append(
                (
                    key,
                    engine_id,
                    name,
                    b.duration / 1000,
                    _json.encode(metadata).decode(),
                    status,
                    started,
                    finished,
                    job.fullName,
                    b.result,
                    address,
                    1,
                    _json.encode(parameters).decode(),
                    _json.encode(labels).decode(),
                    at,
                    at,
                    at,
                    "loader",
                    "loader",
                    1,
                    True,
                    digest,
                    0,
                )
            )
            attempts.append((key, 1, status, b.result, started, finished, None, address))
            history.append((key, at, at, "poll", 1, status, b.result, digest, text.decode()))
    connection.executemany(
        f"INSERT INTO orchestration_instances ({', '.join(_INSTANCE)}) VALUES ({', '.join('?' * len(_INSTANCE))}) "
        "ON CONFLICT (engine_id, external_id) DO UPDATE SET status = excluded.status, digest = excluded.digest, "
        "finished_at = excluded.finished_at, instance_metadata = excluded.instance_metadata",
        instances,
    )
    connection.executemany(f"INSERT INTO instance_attempts VALUES ({', '.join('?' * 8)})", attempts)
    names = "instance_id, observed_at, recorded_at, feed, attempt, status, native_status, digest, changes"
    connection.executemany(f"INSERT INTO observations ({names}) VALUES ({', '.join('?' * 9)})", history)
