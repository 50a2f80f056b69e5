"""`sync`, `backfill` and `engines test`: one pass over engines that answer, fail and hang."""

from __future__ import annotations

import contextlib
import os
import pty
import time

import pytest
from tests.acceptance.cli.conftest import until

ROW = ["engine", "ok", "state", "new", "changed", "same", "linked", "vanished", "quarantined", "runs_changed",
       "requests", "duration_s", "error"]  # fmt: skip


def test_a_pass_in_json(place, acme):
    place.configure(("ci", acme))
    acme.add("b-1", "build", "PROCESSING")
    acme.add("b-2", "build", "COMPLETED")
    [row] = place.ok("sync", "-o", "json").json
    assert list(row) == ROW
    assert row["duration_s"] > 0
    assert row | {"duration_s": 0} == {
        "engine": "ci", "ok": True, "state": "ok", "new": 2, "changed": 0, "same": 0, "linked": 0, "vanished": 0,
        "quarantined": 0, "runs_changed": 0, "requests": 2, "duration_s": 0, "error": None,
    }  # fmt: skip
    acme.add("b-1", "build", "FAILED")
    [row] = place.ok("sync", "-o", "json").json
    assert (row["new"], row["changed"], row["same"]) == (0, 1, 1)


def test_exit_codes(place, new_engine):
    one, two = new_engine(), new_engine()
    place.configure(("one", one), ("two", two))
    assert place("sync").code == 0
    two.mode = "denied"
    said = place("sync")
    assert said.code == 3
    assert "two: denied: " in said.err
    one.mode = "down"
    assert place("sync").code == 1
    assert place("sync", "--engine", "two").code == 1
    one.mode = "ok"
    assert place("sync", "--engine", "one").code == 0
    assert {row["engine"]: row["state"] for row in place.rows("status")} == {"one": "ok", "two": "denied"}


def test_an_engine_that_hangs_delays_no_other_and_no_exit(place, new_engine):
    good, hanging = new_engine(), new_engine()
    hanging.mode = "hang"
    good.add("g-1", "job", "COMPLETED")
    place.configure(("good", good), ("hanging", hanging), poll_deadline_s=1, request_timeout_s=30)
    began = time.monotonic()
    said = place("sync", "-o", "json")
    assert said.code == 3
    assert time.monotonic() - began < 15
    assert [(row["engine"], row["state"], row["new"]) for row in said.json] == [
        ("good", "ok", 1),
        ("hanging", "lost", 0),
    ]


def test_no_engine_at_all(place):
    place.configure()
    said = place.ok("sync")
    assert "no engine is configured" in said.err


def test_what_the_configuration_changed_is_told(place, acme):
    place.configure(("ci", acme))
    assert "engine ci: new, acme at" in place.ok("sync").err
    place.configure(("other", acme))
    err = place.ok("sync").err
    assert "engine other: new" in err
    assert "engine ci: deactivated; its instances stay" in err
    rows = {row["name"]: row for row in place.rows("engines", "list", "--all")}
    assert (rows["ci"]["configured"], rows["ci"]["is_active"]) == (False, False)


@pytest.mark.parametrize("since", ["30d", "2026-01-01"])
def test_a_backfill_reads_deep(place, acme, since):
    place.configure(("ci", acme))
    acme.add("b-1", "build", "COMPLETED")
    [row] = place.ok("backfill", "--since", since, "-o", "json").json
    assert (row["ok"], row["new"]) == (True, 1)
    assert acme.asked[1][1]["deep"] == "True"
    acme.mode = "down"
    assert place("backfill", "--since", since).code == 1


def test_engines_test(place, new_engine):
    good, bad = new_engine(), new_engine()
    good.warnings = ["it may not read folders; grant Overall/Read"]
    bad.mode = "denied"
    place.configure(("good", good), ("bad", bad))
    said = place("engines", "test", "-o", "json")
    assert said.code == 3
    rows = said.json
    assert [list(row) for row in rows] == [
        [
            "engine",
            "ok",
            "product",
            "version",
            "warnings",
            "error",
            "skew_s",
            "isolation",
            "python",
            "start_s",
            "duration_s",
        ]
    ] * 2
    assert abs(rows[0].pop("skew_s")) < 5
    assert rows[0] | {"duration_s": 0} == {
        "engine": "good", "ok": True, "product": "Acme CI", "version": "7.1",
        "warnings": ["it may not read folders; grant Overall/Read"], "error": None, "duration_s": 0,
        "isolation": "none", "python": None, "start_s": None,
    }  # fmt: skip
    assert (rows[1]["ok"], rows[1]["error"]) == (False, f"{bad.url} refused the token")
    said = place.ok("engines", "test", "good")
    assert "good: warning: it may not read folders" in said.err
    assert place("engines", "test", "bad").code == 1
    assert not (place.path / "runlink.db").exists()


def test_engines_test_does_not_wait_for_ever(place, acme):
    acme.mode = "hang"
    place.configure(("ci", acme))
    said = place("engines", "test", "--timeout", "0.3", "-o", "json")
    assert said.code == 1
    assert said.json[0]["error"]


def test_a_missing_secret_is_told_by_its_name(place, acme, monkeypatch):
    place.configure(("ci", acme))
    monkeypatch.delenv("ACME_TOKEN")
    said = place("engines", "test", "-o", "json")
    assert "the environment variable ACME_TOKEN is not set" in said.json[0]["error"]
    assert place("sync").code == 1


def test_a_long_pass_shows_its_progress_on_a_terminal_only(place, acme):
    acme.mode = "wait"
    place.configure(("ci", acme))
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = place.child("sync", stderr=theirs)
    os.close(theirs)
    shown = b""

    def drawn():
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65536)
        return b"0 read" in shown

    until(drawn, "the progress bar")
    acme.release()
    until(lambda: (drawn(), process.poll() is not None)[1], "the end")
    os.close(ours)
    assert process.returncode == 0
    assert process.said.read_text().split()[:2] == ["engine", "state"]
    assert "\x1b" not in process.said.read_text()
