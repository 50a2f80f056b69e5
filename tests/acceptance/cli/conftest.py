"""A place to work in: a configuration, an Acme engine on loopback, its plugin installed, and the command itself."""

from __future__ import annotations

import importlib.metadata
import io
import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runlink.cli import output

HERE = Path(__file__).parent
TOKEN = "token-nobody-may-see"


class AcmeEngine:
    """The engine. `mode` is ok, down, denied, hang (accepts and never answers) or wait (answers after `release`)."""

    def __init__(self):
        self.runs, self.mode, self.asked, self.warnings = {}, "ok", [], []
        self._released = threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                engine.answer(self)

            def log_message(self, *_args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def add(self, external_id, job, status, **more):
        self.runs[external_id] = {"id": external_id, "job": job, "status": status, **more}

    def answer(self, request):
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append((parts.path, query))
        if self.mode == "hang":
            self._released.wait(60)
            return
        if self.mode == "wait":
            self._released.wait(60)
        status = {"down": 503, "denied": 401}.get(self.mode, 200)
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            status = 401
        body = {"product": "Acme CI", "version": "7.1", "warnings": self.warnings}
        if parts.path == "/api/runs":
            ids = query.get("ids")
            chosen = (
                list(self.runs.values()) if ids is None else [self.runs[i] for i in ids.split(",") if i in self.runs]
            )
            body = {"runs": chosen, "at": len(self.asked)}
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def release(self):
        self._released.set()

    def close(self):
        self.release()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Said:
    """What a call came to."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Place:
    """A directory with a configuration, and the `runlink` command in it."""

    def __init__(self, path, site, capsys, monkeypatch):
        self.path, self._site, self._capsys, self._monkeypatch = path, site, capsys, monkeypatch
        self.config = path / "runlink.toml"
        self._children = []

    def configure(self, *engines, more="", poll_interval_s=1, **keys):
        """Writes the configuration: `engines` are (name, engine)."""
        others = [p.name for p in importlib.metadata.entry_points(group="runlink") if p.name != "acme"]
        text = f"[plugins]\ndisabled = {sorted(set(others))}\n"
        text += '[server]\nlisten = "127.0.0.1:0"\n'  # many run at a time
        for name, engine in engines:
            url = engine if isinstance(engine, str) else engine.url
            text += f'[engines.{name}]\ntype = "acme"\nurl = "{url}"\ntoken = {{ env = "ACME_TOKEN" }}\n'
            text += f"poll_interval_s = {poll_interval_s}\n"
            text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        self.config.write_text(text + more)

    def __call__(self, *arguments, stdin=None):
        """Runs the command in this process."""
        from runlink.cli import main

        if stdin is not None:
            self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        assert TOKEN not in out + err
        return Said(ended.value.code or 0, out, err)

    def ok(self, *arguments, **more):
        said = self(*arguments, **more)
        assert said.code == 0, said.err
        return said

    def rows(self, *arguments):
        return self.ok(*arguments, "-o", "json").json

    def child(self, *arguments, **options):
        """Starts the command as a process of its own; what it says goes to the file `.said`."""
        said = self.path / f"said-{len(self._children)}.txt"
        with said.open("wb") as file:
            options = {"stdout": file, "stderr": file, "stdin": subprocess.DEVNULL, **options}
            code = "from runlink.cli import main; main()"
            process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=self.path, **options)
        process.said = said
        self._children.append(process)
        return process

    def close(self):
        for process in self._children:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def until(true, what="it", deadline_s=30.0):
    """Waits until `true()` is; polls."""
    end = time.monotonic() + deadline_s
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not come about in {deadline_s} s"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A directory like site-packages with the Acme plugin installed."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "runlink_acme.py", site)
    install(site, "acme", "runlink_acme", "2.5")
    return site


def install(site, name, module, version):
    info = site / f"runlink_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: runlink-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[runlink]\n{name} = {module}\n")


@pytest.fixture(autouse=True)
def _logging_as_before():
    """A command sets logging up for its whole process, which here is that of all tests."""
    loggers = [logging.getLogger(name) for name in (None, "runlink", "runlink.hosting")]
    levels = [logger.level for logger in loggers]
    hooks = threading.excepthook, sys.unraisablehook
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
        logger.handlers = [handler for handler in logger.handlers if handler.name != "runlink.cli"]
    output.speak_json(False)
    logging.captureWarnings(False)
    threading.excepthook, sys.unraisablehook = hooks


@pytest.fixture
def place(tmp_path, site, capsys, monkeypatch):
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("ACME_TOKEN", TOKEN)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or every child compiles everything
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it, a pipe that closes half way is not noticed
    monkeypatch.delenv("RUNLINK_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, site, capsys, monkeypatch)
    yield place
    place.close()


@pytest.fixture
def new_engine():
    engines = []

    def make():
        engines.append(AcmeEngine())
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def acme(new_engine):
    return new_engine()


@pytest.fixture
def synced(place, acme):
    """A place with four instances, two of them linked to a Run `monday`."""
    rule = '[[links]]\nname = "by id"\nworkflow = "nightly/*"\nautomation = "nightly"\nrun_key = "parameters.RUN_ID"\n'
    place.configure(("ci", acme), more=f'{rule}[automations.nightly]\nexpected = ["nightly/build", "nightly/test"]\n')
    key = {"RUN_ID": "monday"}
    t = "2026-01-05T10:0{}:00+00:00"
    acme.add("b-1", "nightly/build", "COMPLETED", started=t.format(0), finished=t.format(2), parameters=key,
             url="http://acme/b-1", metadata={"node": "n1"})  # fmt: skip
    acme.add("t-1", "nightly/test", "FAILED", started=t.format(3), finished=t.format(4), parameters=key,
             message="3 tests failed", steps={"unit": "COMPLETED", "e2e": "FAILED"})  # fmt: skip
    acme.add("x-1", "other", "PROCESSING", started=t.format(5))
    acme.add("x-2", "other", "PENDING")
    acme.runs["bad"] = {"id": "bad", "status": "COMPLETED"}
    place.ok("sync")
    place.run = place.ok("runs", "create", "--automation", "nightly", "--key", "monday").out.strip()
    return place
