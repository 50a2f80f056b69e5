"""`serve`, as a process: signals, the lock, and a configuration that changes under it."""

from __future__ import annotations

import re
import signal
import time

import pytest
from tests.acceptance.cli.conftest import until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING) \S")
QUICK_S = 60.0  # of a busy machine; what does not stop in time waits for 300 s


@pytest.fixture
def serving(place, acme):
    """A running `serve`, which has synced once."""
    place.configure(("ci", acme), poll_interval_s=1)
    acme.add("b-1", "build", "PROCESSING")
    place.daemon = place.child("serve", "--log-level", "debug")
    until(lambda: acme.asked, "the first request")
    return place


def said(process):
    return process.said.read_text()


def stops(process, with_signal=signal.SIGTERM):
    process.send_signal(with_signal)
    began = time.monotonic()
    code = process.wait(90)
    assert time.monotonic() - began < QUICK_S
    assert "Traceback" not in said(process)
    return code


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_follows_its_engines_until_it_is_told_to_stop(serving, acme, with_signal):
    until(lambda: [row["status"] for row in serving.rows("instances", "list")] == ["PROCESSING"], "the instance")
    acme.add("b-1", "build", "COMPLETED")
    until(lambda: serving.rows("instances", "list")[0]["status"] == "COMPLETED", "its end")
    assert stops(serving.daemon, with_signal) == 0
    assert f"engine ci: acme at {acme.url}, every 1 s\n" in said(serving.daemon)
    assert said(serving.daemon).endswith("Z INFO stopped\n")
    for line in said(serving.daemon).splitlines():
        assert LINE.match(line), line


@pytest.mark.parametrize("how", ["hangs", "hangs beside the host"])
def test_it_stops_in_time_while_an_engine_hangs(place, acme, how):
    acme.mode = "hang"
    place.configure(("ci", acme), request_timeout_s=300, poll_deadline_s=300, site=how)
    daemon = place.child("serve")
    until(lambda: acme.asked, "the request that hangs")
    assert stops(daemon) == 0


def test_a_signal_that_wakes_nobody_is_obeyed(place, acme):
    place.configure(("ci", acme), site="signals")
    daemon = place.child("serve")
    assert daemon.wait(QUICK_S) == 0
    assert said(daemon).endswith("stopped\n")


def test_a_second_one_is_refused(serving):
    until(lambda: serving.rows("status")[0]["daemon_running"], "the lock")
    assert "a daemon runs (" in serving.ok("status").err
    for command in ("serve", "sync"):
        refused = serving(command)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("error: another runlink (")
    assert stops(serving.daemon) == 0
    serving.ok("sync")


def test_a_new_configuration_is_taken(serving, acme, new_engine):
    second = new_engine()
    serving.configure(("ci", acme), ("second", second), poll_interval_s=2)
    serving.daemon.send_signal(signal.SIGHUP)
    until(lambda: second.asked, "the new engine's first request")
    assert "the configuration was read again; it changes:\n" in said(serving.daemon)
    assert f"INFO engines.second: added (acme at {second.url})\n" in said(serving.daemon)
    assert "engines.ci.poll_interval_s: 1.0 -> 2.0" in said(serving.daemon)
    serving.daemon.send_signal(signal.SIGHUP)
    until(lambda: "the configuration was read again; nothing changes\n" in said(serving.daemon), "the second reading")
    assert stops(serving.daemon) == 0


def test_it_stops_while_a_reload_waits_for_another_python(serving, acme, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 300\n")
    python.chmod(0o755)
    serving.configure(("ci", acme), isolation="process", python=str(python))
    serving.daemon.send_signal(signal.SIGHUP)
    until((tmp_path / "asked").exists, "the reload")
    assert stops(serving.daemon) == 0
    assert "stays as it was" not in said(serving.daemon)  # as it says when that python has had its minute


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("[engines.ci", "line 1, column"),
        ('[engines.ci]\ntype = "acme"\nurl = "http://127.0.0.1"\nsitte = "x"\n', "unknown key; did you mean 'site'?"),
        ('[engines.ci]\ntype = "acne"\nurl = "http://127.0.0.1"\n', "no plugin brings the engine type 'acne'"),
    ],
)
def test_a_bad_configuration_changes_nothing(serving, acme, bad, why):
    serving.config.write_text(bad)
    serving.daemon.send_signal(signal.SIGHUP)
    until(lambda: "Z ERROR the configuration stays as it was: " in said(serving.daemon), "the refusal")
    assert why in said(serving.daemon)
    before = len(acme.asked)
    until(lambda: len(acme.asked) > before, "the next poll of the old configuration")
    assert stops(serving.daemon) == 0


def test_a_lost_engine_is_told_once_and_again_when_it_is_back(serving, acme):
    until(lambda: serving.rows("instances", "list"), "the instance")
    acme.mode = "down"
    until(lambda: "ci: lost: " in said(serving.daemon), "the loss")
    before = len(acme.asked)
    until(lambda: len(acme.asked) > before, "another try")
    acme.mode = "ok"
    until(lambda: "ci: back after " in said(serving.daemon), "the return")
    assert said(serving.daemon).count("ci: lost: ") == 1
    assert stops(serving.daemon) == 0
    assert "token-nobody-may-see" not in said(serving.daemon)
