"""`--log-format json`: whatever comes on stderr is one object a line, and none holds a secret."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from tests.acceptance.cli.conftest import TOKEN, until
from tests.acceptance.cli.test_server import address

HOOK_SECRET = "secret-of-the-hook-nobody-may-see"
PUSHING = """
[engines.cd]
type = "cdevents"

[engines.cd.webhook]
authentication = "bearer"
secrets = [{ env = "HOOK_SECRET" }]
"""
UNCAUGHT = """
import gc, logging, threading, warnings
from runlink.cli import logs
from runlink.cli.options import LogFormat, LogLevel

logs.configure(LogLevel.INFO, LogFormat.JSON)
warnings.warn("an old way\\nof doing it")


class Going:
    def __del__(self):
        raise ValueError("while it goes")


thread = threading.Thread(target=lambda: [][1], name="worker")
thread.start()
thread.join()
going = Going()
del going
gc.collect()
logging.getLogger("runlink.x").info("%d", "no number")
logging.getLogger("runlink.x").info("half of a character: %s", "\\ud800", extra={"facts": {"odd": {1, 2}}})
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application\\n")
logging.getLogger("alembic.runtime.migration").warning("two\\r\\nlines \\x1b[31m")
"""


def objects(text):
    """The lines, each of which is an object."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys(), line
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
    return lines


@pytest.fixture
def serving(place, acme, new_engine, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", HOOK_SECRET)
    lost = new_engine()
    lost.mode = "down"
    place.configure(("ci", acme), ("lost", lost), more=PUSHING)
    place.config.write_text(place.config.read_text().replace("'cloudevents', ", ""))
    acme.add("b-1", "build", "no status that there is", message=f"the token is {TOKEN}")  # a bug of the plugin
    place.daemon = place.child("serve", "--log-format", "json", "--log-level", "debug")
    place.url = address(place.daemon)
    return place


def said(serving):
    return serving.daemon.said.read_text()


def test_each_line_of_serve_is_one_object_and_none_holds_a_secret(serving):
    token = serving.ok("tokens", "create", "me", "--role", "admin").out.strip()
    with httpx.Client(base_url=serving.url, trust_env=False, timeout=20) as client:
        client.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"})
        client.post("/api/v1/runs", content=b"\xff{", headers={"Authorization": f"Bearer {token}"})
        client.post("/login", data={"token": token})
        client.get("/api/v1/runs?search=%0a%1b[31m%00", headers={"Cookie": "runlink_session=guess-of-a-session"})
        for secret in (HOOK_SECRET, "a guess"):
            client.post("/hooks/cd", content=b"no form", headers={"Authorization": f"Bearer {secret}"})
        client.get("/%ff%0a/..%2f")
    with socket.create_connection(("127.0.0.1", httpx.URL(serving.url).port)) as plain:
        plain.sendall(b"NO HTTP \x00\n\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 400")
    config = serving.config.read_text()
    serving.config.write_text(config + "\n[engines.bad]\n")
    serving.daemon.send_signal(signal.SIGHUP)
    until(lambda: "the configuration stays as it was" in said(serving), "its complaint")
    serving.config.write_text(config)
    serving.daemon.send_signal(signal.SIGHUP)
    until(lambda: "the configuration was read again" in said(serving), "its answer")
    until(lambda: "traceback" in said(serving), "the bug of the plugin")
    until(lambda: "lost: lost:" in said(serving), "the engine that is lost")
    serving.daemon.send_signal(signal.SIGTERM)
    assert serving.daemon.wait(30) == 0
    lines = objects(said(serving))
    loggers = {line["logger"] for line in lines}
    assert {"runlink.serve", "runlink.feeds", "runlink.http.access", "uvicorn.error"} <= loggers
    assert lines[-1]["message"] == "stopped"
    assert any(line["level"] == "error" and "engines.bad" in line["message"] for line in lines)
    for secret in (TOKEN, HOOK_SECRET, token, token.removeprefix("rl_"), "guess-of-a-session", "a guess"):
        assert secret not in said(serving)


def test_warnings_and_what_nobody_caught_are_objects():
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = objects(done.stderr)
    told = [(line["level"], line["logger"], line["message"].strip().splitlines()[0]) for line in lines]
    assert [one[:2] for one in told] == [
        ("warning", "py.warnings"),
        ("error", "runlink.cli"),
        ("error", "runlink.cli"),
        ("error", "runlink.x"),
        ("info", "runlink.x"),
        ("error", "uvicorn.error"),
        ("warning", "alembic.runtime.migration"),
    ]
    assert "thread worker ended by an error" in told[1]
    for line, kind in ((lines[1], "IndexError"), (lines[2], "ValueError: while it goes"), (lines[5], "ZeroDivision")):
        assert kind in line["traceback"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("status",), 0, "nothing was ever synced"),
        (("status", "--engine", "nobody"), 2, "nobody"),
        (("runs", "lost"), 2, "No such command"),
        (("runs", "list", "--limit", "few"), 2, "--limit"),
        (("runs", "list", "--config", "nowhere.toml"), 2, "nowhere.toml"),
        (("sync",), 1, "answered 503"),
    ],
)
def test_what_a_command_says_is_an_object_and_its_data_is_as_ever(place, acme, arguments, code, told):
    acme.mode = "down"
    place.configure(("ci", acme))
    answer = place(*arguments, "--log-format", "json")
    assert answer.code == code
    assert any(told in line["message"] for line in objects(answer.err)), answer.err
    assert not answer.out.startswith("{")


def test_the_variable_asks_for_it_too(place, acme, monkeypatch):
    place.configure(("ci", acme))
    monkeypatch.setenv("RUNLINK_LOG_FORMAT", "json")
    assert objects(place.ok("status").err)
    assert "nothing was ever synced" in place.ok("status", "--log-format", "text").err.splitlines()[-1]
