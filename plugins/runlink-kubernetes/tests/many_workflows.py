"""A cluster of many small workflows, served from ready bytes; and, run as a program, the process that follows them.

python many_workflows.py URL DATABASE prints, as JSON, how many rows there are by status, and its peak memory in MB.
"""

import contextlib
import http.server
import json
import re
import sqlite3
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SIZE = 3700


def workflow(number, phase="Running", version=1):
    name = f"wf-{number:05}"
    nodes = {
        f"{name}-{n}": {
            "id": f"{name}-{n}", "name": f"{name}[0].s{n}", "displayName": f"s{n}", "type": "Pod", "phase": phase,
            "startedAt": "2026-11-23T10:00:00Z", "boundaryID": name, "templateName": "main",
            "finishedAt": "2026-11-23T10:01:00Z" if phase == "Succeeded" else None,
        }
        for n in range(3)
    }  # fmt: skip
    status = {"phase": phase, "startedAt": "2026-11-23T10:00:00Z", "nodes": nodes, "progress": "1/3"}
    if phase == "Succeeded":
        status["finishedAt"] = "2026-11-23T10:01:00Z"
    item = {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
        "metadata": {
            "name": name, "namespace": "load", "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(version), "creationTimestamp": "2026-11-23T09:59:00Z",
            "generateName": "wf-", "labels": {"workflows.argoproj.io/phase": phase}, "managedFields": [],
        },
        "spec": {
            "entrypoint": "main", "arguments": {"parameters": [{"name": "n", "value": str(number)}]},
            "templates": [{"name": "main", "container": {"image": "alpine", "args": []}}],
        },
        "status": status,
    }  # fmt: skip
    missing = SIZE - len(json.dumps(item))
    item["metadata"]["managedFields"].append({"manager": "m", "fieldsV1": "x" * max(0, missing - 30)})
    return item


def _template(phase):
    text = json.dumps(workflow(0, phase, 88888888)).replace("00000000-0000-4000-8000-000000000000", "@UID@")
    text = text.replace("wf-00000", "@NAME@").replace("88888888", "@VERSION@")
    return text.replace('"value": "0"', '"value": "@NUMBER@"')


TEMPLATES = {phase: _template(phase) for phase in ("Running", "Succeeded")}


def text_of(number, phase, version):
    """`workflow`, made quickly."""
    text = TEMPLATES[phase].replace("@UID@", f"00000000-0000-4000-8000-{number:012}")
    text = text.replace("@NAME@", f"wf-{number:05}").replace("@VERSION@", str(version))
    return text.replace("@NUMBER@", str(number))


class ManyWorkflows:
    """`count` workflows at version 1..count, then an event for each: Succeeded."""

    def __init__(self, count):
        self.count = count
        self.gone = threading.Event()

    def __enter__(self):
        outer = self

        class Incoming(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_GET(self):
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                with contextlib.suppress(OSError):
                    outer.watch(self, int(query["resourceVersion"])) if "watch" in query else outer.list(self, query)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Incoming)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()

    def list(self, to, query):
        start, limit = int(query.get("continue") or 0), int(query["limit"])
        end = min(self.count, start + limit)
        items = ",".join(text_of(number, "Running", number + 1) for number in range(start, end))
        after = str(end) if end < self.count else ""
        meta = json.dumps({"resourceVersion": str(self.count), "continue": after})
        data = f'{{"metadata": {meta}, "items": [{items}]}}'.encode()
        to.send_response(200)
        to.send_header("Content-Length", str(len(data)))
        to.end_headers()
        to.wfile.write(data)

    def watch(self, to, version):
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        for number in range(version - self.count, self.count):
            item = text_of(number, "Succeeded", self.count + number + 1)
            data = f'{{"type": "MODIFIED", "object": {item}}}\n'.encode()
            to.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.gone.wait(30)


def follow(url, database):
    import runlink.testing
    from runlink.application.ingest.decide import Read
    from runlink.application.ingest.ingest import ingest
    from runlink.application.rules.rules import Rules
    from runlink.domain import Engine
    from runlink.store import open_store
    from runlink_kubernetes import ArgoAdapter

    store = open_store(f"sqlite:///{database}")
    engine = Engine(name="argo", type="argo", url=url)
    with store.unit_of_work("test") as uow:
        uow.engines.add(engine)
    rules = Rules(())
    adapter = runlink.testing.build(ArgoAdapter, url, since=datetime(2019, 1, 1, tzinfo=UTC))
    count = 0

    def take(page):
        now = datetime.now(UTC)
        store.write(lambda uow: ingest(uow, rules, engine, page, Read(feed="poll", began_at=now), now), actor="e")

    cursors = {}
    for page in adapter.poll({}):
        count += len(page.observations)
        cursors.update(page.cursors)
        take(page)
    changes = 0
    for page in adapter.watch(cursors):
        changes += len(page.observations)
        take(page)
        if changes >= count:
            break
    runlink.testing.close(adapter)
    store.close()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = dict(connection.execute("select status, count(*) from orchestration_instances group by status"))
    # Not getrusage: its peak counts what the process was forked from.
    status = Path("/proc/self/status").read_text()
    peak_kb = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    print(json.dumps({"rows": rows, "peak_mb": peak_kb / 1024}))


if __name__ == "__main__":
    follow(*sys.argv[1:])
