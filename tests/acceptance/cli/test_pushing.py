"""The whole of it: `runlink serve` takes a real Airflow's OpenLineage events, and its record tells the story."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx

EVENTS = Path(__file__).parents[3] / "plugins/runlink-openlineage/tests/recordings"
CONFIG = """
[server]
listen = "127.0.0.1:0"
[engines.lineage]
type = "openlineage"
[engines.lineage.webhook]
secrets = [{ env = "LINEAGE_TOKEN" }]
[[links]]
name = "by run id"
engine = "lineage"
automation = "pipelines"
run_key = "parameters.run_id"
create_run = true
"""


def test_served_events_of_a_real_airflow_become_runs(place, monkeypatch):
    monkeypatch.setenv("LINEAGE_TOKEN", "api-key-of-airflow")
    place.config.write_text(CONFIG)
    process = place.child("serve")
    url = _until(lambda: _address(process.said))
    with httpx.Client(base_url=url, timeout=10) as client:
        assert client.post("/hooks/lineage/api/v1/lineage", content=b"{}").status_code == 401
        headers = {"Authorization": "Bearer api-key-of-airflow"}
        bodies = [json.loads(path.read_text("utf-8"))["request"]["body"] for path in sorted(EVENTS.glob("*.json"))]
        for body in bodies:
            assert client.post("/hooks/lineage/api/v1/lineage", json=body, headers=headers).status_code == 202
    _until(lambda: all(row["state"] == "done" for row in place.rows("deliveries", "list", "--limit", 100)))
    rows = place.rows("instances", "list", "--engine", "lineage")
    told = sorted((row["workflow"], row["status"], row["parameters"].get("run_id")) for row in rows)
    assert told == [
        ("fail_pipeline", "FAILED", "rl-0002"),
        ("fail_pipeline", "FAILED", "rl-0002"),  # cleared: the provider gave it another run id
        ("long_pipeline", "COMPLETED", "rl-0020"),
        ("long_pipeline", "FAILED", "rl-0005"),
        ("mapped_pipeline", "COMPLETED", "rl-0004"),
        ("ok_pipeline", "COMPLETED", "rl-0001"),
        ("ok_pipeline", "COMPLETED", "rl-0007"),
        ("paused_pipeline", "COMPLETED", "rl-0006"),
        ("retry_pipeline", "COMPLETED", "rl-0003"),
    ]
    retried = next(row for row in rows if row["workflow"] == "retry_pipeline")
    steps = place.ok("instances", "show", retried["id"], "-o", "json").json["steps"]
    assert [(step["external_id"], step["attempt"], step["status"]) for step in steps] == [
        ("flaky", 1, "FAILED"), ("flaky", 2, "FAILED"), ("flaky", 3, "COMPLETED"),
    ]  # fmt: skip
    assert all(step["started_at"] and step["finished_at"] for step in steps)
    assert len(place.rows("runs", "list")) == 8
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    (row,) = place.rows("status")
    assert (row["push"]["missed"], row["push"]["waiting"], row["push"]["dead"]) == (0, 0, 0)


def _address(said):
    words = said.read_text("utf-8").split("answering at ")
    return words[1].split()[0] if len(words) > 1 else None


def _until(true, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
