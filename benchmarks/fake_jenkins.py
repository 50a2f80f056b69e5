"""A Jenkins on loopback, in a process of its own, so that its CPU is nobody's: `python -m benchmarks.fake_jenkins`.

The model and its `tree` queries are those of the plugin's tests; an answer is rendered once and kept, as nothing ever
changes. `/job/NAME/api/json` and `/job/NAME/N/api/json` without a tree answer what python-jenkins asks for.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_MODEL = Path(__file__).parents[1] / "plugins" / "runlink-jenkins" / "tests" / "fake_jenkins.py"
T0_MS = 1_795_445_000_000
NOW = datetime.fromtimestamp(T0_MS / 1000, UTC) + timedelta(hours=1)
"""The time at which the builds are fresh."""
PROBES = "/when-probed"
"""Answers when this Jenkins was polled, in seconds of the machine's monotonic clock."""


@contextmanager
def running(jobs: int, builds: int, *, count: int = 1) -> Iterator[list[str]]:
    """So many servers with so many jobs of so many builds each; gives their addresses."""
    command = [sys.executable, "-m", "benchmarks.fake_jenkins", str(jobs), str(builds), str(count)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def job_name(number: int) -> str:
    """How a job is called."""
    return f"service-{number:04}"


def _model(jobs: int, builds: int) -> Any:
    spec = importlib.util.spec_from_file_location("fake_jenkins_model", _MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    jenkins = module.FakeJenkins()
    actions = [
        [_CAUSE, {}, {**_PARAMETERS, "parameters": [_parameter("RELEASE", f"r-{build}"), _BRANCH]}]
        for build in range(builds)
    ]
    for number in range(jobs):
        name = job_name(number)
        for build in range(builds):
            result = "SUCCESS" if build % 10 else "FAILURE"
            jenkins.build(
                name,
                timestamp=T0_MS - (builds - build) * 60_000,
                queueId=1000 + number * builds + build,
                result=result,
                duration=20_000 + build,
                actions=actions[build],
            )
        jenkins.job(name).color = "blue"
    return jenkins


_CAUSE = {
    "_class": "hudson.model.CauseAction",
    "causes": [
        {
            "_class": "hudson.model.Cause$UserIdCause",
            "shortDescription": "Started by user release-bot",
            "userId": "release-bot",
            "userName": "release-bot",
        }
    ],
}
_PARAMETERS = {"_class": "hudson.model.ParametersAction"}


def _parameter(name: str, value: str) -> dict[str, str]:
    return {"_class": "hudson.model.StringParameterValue", "name": name, "value": value}


_BRANCH = _parameter("BRANCH", "main")


def _plain(jenkins: Any, path: str) -> bytes | None:
    """Answers without a tree, of a job or of a build."""
    parts = path.partition("?")[0].strip("/").split("/")
    if parts[0] != "job" or "tree=" in path:
        return None
    job = jenkins.find(parts[1])
    if job is not None and parts[2].isdigit():
        return json.dumps(job.build(int(parts[2])).fields).encode()
    if job is not None:
        builds = [{"_class": b.fields["_class"], "number": b.number, "url": b.fields["url"]} for b in job.builds]
        return json.dumps({"_class": job.klass, "name": job.name, "builds": builds}).encode()
    return None


def _serve(jenkins: Any) -> int:
    kept: dict[tuple[str, str, bytes], tuple[int, Any, bytes]] = {}
    probes: list[float] = []

    class Incoming(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, *_args: Any) -> None:
            pass

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            key = (self.command, self.path, body)
            if unquote(self.path).startswith("/api/json?tree=jobs[fullName,nextBuildNumber"):
                probes.append(time.monotonic())
            if self.path == PROBES:
                kept[key] = (200, {"Content-Type": "application/json"}, json.dumps(probes).encode())
            elif key not in kept:
                plain = _plain(jenkins, self.path)
                json_type = {"Content-Type": "application/json", "X-Jenkins": "2.426.2"}
                kept[key] = (
                    (200, json_type, plain)
                    if plain is not None
                    else jenkins.handle(self.command, self.path, dict(self.headers), body)
                )
            status, headers, content = kept[key]
            self.send_response_only(status)
            self.send_header("Date", self.date_time_string())
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = _answer  # noqa: N815 - the base's names

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Incoming)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main() -> None:
    """Serves until stdin ends."""
    jobs, builds, count = map(int, sys.argv[1:4])
    urls = [f"http://127.0.0.1:{_serve(_model(jobs, builds))}" for _ in range(count)]
    print(json.dumps(urls), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
