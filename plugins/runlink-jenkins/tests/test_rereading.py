"""Instances read again: how they are, and the verdict on those that are not there."""

from __future__ import annotations

from typing import Any

import pytest
from fake_jenkins import PIPELINE, T0
from small_host import Bench, SmallHost, body, put_recorded_job

from runlink.spi import UNKNOWN, TransientError


def running(bench: Bench, *jobs: str) -> tuple[SmallHost, Any]:
    for job in jobs:
        bench.jenkins.build(job, building=True, result=None, duration=0, timestamp=T0)
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    return host, adapter


def reread(adapter: Any, *ids: str) -> tuple[dict[str, str], list[str]]:
    """(id -> status, gone)."""
    pages = list(adapter.refetch(ids))
    seen = {o.external_id: str(o.status) for page in pages for o in page.observations}
    return seen, [i for page in pages for i in page.gone]


def test_a_build_that_vanished_with_a_killed_server(bench: Bench) -> None:
    """crash-before.json, crash-after.json: build 2 ran at the kill, is 404 afterwards, and its number is skipped."""
    put_recorded_job(bench.jenkins, body("crash-before") | {"fullName": "long-job"})
    bench.jenkins.wait(44, "long-job")
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    bench.jenkins.starting = True
    with pytest.raises(TransientError):
        host.turn(adapter)
    with pytest.raises(TransientError):
        host.refetch(adapter)
    bench.jenkins.starting, bench.jenkins.session = False, "session-2"
    put_recorded_job(bench.jenkins, body("crash-after") | {"fullName": "long-job"})
    bench.jenkins.queue.clear()
    lost = "long-job#2@1795445507191"
    with pytest.raises(TransientError, match="restarted"):
        host.turn(adapter)
    assert host.statuses()[lost] == "PROCESSING", "the turn that sees the restart says nothing"
    host.turn(adapter)
    assert host.statuses()[lost] == host.statuses()[f"queue:44@{T0}"] == "vanished"


def test_after_a_restart_one_refetch_without_a_poll_is_enough_to_wait(bench: Bench) -> None:
    _, adapter = running(bench, "job")
    bench.jenkins.job("job").builds.clear()
    bench.jenkins.session = "session-2"
    with pytest.raises(TransientError):
        reread(adapter, f"job#1@{T0}")
    assert reread(adapter, f"job#1@{T0}") == ({}, [f"job#1@{T0}"])


def test_a_deleted_build_of_a_job_that_answers_is_gone(bench: Bench) -> None:
    host, adapter = running(bench, "job")
    bench.jenkins.job("job").builds.clear()
    host.refetch(adapter)
    assert host.statuses() == {f"job#1@{T0}": "vanished"}


def test_many_deleted_builds_too(bench: Bench) -> None:
    host, adapter = running(bench, *(f"f/j{n}" for n in range(30)))
    for n in range(0, 30, 2):
        bench.jenkins.job(f"f/j{n}").builds.clear()
    host.refetch(adapter)
    assert list(host.statuses().values()) == ["vanished", "PROCESSING"] * 15


def test_a_deleted_job_with_neighbours_is_gone(bench: Bench) -> None:
    host, adapter = running(bench, "team/a", "team/b")
    bench.jenkins.delete("team/a")
    host.refetch(adapter)
    assert host.statuses() == {f"team/a#1@{T0}": "vanished", f"team/b#1@{T0}": "PROCESSING"}


@pytest.mark.parametrize("hidden", [["team"], ["team/a", "team/b"]], ids=["folder", "every job in it"])
def test_a_folder_that_shows_nothing_is_a_lost_permission(
    bench: Bench, caplog: pytest.LogCaptureFixture, hidden: list[str]
) -> None:
    host, adapter = running(bench, "team/a", "team/b", "other")
    for name in hidden:
        bench.jenkins.find(name).hidden = True  # type: ignore[union-attr]
    host.refetch(adapter)
    host.refetch(adapter)
    assert set(host.statuses().values()) == {"PROCESSING"}
    assert caplog.text.count("folder team shows no jobs any more") == 1
    for name in hidden:
        bench.jenkins.find(name).hidden = False  # type: ignore[union-attr]
    bench.jenkins.job("team/a").builds[0].set(building=False, result="SUCCESS", duration=5)
    host.refetch(adapter)
    assert host.statuses()[f"team/a#1@{T0}"] == "COMPLETED"


def test_all_jobs_gone_is_a_lost_permission(bench: Bench) -> None:
    host, adapter = running(bench, "a", "b")
    for name in "ab":
        bench.jenkins.job(name).hidden = True
    host.turn(adapter)
    assert set(host.statuses().values()) == {"PROCESSING"}


def test_another_build_under_the_same_number_is_not_it(bench: Bench) -> None:
    _, adapter = running(bench, "job")
    bench.jenkins.delete("job")
    bench.jenkins.build("job", timestamp=T0 + 1)
    assert reread(adapter, f"job#1@{T0}", f"job#1@{T0 + 1}") == ({f"job#1@{T0 + 1}": "COMPLETED"}, [f"job#1@{T0}"])


def test_a_build_deep_in_the_history_is_read_by_number(bench: Bench) -> None:
    bench.jenkins.fill("job", 200)
    adapter = bench.adapter()
    ids = [f"job#{n}@{T0 - (201 - n) * 60_000}" for n in (5, 6, 7, 150, 199)]
    seen, gone = reread(adapter, *ids)
    assert (sorted(seen), gone) == (sorted(ids), [])
    assert sum(path.count("/job/job/") for path in bench.asked()) == 5


@pytest.mark.parametrize(
    ("left", "status"),
    [
        ({"cancelled": True}, {f"queue:7@{T0}": "CANCELLED"}),
        ({"executable": None}, {f"queue:7@{T0}": "PENDING"}),
        ({"executable": {"number": 1}}, {f"job#1@{T0 + 1}": "COMPLETED"}),
    ],
    ids=["cancelled", "leaving", "started"],
)
def test_a_queue_item_that_left(bench: Bench, left: dict[str, Any], status: dict[str, str]) -> None:
    bench.jenkins.job("job")
    bench.jenkins.wait(7, "job")
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    bench.jenkins.leave(7, **left)
    if left.get("executable"):
        bench.jenkins.build("job", queueId=7, timestamp=T0 + 1)
    host.refetch(adapter)
    assert host.statuses() == status


def test_the_recorded_cancelled_and_started_items(bench: Bench) -> None:
    cancelled, started = body("queue-item-cancelled"), body("queue-item-executable")
    bench.jenkins.left = {27: cancelled, 19: started}
    put_recorded_job(bench.jenkins, {"fullName": "param-job", "builds": [body("build-parameters")]})
    ids = [f"queue:{i['id']}@{i['inQueueSince']}" for i in (cancelled, started)]
    (page,) = list(bench.adapter().refetch(ids))
    assert [(o.external_id, str(o.status), o.supersedes) for o in page.observations] == [
        (ids[0], "CANCELLED", None),
        ("param-job#1@1795445098052", "COMPLETED", ids[1]),
    ]


def test_a_forgotten_queue_item_is_gone(bench: Bench) -> None:
    bench.jenkins.job("job")
    assert reread(bench.adapter(), f"queue:7@{T0}") == ({}, [f"queue:7@{T0}"])


def test_a_queue_id_that_stands_for_another_item_now(bench: Bench) -> None:
    bench.jenkins.job("job")
    bench.jenkins.wait(7, "job", since=T0 + 1)
    assert reread(bench.adapter(), f"queue:7@{T0}") == ({}, [f"queue:7@{T0}"])


def test_an_id_nobody_made_is_gone(bench: Bench) -> None:
    assert reread(bench.adapter(), "what is this") == ({}, ["what is this"])


def test_one_build_the_server_cannot_load_does_not_stop_the_others(bench: Bench) -> None:
    host, adapter = running(bench, "a", "b")
    broken = bench.jenkins.job("a").builds[0]
    broken.fields["_class"] = object()  # cannot be written as JSON: the handler fails, the server answers 500
    broken.set()
    bench.jenkins.job("b").builds[0].set(building=False, result="FAILURE")
    host.refetch(adapter)
    assert host.statuses() == {f"a#1@{T0}": "PROCESSING", f"b#1@{T0}": "FAILED"}
    with pytest.raises(TransientError):
        list(adapter.refetch([f"a#1@{T0}"]))


# --- stages ---------------------------------------------------------------------------------------------------------
def steps_of(adapter: Any, external_id: str) -> Any:
    (page,) = list(adapter.refetch([external_id]))
    return page.observations[0].steps


def test_stages_of_a_pipeline_build(bench: Bench) -> None:
    bench.jenkins.job("f/pipe", PIPELINE)
    bench.jenkins.build("f/pipe", timestamp=T0)
    stage = {"id": "6", "name": "Build", "status": "SUCCESS", "startTimeMillis": T0, "durationMillis": 5}
    bench.jenkins.stages = {("f/pipe", 1): {"stages": [stage]}}
    (step,) = steps_of(bench.adapter(), f"f/pipe#1@{T0}")
    assert (step.external_id, step.name, str(step.status)) == ("6", "Build", "COMPLETED")


def test_a_freestyle_build_has_no_stages_and_is_not_asked(bench: Bench) -> None:
    bench.jenkins.build("job", timestamp=T0)
    assert steps_of(bench.adapter(), f"job#1@{T0}") == ()
    assert bench.asked() == ["/job/job/1/api/json"]


def test_without_the_plugin_stages_are_not_to_be_had(bench: Bench) -> None:
    bench.jenkins.job("pipe", PIPELINE)
    bench.jenkins.build("pipe", timestamp=T0)
    assert steps_of(bench.adapter(), f"pipe#1@{T0}") is UNKNOWN


def test_stages_in_words_nobody_knows_are_not_to_be_had(bench: Bench) -> None:
    bench.jenkins.job("pipe", PIPELINE)
    bench.jenkins.build("pipe", timestamp=T0)
    bench.jenkins.stages = {("pipe", 1): {"stages": [{"id": "1", "name": "x", "status": "SPLENDID"}]}}
    assert steps_of(bench.adapter(), f"pipe#1@{T0}") is UNKNOWN


def test_stages_of_running_builds_are_read_within_a_limit(bench: Bench) -> None:
    bench.jenkins.stages = {}
    for n in range(5):
        bench.jenkins.job(f"p{n}", PIPELINE)
        bench.jenkins.build(f"p{n}", timestamp=T0, building=True, result=None)
        bench.jenkins.stages[f"p{n}", 1] = {"stages": []}
    adapter = bench.adapter(config={"open_step_reads": 2})
    pages = list(adapter.refetch([f"p{n}#1@{T0}" for n in range(5)]))
    assert [o.steps for page in pages for o in page.observations] == [(), (), None, None, None]
