"""(g) Argo Workflows: a list of 5,000 and a watch of 20,000 events, from HTTP bytes to committed rows.

Product: the adapter of `runlink-kubernetes` with the official client's connection below it, `ingest`, SQLite as a
production's. Baseline: `kubernetes.watch.Watch` reading the very same stream, and storing nothing. Every event changes
the state of its workflow (Pending, Running, Running with more done, Succeeded), 5,000 uids; the server, a process of
its own, sends all of them as a backlog, one chunk for each as an API server does. Every end row is checked.

Coalescing is part of the product: states that a newer one overtakes within a burst are read and not stored. So there
are two figures: `backlog`, where the four events of a workflow follow each other and mostly one is stored; and
`spread`, where 5,000 events lie between two of one workflow, and every single event is stored.
"""

from __future__ import annotations

import http.server
import json
import multiprocessing
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import runlink.testing
from benchmarks.measure import Figure, compared, cpu, progress
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import ingest
from runlink.application.rules.rules import Rules
from runlink.domain import Engine
from runlink.spi import Page
from runlink.store import SqlStore, open_store

ROUNDS = 3
UIDS = 5000
STATES = ("Pending", "Running", "Running+", "Succeeded")
EVENTS = UIDS * len(STATES)
SIZE = 3700
GOAL = "ahead of the official Watch, which stores nothing"
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)


def run() -> Iterator[Figure]:
    """Both orders of the events."""
    from kubernetes import client, watch  # outside the measured part

    for order in ("backlog", "spread"):
        seconds: dict[str, list[float]] = {"list": [], "watch": [], "both": [], "baseline": []}
        for number in range(ROUNDS):
            with _serving(order) as url:
                for name, spent in _product(url):
                    seconds[name].append(spent)
                seconds["both"].append(seconds["list"][-1] + seconds["watch"][-1])
                seconds["baseline"].append(_baseline(url, client, watch))
            progress(f"kubernetes_watch, {order}, round {number + 1} of {ROUNDS}")
        yield compared(
            f"kubernetes_watch_{order}",
            seconds["watch"],
            seconds["baseline"],
            rows=EVENTS,
            unit="events per CPU second",
            goal=GOAL,
            uids=UIDS,
            rows_checked=UIDS,
        )
        if order == "backlog":
            listed = UIDS / sorted(seconds["list"])[ROUNDS // 2]
            yield Figure("kubernetes_list", listed, "workflows per CPU second")


def _product(url: str) -> Iterator[tuple[str, float]]:
    from runlink_kubernetes import ArgoAdapter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        store = open_store(f"sqlite:///{path}")
        engine = Engine(name="argo", type="argo", url=url)
        with store.unit_of_work("bench") as uow:
            uow.engines.add(engine)
        adapter = runlink.testing.build(ArgoAdapter, url, since=NOW.replace(year=2020))
        adapter.check()
        cursors: dict[str, str] = {}
        with cpu() as spent:
            for page in adapter.poll({}):
                _store(store, engine, page)
                cursors.update({k: v for k, v in page.cursors.items() if v})
        yield "list", spent()
        with cpu() as spent:
            for page in adapter.watch(cursors):
                _store(store, engine, page)
                if page.cursors.get("all") == str(UIDS + EVENTS):
                    break
        yield "watch", spent()
        runlink.testing.close(adapter)
        store.close()
        _check(path)


def _store(store: SqlStore, engine: Engine, page: Page) -> None:
    read = Read(feed="watch", began_at=NOW)
    store.write(lambda uow: ingest(uow, Rules(()), engine, page, read, NOW), actor="engine:argo")


def _check(path: Path) -> None:
    """All rows, each at its end, with the end's own facts."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "select external_id, status, native_status, parameters, instance_metadata, finished_at is not null, "
            "(select count(*) from instance_steps s where s.instance_id = i.id and s.status = 'COMPLETED') "
            "from orchestration_instances i"
        ).fetchall()
    found = {row[0] for row in rows}
    if found != {f"load/wf-{number:05}@{_uid(number)}" for number in range(UIDS)}:
        raise AssertionError(f"{len(found)} workflows stored, not the {UIDS} that there were")
    for name, status, native, parameters, metadata, has_end, steps in rows:
        number = str(int(name[8:13]))
        told = (status, native, json.loads(parameters), json.loads(metadata)["progress"], has_end, steps)
        if told != ("COMPLETED", "Succeeded", {"n": number}, "3/3", 1, 3):
            raise AssertionError(f"{name} ended as {told}")


def _baseline(url: str, client: Any, watch: Any) -> float:
    api = client.CustomObjectsApi(client.ApiClient(client.Configuration(host=url)))
    events = watch.Watch().stream(
        api.list_cluster_custom_object, "argoproj.io", "v1alpha1", "workflows", resource_version=str(UIDS)
    )
    seen = 0
    with cpu() as spent:
        for event in events:
            seen += 1
            if seen == EVENTS:
                last = event["object"]["metadata"]["resourceVersion"]
                break
    if last != str(UIDS + EVENTS):
        raise AssertionError(f"the Watch ended at version {last}")
    return spent()


# --- the server --------------------------------------------------------------------------------------------------


def _uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _template(state: str) -> str:
    phase, done = state.rstrip("+"), STATES.index(state)
    ended = phase == "Succeeded"
    nodes = {
        f"@NAME@-{n}": {
            "id": f"@NAME@-{n}",
            "name": f"@NAME@[0].s{n}",
            "displayName": f"s{n}",
            "type": "Pod",
            "boundaryID": "@NAME@",
            "phase": "Succeeded" if n < done else "Pending",
            "startedAt": "2026-11-23T10:00:00Z",
            "finishedAt": "2026-11-23T10:01:00Z" if n < done else None,
            "inputs": {"parameters": [{"name": "n", "value": str(n)}]},
        }
        for n in range(3)
    }
    item: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": "@NAME@",
            "namespace": "load",
            "uid": "@UID@",
            "resourceVersion": "@VERSION@",
            "generateName": "wf-",
            "creationTimestamp": "2026-11-23T09:59:00Z",
            "labels": {"workflows.argoproj.io/phase": phase},
            "managedFields": [{"manager": "controller", "fieldsV1": {}}],
        },
        "spec": {
            "entrypoint": "main",
            "arguments": {"parameters": [{"name": "n", "value": "@NUMBER@"}]},
            "templates": [{"name": "main", "container": {"image": "alpine", "args": ["{{item}}"]}}],
        },
        "status": {
            "phase": phase,
            "progress": f"{done}/3",
            "startedAt": "2026-11-23T10:00:00Z",
            "finishedAt": "2026-11-23T10:01:00Z" if ended else None,
            "nodes": nodes,
        },
    }
    fields = item["metadata"]["managedFields"][0]["fieldsV1"]
    while len(json.dumps(item)) < SIZE:
        fields[f"f:field{len(fields)}"] = {"f:name": {}, "f:value": {}}
    return json.dumps(item, separators=(",", ":"))


def _text(template: str, number: int, version: int) -> str:
    text = template.replace("@NAME@", f"wf-{number:05}").replace("@UID@", _uid(number))
    return text.replace("@VERSION@", str(version)).replace("@NUMBER@", str(number))


def _events(order: str) -> Iterator[tuple[str, int]]:
    """(state, workflow) in order: four in a row of each, or all of one state before the next."""
    if order == "backlog":
        yield from ((state, number) for number in range(UIDS) for state in STATES)
    else:
        yield from ((state, number) for state in STATES for number in range(UIDS))


def _serve(order: str, ready: Any) -> None:
    templates = {state: _template(state) for state in STATES}
    created = _template("Pending").replace('"phase":"Pending"', '"phase":""', 1)
    chunks = []
    for place, (state, number) in enumerate(_events(order), 1):
        item = _text(templates[state], number, UIDS + place)
        line = f'{{"type":"MODIFIED","object":{item}}}\n'.encode()
        chunks.append(b"%x\r\n%s\r\n" % (len(line), line))

    class Incoming(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._send({"status": {"allowed": True}})

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if not parts.path.endswith("/workflows"):
                self._send({"gitVersion": "v1.36.2", "resources": [{"name": "workflows"}]})
            elif "watch" not in query:
                start, limit = int(query.get("continue") or 0), int(query["limit"])
                end = min(UIDS, start + limit)
                items = ",".join(_text(created, number, number + 1) for number in range(start, end))
                meta = json.dumps({"resourceVersion": str(UIDS), "continue": str(end) if end < UIDS else ""})
                self._send(f'{{"metadata":{meta},"items":[{items}]}}')
            else:
                self._stream()

        def _send(self, body: Any) -> None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for chunk in chunks:
                    self.wfile.write(chunk)
                self.rfile.read(1)  # until the other side lets go
            except OSError:
                return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Incoming)
    server.daemon_threads = True
    ready.send(server.server_port)
    server.serve_forever()


@contextmanager
def _serving(order: str) -> Iterator[str]:
    """The server's address; its CPU time is its own process's."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(order, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()
