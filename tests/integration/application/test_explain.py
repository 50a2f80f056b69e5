"""Why a Run is as it is: the evidence, from the rule to the reads."""

from __future__ import annotations

import pytest

from runlink.application.errors import Missing
from runlink.application.explain import explain
from runlink.domain import ExecutionStatus, new_id
from runlink.spi import Step

S = ExecutionStatus


@pytest.fixture
def explained(world):
    def explained(key):
        run = world.runs()[key]
        with world.store.reading() as uow:
            return explain(uow, world.rules, run.id)

    return explained


def test_a_failed_run_is_explained(world, build, by_key, explained, minute):
    inherit = {"inherit": "parent", "name": "children"}
    by_key(inherit, create_run=True, name="by parameter", policy={"expected": ("app", "part")})
    steps = (
        Step(external_id="s", name="compile", status=S.FAILED, native_status="FAILED", message="exit 2"),
    )  # fmt: skip
    world.see(build("1", "PROCESSING", run="r", queued=0, start=1), began=2)
    world.see(build("2", "FAILED", parent="1", workflow="part", start=2, end=4, steps=steps, message="boom"), began=5)
    world.see(build("1", "FAILED", run="r", queued=0, start=1, end=6), build("other", "FAILED"), began=7)
    told = explained("r")
    assert (told["automation"], told["correlation_id"], told["status"], told["attempt"]) == (
        "nightly",
        "r",
        "FAILED",
        1,
    )
    assert (told["started_at"], told["finished_at"]) == (minute(1), minute(6))
    assert told["error_summary"] == "ci part 2 failed in step 'compile': boom (and 1 more)"
    assert told["policy"] == {"expected": ["app", "part"], "quiet_s": 30.0}
    assert told["waiting"] is None
    assert told["doubts"] == []
    first, second = told["instances"]
    assert (first["external_id"], second["external_id"]) == ("1", "2")
    assert (first["link"]["rule"], second["link"]["rule"]) == ("by parameter", "children")
    assert first["link"]["created_by"] == "engine:ci"
    assert [(line["status"], line["observed_at"], line["feed"]) for line in first["observations"]] == [
        ("PROCESSING", minute(2), "poll"),
        ("FAILED", minute(7), "poll"),
    ]
    assert first["attempts"][0]["finished_at"] == minute(6)
    assert [(step["name"], step["message"]) for step in second["steps"]] == [("compile", "exit 2")]
    assert first["steps"] == []
    assert [event["type"] for event in told["events"]] == [
        "instance.linked",
        "run.started",
        "instance.linked",
        "run.failed",
    ]


def test_what_it_waits_for_is_said_while_it_is_open(world, build, by_key, explained):
    by_key(create_run=True, policy={"expected": ("app", "deploy")})
    world.see(build("1", "COMPLETED", run="r"))
    assert explained("r")["waiting"] == "expects deploy"


def test_a_doubt_is_said(world, build, by_key, explained):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r"))
    world.gone("1")
    world.gone("1")
    (doubt,) = explained("r")["doubts"]
    assert doubt.startswith("ci 1 vanished at 2024-03-01 12:03:00")
    assert "nobody knows how it ended" in doubt


def test_a_run_without_instances_is_explained(world, by_key, explained):
    by_key()
    world.run("r")
    assert explained("r")["instances"] == []


def test_no_run_is_said(world):
    with world.store.reading() as uow, pytest.raises(Missing, match="no run has the id"):
        explain(uow, world.rules, new_id())
