"""An engine whose adapter runs in a process of its own, by the configuration alone: what operators see of it."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.acceptance.cli.conftest import TOKEN, until


@pytest.fixture
def isolated(place, acme):
    place.configure(("ci", acme), isolation="process", poll_interval_s=1)
    acme.add("b-1", "build", "PROCESSING")
    return place


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def process(place):
    return place.rows("status")[0]["process"]


def test_a_sync_goes_through_a_process_that_ends_with_it(isolated, acme):
    isolated.ok("validate")
    isolated.ok("sync")
    assert [row["status"] for row in isolated.rows("instances", "list")] == ["PROCESSING"]
    (row,) = isolated.rows("status")
    assert row["isolation"] == "process"
    assert row["requests"] >= 2  # counted here, though they were made there
    assert row["process"]["python"] is None


def test_engines_test_says_how_it_was_reached(isolated):
    (row,) = isolated.rows("engines", "test")
    assert (row["ok"], row["product"], row["isolation"]) == (True, "Acme CI", "process")
    assert "its own, begun in" in re.sub(r"\s+", " ", isolated.ok("engines", "test").out)


def test_a_process_that_is_killed_is_replaced_and_everybody_sees_it(isolated, acme):
    daemon = isolated.child("serve", "--log-level", "debug")
    pid = until(lambda: (process(isolated) or {}).get("pid"), "its process")
    assert is_there(pid)
    told = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert TOKEN.encode() not in told
    os.kill(pid, signal.SIGKILL)
    found = until(lambda: (p := process(isolated))["restarts"] and p["pid"] and p, "another")
    assert found["pid"] != pid
    assert found["uptime_s"] is not None
    acme.add("b-1", "build", "COMPLETED")
    until(lambda: isolated.rows("instances", "list")[0]["status"] == "COMPLETED", "its end")
    address = until(lambda: re.search(r"answering at (http\S+)/", daemon.said.read_text()), "the server")[1]
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'runlink_adapter_process_restarts_total{engine="ci",feed="poll",type="acme"} 1.0' in metrics
    assert 'runlink_adapter_process_start_time_seconds{engine="ci"' in metrics
    said = isolated("doctor", "-o", "json")
    assert "its adapter's process was lost and started again 1 times" in said.out
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    until(lambda: not is_there(found["pid"]), "the end of the process")


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_daemon(isolated, with_signal):
    daemon = isolated.child("serve")
    pid = until(lambda: (process(isolated) or {}).get("pid"), "its process")
    daemon.send_signal(with_signal)
    daemon.wait(60)
    until(lambda: not is_there(pid), "the end of the process")


def test_a_python_that_cannot_be_used_is_said_at_once(place, acme):
    place.configure(("ci", acme), isolation="process", python="no-such-venv/bin/python")
    for command in (["validate"], ["sync"], ["engines", "test"]):
        said = place(*command)
        assert said.code == 2
        assert f"engines.ci.python: {place.path}/no-such-venv/bin/python is not there" in said.err


def test_a_python_needs_a_process(place, acme):
    place.configure(("ci", acme), python=sys.executable)
    said = place("validate")
    assert said.code == 2
    assert 'engines.ci.python: needs isolation = "process"' in said.err


def test_plugins_of_another_environment_are_listed_and_checked(place, acme):
    there = Path(sys.executable)
    place.configure(("ci", acme), isolation="process", python=str(there))
    rows = [row for row in place.rows("plugins", "list") if row["name"] == "buildbot"]
    assert [(row["python"], row["refused"] is None) for row in rows] == [(None, False), (str(there), True)]
    found = place.rows("plugins", "check", "buildbot", "--python", str(there))
    assert {row["about"] for row in found} >= {"hooks and signatures", "grade", "dependencies"}
    assert all(row["ok"] is not False for row in found)
    said = place("plugins", "check", "--python", "no-such-python")
    assert (said.code, "no-such-python is not there" in said.err) == (2, True)


def test_a_recording_of_it_is_as_any(isolated, acme):
    isolated.ok("record", "ci", "--to", "recorded")
    assert isolated.ok("replay", "recorded")
