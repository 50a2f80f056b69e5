"""Every recorded shape of a build and a queue item, and the words they become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_host import RECORDINGS, body

from runlink.spi import ExecutionStatus, Observation
from runlink_jenkins import translate
from runlink_jenkins.client import path_of
from runlink_jenkins.translate import RESULTS, SENSELESS, STAGES, BuildId, QueueId, parse_id

BASE = "http://ci.example"


def nobody(_job: str, _number: int, _child_ms: int) -> None:
    return None


def observe(raw: dict[str, Any], job: str = "some/job", **options: Any) -> Observation:
    options.setdefault("resolve", nobody)
    return translate.observe_build(raw, translate.build_id(raw, job), BASE, **options)


@pytest.mark.parametrize(
    ("name", "status", "native", "ended"),
    [
        ("build-success", "COMPLETED", "SUCCESS", True),
        ("build-failure", "FAILED", "FAILURE", True),
        ("build-unstable", "COMPLETED", "UNSTABLE", True),
        ("build-aborted", "CANCELLED", "ABORTED", True),
        ("build-after-stop", "CANCELLED", "ABORTED", True),
        ("build-after-stop-concurrent", "COMPLETED", "SUCCESS", True),
        ("build-pipeline", "FAILED", "FAILURE", True),
        ("build-pipeline-notbuilt", "CANCELLED", "NOT_BUILT", True),
        ("build-pipeline-success", "COMPLETED", "SUCCESS", True),
        ("build-building", "PROCESSING", "BUILDING", False),
        ("build-building-with-result", "PROCESSING", "BUILDING", False),
        ("build-finished-was-building", "COMPLETED", "SUCCESS", True),
        ("build-in-folder", "COMPLETED", "SUCCESS", True),
        ("build-unicode", "COMPLETED", "SUCCESS", True),
        ("build-upstream-cause", "COMPLETED", "SUCCESS", True),
        ("build-edited-after-finish", "COMPLETED", "SUCCESS", True),
        ("build-parameters", "COMPLETED", "SUCCESS", True),
        ("build-parameters-tree", "COMPLETED", "SUCCESS", True),
        ("build-depth-2", "COMPLETED", "SUCCESS", True),
    ],
)
def test_every_recorded_build(name: str, status: str, native: str, ended: bool) -> None:
    raw = body(name)
    seen = observe(raw)
    assert (seen.status, seen.native_status) == (ExecutionStatus(status), native)
    assert seen.external_id == f"some/job#{raw['number']}@{raw['timestamp']}"
    assert seen.started_at is not None
    assert seen.started_at.timestamp() * 1000 == pytest.approx(raw["timestamp"], abs=0.01)
    if ended:
        assert seen.finished_at is not None
        lasted = (seen.finished_at - seen.started_at).total_seconds() * 1000
        assert lasted == pytest.approx(raw["duration"])
    else:
        assert seen.finished_at is None
    assert seen.steps is None
    assert "estimatedDuration" not in (seen.metadata or {})


def test_no_recorded_build_is_left_out() -> None:
    shapes = {p.stem for p in RECORDINGS.glob("build-*.json")}
    builds = {n for n in shapes if isinstance(_json_or_none(n), dict) and "result" in (_json_or_none(n) or {})}
    tested = set(_parametrised()) | {"build-last"}
    assert builds <= tested, builds - tested


def _json_or_none(name: str) -> Any:
    try:
        return body(name)
    except (ValueError, KeyError):
        return None


def _parametrised() -> list[str]:
    marks = test_every_recorded_build.pytestmark  # type: ignore[attr-defined]
    return [case[0] for case in marks[0].args[1]]


def test_jobs_of_a_recorded_listing_with_builds_in_flight() -> None:
    builds = [(j["fullName"], b) for j in body("root-tree-range-50-busy")["jobs"] for b in j.get("builds", [])]
    seen = [observe(raw, job) for job, raw in builds]
    assert {s.workflow for s in seen if s.status is ExecutionStatus.PROCESSING} == {"abort-job", "long-job"}
    assert len({s.external_id for s in seen}) == len(builds) == 19


def test_a_page_of_all_builds() -> None:
    page = body("job-scale-page-1")["allBuilds"]
    assert len({observe(raw).external_id for raw in page}) == 50


def test_a_result_counts_only_when_the_build_has_ended() -> None:
    assert body("build-building-with-result")["result"] == "UNSTABLE"
    running, ended = observe(body("build-building")), observe(body("build-finished-was-building"))
    assert running.external_id == ended.external_id
    assert running.status is ExecutionStatus.PROCESSING


def test_unstable_may_be_said_to_be_a_failure() -> None:
    seen = observe(body("build-unstable"), unstable_as=ExecutionStatus.FAILED)
    assert (seen.status, seen.native_status) == (ExecutionStatus.FAILED, "UNSTABLE")


def test_a_password_parameter_has_a_name_and_no_value() -> None:
    seen = observe(body("build-parameters"))
    assert seen.parameters == {
        "RUN_ID": "run-0001",
        "FLAG": False,
        "TARGET": "prod",
        "NOTE": "two\nlines ü",
        "SECRET": None,
    }


def test_a_password_that_is_sent_all_the_same_is_not_kept() -> None:
    raw = body("build-parameters")
    for action in raw["actions"]:
        for parameter in action.get("parameters", ()):
            if parameter["name"] == "SECRET":
                parameter["value"] = "hunter2"
    assert "hunter2" not in repr(observe(raw))


def test_who_aborted_is_the_message_and_not_a_cause() -> None:
    raw = next(b for j in body("seq-5-builds")["jobs"] for b in j["builds"] if b["result"] == "ABORTED")
    seen = observe(raw)
    assert seen.message == "Aborted by admin"
    assert seen.metadata is not None
    assert seen.metadata["causes"] == ["Started by user admin"]


def test_what_a_pipeline_says_of_itself() -> None:
    seen = observe(body("build-pipeline-success"))
    assert seen.metadata is not None
    assert seen.metadata["displayName"] == "custom name 7"
    assert seen.metadata["description"] == "set by the script"
    assert "builtOn" not in seen.metadata
    assert translate.is_pipeline(body("build-pipeline"))
    assert not translate.is_pipeline(body("build-success"))


def test_the_parent_is_what_the_upstream_cause_names() -> None:
    asked = []

    def resolve(job: str, number: int, child_ms: int) -> str:
        asked.append((job, number, child_ms))
        return "upstream-job#1@7"

    seen = observe(body("build-upstream-cause"), resolve=resolve)
    assert seen.parent == "upstream-job#1@7"
    assert asked == [("upstream-job", 1, 1795445022158)]
    assert seen.labels == {"folder": "some", "cause": "UpstreamCause"}


def test_a_rebuild_is_no_child() -> None:
    raw = body("build-upstream-cause")
    raw["actions"][0]["causes"][0]["_class"] = "com.sonyericsson.rebuild.RebuildCause"
    assert observe(raw, resolve=lambda *_: "wrong").parent is None


def test_a_queue_item_gives_the_build_its_beginning() -> None:
    seen = observe(body("build-success"), queued=QueueId(1, 1795445018000))
    assert seen.supersedes == "queue:1@1795445018000"
    assert seen.created_at == datetime(2026, 11, 23, 14, 43, 38, tzinfo=UTC)


def test_addresses_are_made_from_ours_and_not_from_the_body() -> None:
    name = "weiß space (ü) +plus 日本"
    seen = observe(body("build-unicode"), name)
    path = "/job/wei%C3%9F%20space%20%28%C3%BC%29%20%2Bplus%20%E6%97%A5%E6%9C%AC"
    assert seen.url == f"{BASE}{path}/1/"
    assert path_of("app/feature%2Fx") == "/job/app/job/feature%252Fx"
    assert path_of("") == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"timestamp": 0},
        {"timestamp": None},
        {"timestamp": 10**20},
        {"number": "7"},
        {"building": None},
        {"building": "yes"},
        {"result": None},
        {"result": "GREAT"},
        {"actions": [7]},
        {"actions": [{"parameters": [{"value": 1}]}]},
        {"duration": "long"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SENSELESS):
        observe(body("build-success") | wrong)


@pytest.mark.parametrize(
    ("name", "native", "jobs"),
    [
        ("queue-quiet-period", ["WaitingItem"], ["ok-job"]),
        ("queue-tree", ["BuildableItem"], ["starved-job"]),
        ("queue-quieting-down", ["WaitingItem", "BuildableItem"], ["renamed-job", "ok-job"]),
        (
            "queue-busy",
            ["BlockedItem", "BuildableItem", "BuildableItem", "BuildableItem"],
            ["abort-job", "starved-job", "concurrent-job", "concurrent-job"],
        ),
        ("seq-3-queue", ["WaitingItem", "BuildableItem"], ["seq/job-a", "starved-job"]),
    ],
)
def test_every_recorded_queue(name: str, native: list[str], jobs: list[str]) -> None:
    items = body(name)["items"]
    found = [translate.queue_job(item) for item in items]
    assert found[: len(jobs)] == jobs
    seen = [
        translate.observe_queue_item(i, j or "", BASE, resolve=nobody)[1] for i, j in zip(items, found, strict=True)
    ]
    assert [s.native_status for s in seen][: len(native)] == native
    assert {s.status for s in seen} == {ExecutionStatus.PENDING}
    assert all(s.created_at and not s.started_at and not s.message for s in seen)


def test_what_a_queue_item_waits_for_does_not_tick() -> None:
    first, second = (body(f"seq-{n}-item") for n in (1, 2))
    later = dict(first, why="In the quiet period. Expires in 0.2 sec")
    blocked = dict(first, why="Build #1 is already in progress (ETA: 16 sec)")
    seen = [translate.observe_queue_item(i, "j", BASE, resolve=nobody)[1] for i in (first, later, blocked, second)]
    assert seen[0] == seen[1]
    assert [s.metadata and s.metadata["why"] for s in seen[1:]] == [
        "In the quiet period.",
        "Build #1 is already in progress",
        "Finished waiting",
    ]


def test_merged_triggers_are_one_item_with_both_causes() -> None:
    item = next(i for i in body("queue-busy")["items"] if i["id"] == 28)
    assert len(item["actions"][0]["causes"]) == 2
    identity, seen = translate.observe_queue_item(item, "abort-job", BASE, resolve=nobody)
    assert str(identity) == seen.external_id == "queue:28@1795445105214"
    assert seen.labels == {"cause": "UserIdCause", "user": "admin"}


def test_a_cancelled_queue_item() -> None:
    _, seen = translate.observe_queue_item(body("queue-item-cancelled"), "starved-job", BASE, resolve=nobody)
    assert (seen.status, seen.native_status) == (ExecutionStatus.CANCELLED, "cancelled")


def test_a_wait_for_a_node_is_no_job() -> None:
    assert translate.queue_job({"task": {"_class": "…ExecutorStepExecution$PlaceholderTask"}}) is None
    assert translate.queue_job({"task": {"url": "http://jenkins.test/job/pipe/3/"}}) is None
    assert translate.queue_job({"task": {"url": "http://x/jenkins/job/a%20b/job/c/"}}) == "a b/c"


def test_stages_as_the_plugin_documents_them() -> None:
    steps = translate.observe_stages(
        {
            "stages": [
                {"id": "6", "name": "Build", "status": "SUCCESS", "startTimeMillis": 1000, "durationMillis": 500},
                {"id": "9", "name": "Test", "status": "FAILED", "startTimeMillis": 1500, "error": {"message": "no"}},
                {"id": "12", "name": "Ship", "status": "PAUSED_PENDING_INPUT", "startTimeMillis": 2000},
                {"id": "15", "name": "Rest", "status": "NOT_EXECUTED", "startTimeMillis": 0, "durationMillis": 0},
            ]
        }
    )
    assert [(s.name, s.status.name, s.final) for s in steps] == [
        ("Build", "COMPLETED", True),
        ("Test", "FAILED", True),
        ("Ship", "PROCESSING", None),
        ("Rest", "CANCELLED", True),
    ]
    assert steps[1].message == "no"
    assert steps[3].started_at is steps[3].finished_at is None


@given(
    st.text(alphabet=st.characters(exclude_characters="#@:", exclude_categories=["Cs"]), min_size=1),
    st.integers(1, 10**9),
    st.integers(1, 10**15),
)
def test_identities_survive_writing_and_reading(job: str, number: int, time: int) -> None:
    build, queued = BuildId(job, number, time), QueueId(number, time)
    assert parse_id(str(build)) == build
    assert parse_id(str(queued)) == queued


@pytest.mark.parametrize("text", ["", "job", "job#1", "job@1", "#1@2", "queue:x@1", "job#a@1", "queue:1"])
def test_other_texts_are_no_identities(text: str) -> None:
    assert parse_id(text) is None


def test_the_readme_has_every_status() -> None:
    readme = (RECORDINGS.parent.parent / "README.md").read_text("utf-8")
    for word, status in {**RESULTS, **STAGES}.items():
        assert any(f"`{word}`" in line and status.name in line for line in readme.splitlines()), word
