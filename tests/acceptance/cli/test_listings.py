"""What is listed and shown: rows, filters, pages, and JSON to the letter."""

from __future__ import annotations

import pytest

FIELDS = ["id", "engine", "external_id", "workflow", "status", "native_status", "attempt", "started_at", "finished_at",
          "duration_seconds", "url", "parameters", "instance_metadata", "runs"]  # fmt: skip


def ids(rows):
    return {row["external_id"] for row in rows}


def test_an_instance_in_json(synced):
    rows = synced.rows("instances", "list")
    assert [list(row) for row in rows] == [FIELDS] * 4
    [row] = [row for row in rows if row["external_id"] == "b-1"]
    assert row | {"id": None} == {
        "id": None,
        "engine": "ci",
        "external_id": "b-1",
        "workflow": "nightly/build",
        "status": "COMPLETED",
        "native_status": "completed",
        "attempt": 1,
        "started_at": "2026-01-05T10:00:00Z",
        "finished_at": "2026-01-05T10:02:00Z",
        "duration_seconds": 120.0,
        "url": "http://acme/b-1",
        "parameters": {"RUN_ID": "monday"},
        "instance_metadata": {"node": "n1"},
        "runs": [synced.run],
    }


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--engine", "ci"], {"b-1", "t-1", "x-1", "x-2"}),
        (["--engine", "cj"], set()),
        (["--workflow", "nightly/*"], {"b-1", "t-1"}),
        (["--workflow", "nightly/test"], {"t-1"}),
        (["--status", "processing"], {"x-1"}),
        (["--linked"], {"b-1", "t-1"}),
        (["--unlinked"], {"x-1", "x-2"}),
        (["--run", "monday"], {"b-1", "t-1"}),
        (["--since", "2026-01-05T10:03Z"], {"t-1", "x-1"}),
        (["--since", "2026-01-05 11:05+01:00"], {"x-1"}),
        (["--since", "1h"], set()),
    ],
)
def test_instances_are_filtered(synced, filters, found):
    assert ids(synced.rows("instances", "list", *filters)) == found


def test_pages_follow_each_other(synced):
    whole = [row["id"] for row in synced.rows("instances", "list")]
    first = [row["id"] for row in synced.rows("instances", "list", "--limit", 3)]
    rest = synced.rows("instances", "list", "--limit", 3, "--before", first[-1])
    assert first + [row["id"] for row in rest] == whole
    assert f"--before {first[-1]}" in synced.ok("instances", "list", "--limit", 3).err


def test_tables_are_plain_where_there_is_no_terminal(synced):
    said = synced.ok("instances", "list", "--workflow", "nightly/test")
    head, line = said.out.splitlines()
    assert head.split()[:4] == ["id", "engine", "workflow", "external"]
    assert line.split()[1:6] == ["ci", "nightly/test", "t-1", "FAILED", "failed"]
    assert "\x1b" not in said.out


def test_nothing_found(synced):
    assert synced.ok("instances", "list", "--engine", "none", "-o", "json").out == "[]\n"
    said = synced.ok("instances", "list", "--engine", "none")
    assert (said.out, said.err) == ("", "no instance is like that\n")


def test_one_instance_with_all_that_is_known(synced):
    shown = synced.ok("instances", "show", "t-1", "-o", "json").json
    assert {step["name"]: step["status"] for step in shown["steps"]} == {"unit": "COMPLETED", "e2e": "FAILED"}
    assert [seen["status"] for seen in shown["observations"]] == ["FAILED"]
    assert [(link["run_id"], link["rule"], link["is_active"]) for link in shown["links"]] == [
        (synced.run, "by id", True)
    ]
    out = synced.ok("instances", "show", shown["id"]).out
    assert "message: 3 tests failed" in out
    assert "FAILED  e2e" in out


def test_a_run_in_json(synced):
    [row] = synced.rows("runs", "list")
    assert list(row) == ["id", "automation", "correlation_id", "status", "attempt", "created_at", "started_at",
                         "finished_at", "error_summary", "cancellation_reason", "quiet_until", "silent_since",
                         "version",
                         "instances"]  # fmt: skip
    assert (row["automation"], row["correlation_id"], row["status"], row["instances"]) == (
        "nightly", "monday", "FAILED", 2)  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--automation", "nightly"], 1),
        (["--automation", "daily"], 0),
        (["--status", "FAILED"], 1),
        (["--status", "PENDING"], 0),
        (["--key", "monday"], 1),
        (["--key", "tuesday"], 0),
        (["--since", "1h"], 1),
    ],
)
def test_runs_are_filtered(synced, filters, count):
    assert len(synced.rows("runs", "list", *filters)) == count


def test_explain_says_why(synced):
    said = synced.ok("explain", "monday")
    assert said.out == synced.ok("runs", "show", synced.run).out
    for told in ("FAILED", "key monday", "3 tests failed", "nightly/test", "linked ", "rule 'by id'", "run.failed",
                 "each of nightly/build, nightly/test has completed", "FAILED  e2e"):  # fmt: skip
        assert told in said.out
    told = synced.ok("explain", "monday", "-o", "json").json
    assert [row["external_id"] for row in told["instances"]] == ["b-1", "t-1"]
    assert told["instances"][1]["link"]["rule"] == "by id"
    assert {event["type"] for event in told["events"]} == {"instance.linked", "run.started", "run.failed"}
    times = [event["occurred_at"] for event in told["events"]]
    assert times == sorted(times)


def test_links_by_hand(synced):
    said = synced.ok("link", "monday", "x-1")
    assert "is linked to run" in said.err
    assert ids(synced.rows("instances", "list", "--run", "monday")) == {"b-1", "t-1", "x-1"}
    shown = synced.ok("instances", "show", "x-1", "-o", "json").json
    assert shown["links"][0]["rule"] is None
    assert shown["links"][0]["created_by"].startswith("cli:")
    synced.ok("unlink", "monday", "x-1")
    assert ids(synced.rows("instances", "list", "--run", "monday")) == {"b-1", "t-1"}
    said = synced("unlink", "monday", "x-1")
    assert (said.code, "is not linked to run" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["explain", "tuesday"], "no run has the id or correlation id 'tuesday'; see `runlink runs list`"),
        (["instances", "show", "b-9"], "no instance has the id or external id 'b-9'; see `runlink instances list`"),
        (["runs", "create", "--automation", "nightli"], "no automation is called 'nightli'; did you mean 'nightly'?"),
        (["executions", "show", "7"], "no execution has the id '7'"),
    ],
)
def test_what_is_not_there(synced, arguments, told):
    said = synced(*arguments)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: ")
    assert told in said.err


def test_an_ambiguous_key_is_a_choice(synced):
    other = synced.ok("runs", "create", "--automation", "nightly", "--key", "monday").out.strip()
    said = synced("explain", "monday")
    assert said.code == 1
    assert synced.run in said.err
    assert other in said.err


def test_runs_create_waits(synced):
    said = synced("runs", "create", "--automation", "nightly", "--key", "never", "--wait", "--timeout", "0")
    assert said.code == 1
    assert "is PENDING" in said.err
    row = synced.ok("runs", "create", "--automation", "nightly", "-o", "json").json
    assert list(row) == ["id", "correlation_id", "attempt", "created_at", "started_at", "finished_at",
                         "error_summary", "automation", "status"]  # fmt: skip


def test_status(synced):
    [row] = synced.rows("status")
    assert list(row) == ["engine", "type", "url", "product", "product_version", "state", "since", "last_success_at",
                         "last_news_at", "failures", "last_error", "last_error_at", "last_duration_s", "requests",
                         "skew_s", "watch", "push", "isolation", "process", "lag_s", "instances",
                         "open", "vanished", "linked", "unlinked", "daemon_running", "items_drifted"]  # fmt: skip
    counts = {name: row[name] for name in ("instances", "open", "vanished", "linked", "unlinked")}
    assert counts == {"instances": 4, "open": 2, "vanished": 0, "linked": 2, "unlinked": 2}
    assert (row["state"], row["product"], row["product_version"]) == ("ok", "Acme CI", "7.1")
    assert (row["failures"], row["last_error"], row["daemon_running"]) == (0, None, False)
    assert 0 <= row["lag_s"] < 120
    assert "no daemon runs; the last to run was" in synced.ok("status").err


def test_status_of_a_new_store(place, acme):
    place.configure(("ci", acme))
    said = place.ok("status")
    assert "nothing was ever synced" in said.err
    assert said.out.splitlines()[1].split() == ["ci", "new", "0", "0", "0", "0", "0"]


def test_status_of_an_engine_that_is_lost(synced, acme):
    acme.mode = "down"
    assert synced("sync").code == 1
    said = synced.ok("status")
    assert "nothing was ever synced" not in said.err
    assert f"ci: {acme.url}/api/about answered 503" in said.err
    assert synced.rows("status")[0]["state"] == "lost"
    acme.mode = "ok"
    synced.ok("sync")
    [row] = synced.rows("status")
    assert (row["state"], row["failures"]) == ("ok", 0)
    assert row["last_error"] in said.err
    assert f"ci: the last error, over now: {row['last_error']} ({row['last_error_at'][:10]}" in synced.ok("status").err


def test_quarantine(synced):
    [row] = synced.rows("quarantine")
    assert list(row) == ["engine", "fingerprint", "external_id", "feed", "reason", "raw", "first_seen_at",
                         "last_seen_at", "count"]  # fmt: skip
    assert (row["engine"], row["reason"]) == ("ci", "it has no job")
    assert "it has no job" in synced.ok("quarantine", "--engine", "ci").out
    assert synced.rows("quarantine", "--engine", "cj") == []


def test_engines_list(synced):
    rows = synced.rows("engines", "list")
    assert [list(row) for row in rows] == [
        ["id", "name", "type", "url", "product", "product_version", "configured", "is_active"]
    ]
    assert (rows[0]["name"], rows[0]["product"], rows[0]["configured"]) == ("ci", "Acme CI", True)
    assert synced.rows("engines", "list", "--type", "jenkins") == []


def test_control_characters_of_an_engine_do_not_reach_the_terminal(place, acme):
    place.configure(("ci", acme))
    acme.add("e-1", "job", "FAILED", message="\x1b]0;title\x07boo")
    place.ok("sync")
    out = place.ok("instances", "show", "e-1").out
    assert "\x1b" not in out
    assert r"\x1b]0;title\x07boo" in out


def test_status_of_an_engine_that_is_not_there_is_refused(synced):
    said = synced("status", "--engine", "nope")
    assert said.code == 2
    assert "no engine is called 'nope'" in said.err
