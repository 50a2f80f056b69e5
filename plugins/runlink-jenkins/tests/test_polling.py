"""What a poll finds, and what it must not believe."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from fake_jenkins import PIPELINE, T0, Build, FakeJenkins
from hypothesis import given, settings
from hypothesis import strategies as st
from small_host import NOW, Bench, SmallHost, body, put_recorded_job

from runlink.spi import Page, TransientError
from runlink_jenkins.cursors import JOB_SHARDS, LARGEST, JobState, Ledger


def hosted(bench: Bench, **config: Any) -> tuple[SmallHost, Any]:
    return SmallHost(), bench.adapter(config=config)


def test_the_recorded_listing_with_folders_and_unicode(bench: Bench) -> None:
    for raw in body("root-tree-range-50-busy")["jobs"]:
        if "builds" in raw:
            put_recorded_job(bench.jenkins, raw)
    put_recorded_job(bench.jenkins, {"fullName": "team-a/deploy", "builds": [body("build-in-folder")]})
    put_recorded_job(bench.jenkins, {"fullName": "team-a/sub folder/deep-job", "builds": [body("build-success")]})
    host, adapter = hosted(bench)
    host.turn(adapter)
    assert len(host.table) == 21
    assert host.table["weiß space (ü) +plus 日本#1@1795445022211"]["status"] == "COMPLETED"
    assert host.table["team-a/deploy#1@1795445022408"]["labels"]["folder"] == "team-a"
    assert host.table["downstream-job#1@1795445022158"]["parent"].startswith("upstream-job#1@")
    assert host.poll(adapter) == []


def test_branches_of_a_multibranch_project(bench: Bench) -> None:
    bench.jenkins.job("app/feature%2Fx", PIPELINE)
    bench.jenkins.job("app/main", PIPELINE)
    bench.jenkins.build("app/feature%2Fx", building=True, result=None)
    host, adapter = hosted(bench)
    host.turn(adapter)
    host.turn(adapter)
    (row,) = host.table.values()
    assert row["workflow"] == "app/feature%2Fx"
    assert "/job/app/job/feature%252Fx/1/api/json" in bench.asked()


def test_builds_that_end_out_of_order(bench: Bench) -> None:
    raw = body("out-of-order-finish") | {"fullName": "ooo-job"}
    put_recorded_job(bench.jenkins, raw, color="blue_anime")
    host, adapter = hosted(bench)
    host.turn(adapter)
    first, second = "ooo-job#1@1795445432732", "ooo-job#2@1795445433745"
    assert host.statuses() == {second: "COMPLETED", first: "PROCESSING"}
    bench.jenkins.job("ooo-job").builds[1].set(building=False, result="FAILURE", duration=9000)
    host.turn(adapter)
    assert host.statuses() == {second: "COMPLETED", first: "FAILED"}


def test_a_recreated_job_has_new_instances(bench: Bench) -> None:
    """The recorded one: build 1 before and after, nextBuildNumber 2 both times. Only a sweep can see that."""
    old, new = body("job-renamed-new"), body("job-recreated")
    finished = {"building": False, "result": "SUCCESS", "duration": 50}
    put_recorded_job(bench.jenkins, old | {"builds": [old["builds"][0] | finished]}, color="blue")
    host, adapter = hosted(bench)
    host.turn(adapter)
    put_recorded_job(bench.jenkins, new | {"builds": [new["builds"][0] | finished]}, color="blue")
    assert host.poll(adapter) == []
    bench.pass_time(hours=1, seconds=1)
    host.turn(adapter)
    assert list(host.table) == ["renamed-job#1@1795445181113", "renamed-job#1@1795445187601"]


def test_a_job_recreated_while_a_build_ran_loses_that_build(bench: Bench) -> None:
    bench.jenkins.build("job", building=True, result=None, timestamp=T0)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.delete("job")
    bench.jenkins.build("job", timestamp=T0 + 50)
    host.turn(adapter)
    assert host.statuses() == {f"job#1@{T0}": "vanished", f"job#1@{T0 + 50}": "COMPLETED"}


def test_a_job_recreated_and_run_past_its_old_number(bench: Bench) -> None:
    bench.jenkins.fill("job", 5)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.delete("job")
    for n in range(40):
        bench.jenkins.build("job", timestamp=T0 + n)
    host.turn(adapter)
    assert {f"job#{n + 1}@{T0 + n}" for n in range(40)} <= set(host.table)


def test_numbers_that_went_down_are_a_new_job(bench: Bench) -> None:
    bench.jenkins.fill("job", 30)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.delete("job")
    bench.jenkins.job("job")
    host.turn(adapter)
    bench.jenkins.build("job", timestamp=T0 + 7)
    host.turn(adapter)
    assert f"job#1@{T0 + 7}" in host.table
    assert host.poll(adapter) == []


def test_a_build_that_is_listed_after_its_number_was_given_is_found(bench: Bench) -> None:
    """Jenkins counts nextBuildNumber up before the build is in the list."""
    bench.jenkins.fill("job", 3)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.job("job").next += 1
    host.turn(adapter)
    late = Build(**bench.jenkins.job("job").builds[0].fields | {"number": 4, "timestamp": T0 + 1})
    bench.jenkins.job("job").builds.insert(0, late)
    host.turn(adapter)
    assert f"job#4@{T0 + 1}" in host.table


def test_a_number_that_never_gets_a_build_is_let_go(bench: Bench) -> None:
    """crash-after.json: nextBuildNumber is 3, build 2 was lost in the crash."""
    put_recorded_job(bench.jenkins, body("crash-before") | {"fullName": "long-job"})
    host, adapter = hosted(bench)
    host.turn(adapter)
    put_recorded_job(bench.jenkins, body("crash-after") | {"fullName": "long-job"})
    for _ in range(4):
        host.turn(adapter)
    assert host.poll(adapter) == []
    assert host.statuses()["long-job#2@1795445507191"] == "vanished"


def test_a_clean_stop_ends_the_build_aborted_and_keeps_the_queue(bench: Bench) -> None:
    jenkins = bench.jenkins
    put_recorded_job(jenkins, body("graceful-before") | {"fullName": "long-job"})
    jenkins.wait(44, "long-job", since=1795445570000)
    host, adapter = hosted(bench)
    host.turn(adapter)
    jenkins.session = "session-2"
    put_recorded_job(jenkins, body("graceful-after") | {"fullName": "long-job"})
    jenkins.leave(44, executable={"number": 4})
    host.turn(adapter)
    assert host.statuses() == {
        "long-job#1@1795445103927": "COMPLETED",
        "long-job#3@1795445575513": "CANCELLED",
        "long-job#4@1795445609728": "PROCESSING",
    }
    assert "created_at" in host.table["long-job#4@1795445609728"]


def test_a_queue_id_given_again_after_a_crash_is_another_item(bench: Bench) -> None:
    bench.jenkins.build("job", queueId=42, timestamp=T0)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.wait(42, "job", since=T0 + 5000)
    host.turn(adapter)
    bench.pass_time(hours=2)
    host.turn(adapter)  # the sweep reads build 1 with its queueId 42 again
    assert host.statuses() == {f"job#1@{T0}": "COMPLETED", f"queue:42@{T0 + 5000}": "PENDING"}
    bench.jenkins.leave(42, executable={"number": 2})
    bench.jenkins.build("job", queueId=42, timestamp=T0 + 6000)
    host.turn(adapter)
    assert host.statuses() == {f"job#1@{T0}": "COMPLETED", f"job#2@{T0 + 6000}": "COMPLETED"}


def test_a_build_takes_over_its_queue_item_after_any_pause(bench: Bench) -> None:
    bench.jenkins.wait(7, "job")
    bench.jenkins.job("job")
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.leave(7, executable={"number": 1})
    bench.jenkins.left.clear()
    bench.jenkins.build("job", queueId=7, timestamp=T0 + 1)
    bench.pass_time(days=2)
    host.turn(bench.adapter())
    (row,) = host.table.values()
    assert (row["external_id"], row["status"]) == (f"job#1@{T0 + 1}", "COMPLETED")
    assert not any(p.startswith("queue") for p in host.cursors)


def test_items_of_jobs_not_wanted_and_of_no_jobs_are_left_alone(bench: Bench) -> None:
    bench.jenkins.job("mine")
    bench.jenkins.job("theirs")
    bench.jenkins.wait(1, "theirs")
    bench.jenkins.wait(2, "mine")
    bench.jenkins.wait(3, "x", task={"_class": "…ExecutorStepExecution$PlaceholderTask"})
    host, adapter = SmallHost(), bench.adapter(include=("mine",))
    host.turn(adapter)
    assert list(host.table) == [f"queue:2@{T0}"]


def test_an_edited_description_is_seen_by_the_sweep(bench: Bench) -> None:
    bench.jenkins.fill("job", 10)
    host, adapter = hosted(bench, sweep_interval_s=600)
    host.turn(adapter)
    bench.jenkins.job("job").builds[3].set(description=body("build-edited-after-finish")["description"])
    bench.pass_time(minutes=9)
    assert host.poll(adapter) == []
    bench.pass_time(minutes=2)
    host.turn(adapter)
    assert [r["metadata"].get("description") for r in host.table.values()].count("edited later") == 1
    bench.asked()
    assert host.poll(adapter) == []
    assert bench.asked() == ["/api/json"]


def test_a_deleted_build_is_gone_with_the_sweep(bench: Bench) -> None:
    bench.jenkins.fill("job", 10)
    host, adapter = hosted(bench)
    host.turn(adapter)
    job = bench.jenkins.job("job")
    removed = [job.builds.pop(4), job.builds.pop(0)]
    bench.pass_time(hours=2)
    gone = {i for page in adapter.poll(dict(host.cursors)) for i in page.gone}
    assert gone == {f"job#{b.number}@{b.fields['timestamp']}" for b in removed}
    assert job.next == 11


def test_a_build_missing_from_the_list_is_not_gone_while_it_answers(bench: Bench) -> None:
    """jenkins#26740: running builds were seen to leave the list."""
    bench.jenkins.fill("job", 3)
    hidden = bench.jenkins.build("job", building=True, result=None)
    host, adapter = hosted(bench, sweep_interval_s=0)
    host.turn(adapter)
    job = bench.jenkins.job("job")
    job.builds.remove(hidden)
    original = job.build
    job.build = lambda number: hidden if number == 4 else original(number)  # type: ignore[method-assign]
    host.turn(adapter)
    assert host.statuses()[f"job#4@{hidden.fields['timestamp']}"] == "PROCESSING"


def test_estimated_duration_is_no_change(bench: Bench) -> None:
    bench.jenkins.fill("job", 3)
    host, adapter = hosted(bench, sweep_interval_s=0)
    host.turn(adapter)
    before = dict(host.table)
    for build in bench.jenkins.job("job").builds:
        build.set(estimatedDuration=99999)
    host.turn(adapter)
    assert host.table == before


def test_a_lost_permission_deletes_nothing_and_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.jenkins.fill("job", 3)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.job("job").hidden = True
    with caplog.at_level(logging.WARNING):
        host.turn(adapter)
        host.turn(adapter)
    assert caplog.text.count("no job is visible any more") == 1
    assert set(host.statuses().values()) == {"COMPLETED"}
    bench.jenkins.job("job").hidden = False
    bench.jenkins.build("job", timestamp=T0 + 1)
    host.turn(adapter)
    assert len(host.table) == 4


def test_an_implausible_build_is_reported_and_the_rest_goes_on(bench: Bench) -> None:
    bench.jenkins.fill("job", 3)
    bench.jenkins.build("job", timestamp=0, result="ABORTED")
    odd = bench.jenkins.build("job", timestamp=T0, result=None, building=False)
    host, adapter = hosted(bench)
    host.turn(adapter)
    assert len(host.table) == 3
    assert {u.external_id for u in host.unreadable} == {None, f"job#5@{T0}"}
    odd.set(result="FAILURE")
    bench.pass_time(hours=2)
    host.turn(adapter)
    assert host.statuses()[f"job#5@{T0}"] == "FAILED"


def test_one_job_the_server_cannot_load_does_not_stop_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcde":
        bench.jenkins.fill(name, 2)
    bench.jenkins.job("c").broken = True
    host, adapter = hosted(bench)
    host.turn(adapter)
    host.turn(adapter)
    assert {r["workflow"] for r in host.table.values()} == set("abde")
    assert caplog.text.count("job c cannot be read") == 1
    bench.jenkins.job("c").broken = False
    host.turn(adapter)
    assert len(host.table) == 10


def test_a_server_that_fails_at_everything_is_a_lost_engine(bench: Bench) -> None:
    for n in range(20):
        bench.jenkins.fill(f"j{n}", 2)
        bench.jenkins.job(f"j{n}").broken = True
    with pytest.raises(TransientError):
        list(bench.adapter().poll({}))
    assert len(bench.asked()) < 8


def test_a_parent_read_by_number_when_it_is_nowhere_else(bench: Bench) -> None:
    bench.jenkins.fill("up", 300)
    host, adapter = hosted(bench)
    host.turn(adapter)
    cause = {"_class": "x.BuildUpstreamCause", "upstreamProject": "up", "upstreamBuild": 50, "shortDescription": "u"}
    bench.jenkins.build("down", timestamp=T0 + 1, actions=[{"_class": "CauseAction", "causes": [cause]}])
    bench.asked()
    host.turn(bench.adapter())
    child = host.table[f"down#1@{T0 + 1}"]
    assert child["parent"] == f"up#50@{T0 - 251 * 60_000}"
    assert bench.asked() == ["/api/json", "/job/down/api/json", "/job/up/50/api/json"]


def test_a_parent_younger_than_its_child_is_another_build(bench: Bench) -> None:
    cause = {"_class": "x.UpstreamCause", "upstreamProject": "up", "upstreamBuild": 1, "shortDescription": "u"}
    bench.jenkins.build("up", timestamp=T0 + 50)
    bench.jenkins.build("down", timestamp=T0, actions=[{"_class": "CauseAction", "causes": [cause]}])
    host, adapter = hosted(bench)
    host.turn(adapter)
    assert "parent" not in host.table[f"down#1@{T0}"]


def test_new_builds_are_found_however_long_nobody_looked(bench: Bench) -> None:
    bench.jenkins.fill("job", 5)
    host, adapter = hosted(bench)
    host.turn(adapter)
    for n in range(30):
        bench.jenkins.build("job", timestamp=T0 + n)
    bench.pass_time(days=60)
    host.turn(bench.adapter(since=bench.now - timedelta(days=7)))
    assert len(host.table) == 35


# --- cursors --------------------------------------------------------------------------------------------------------
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20),
        st.builds(
            JobState,
            next=st.integers(1, 10**6),
            color=st.sampled_from(["blue", "red_anime", ""]),
            unsettled=st.integers(0, 3),
            seen=st.dictionaries(st.integers(1, 10**6), st.integers(1, 2 * 10**12), max_size=20),
        ),
        max_size=8,
    )
)
def test_cursors_hold_what_was_put_in(jobs: dict[str, JobState]) -> None:
    ledger = Ledger({})
    for name, state in jobs.items():
        ledger.put_job(name, state)
    written = {p: c for p, c in ledger.take_changed().items() if c}
    again = Ledger(written)
    assert {name: again.job(name) for name in jobs} == jobs
    for name, state in jobs.items():
        again.put_job(name, state)
    assert again.take_changed() == {}


def test_cursors_of_10_000_jobs_with_long_names_fit() -> None:
    ledger = Ledger({})
    names = [f"{'日本' * 60}/{n}" for n in range(10_000)]
    for n, name in enumerate(names):
        ledger.put_job(name, JobState(n + 2, "blue_anime", 0, {k: T0 + k * 60_000 + n for k in range(n, n + 20)}))
    written = ledger.take_changed()
    assert len(written) == JOB_SHARDS
    assert max(len(c or "") for c in written.values()) <= LARGEST
    again = Ledger({p: c for p, c in written.items() if c})
    assert [again.job(name).next for name in names] == [n + 2 for n in range(10_000)]  # type: ignore[union-attr]


def test_cursors_too_many_to_fit_forget_builds_and_no_place() -> None:
    ledger = Ledger({})
    names = [f"job-{n}" for n in range(40_000)]
    for n, name in enumerate(names):
        ledger.put_job(name, JobState(n + 2, "blue", 0, {k: T0 + k * 60_000 + n for k in range(n, n + 20)}))
    written = ledger.take_changed()
    assert max(len(c or "") for c in written.values()) <= LARGEST
    again = Ledger({p: c for p, c in written.items() if c})
    assert [again.job(name).next for name in names] == [n + 2 for n in range(40_000)]  # type: ignore[union-attr]


def test_only_the_partitions_of_changed_jobs_are_written(bench: Bench) -> None:
    for n in range(300):
        bench.jenkins.fill(f"job-{n}", 2)
    host, adapter = hosted(bench)
    host.turn(adapter)
    assert 60 <= len(host.cursors) <= JOB_SHARDS + 1
    bench.jenkins.build("job-7")
    (page,) = host.poll(adapter)
    assert len(page.cursors) == 1


# --- any story, any moments, any crash ------------------------------------------------------------------------------
class Story:
    """Random things happen to two jobs; what is true at the end is read off the fake itself."""

    def __init__(self, jenkins: FakeJenkins) -> None:
        self.jenkins, self.clock, self.item = jenkins, T0, 100

    def tell(self, verb: str, job: str) -> None:
        self.clock += 1000
        getattr(self, verb)(job)

    def queue(self, job: str) -> None:
        self.item += 1
        self.jenkins.job(job)
        self.jenkins.wait(self.item, job, since=self.clock)

    def start(self, job: str) -> None:
        waiting = [n for n, i in self.jenkins.queue.items() if i["task"]["fullName"] == job]
        number = self.jenkins.job(job).next
        if waiting:
            self.jenkins.leave(waiting[0], executable={"number": number})
        queue_id = waiting[0] if waiting else self.item + 10_000
        self.item += not waiting
        self.jenkins.build(job, building=True, result=None, duration=0, timestamp=self.clock, queueId=queue_id)

    def finish(self, job: str) -> None:
        running = [b for b in self.jenkins.job(job).builds if b.fields["building"]]
        if running:
            running[-1].set(building=False, result="SUCCESS", duration=self.clock - running[-1].fields["timestamp"])
            self.jenkins.job(job).color = "blue"

    def delete(self, job: str) -> None:
        builds = self.jenkins.job(job).builds
        if builds:
            builds.pop(0)

    def recreate(self, job: str) -> None:
        self.jenkins.job(job)
        self.jenkins.job("other")
        self.jenkins.delete(job)
        for number in [n for n, i in self.jenkins.queue.items() if i["task"]["fullName"] == job]:
            self.jenkins.leave(number, cancelled=True)
        self.jenkins.job(job)

    def cancel(self, job: str) -> None:
        waiting = [n for n, i in self.jenkins.queue.items() if i["task"]["fullName"] == job]
        if waiting:
            self.jenkins.leave(waiting[-1], cancelled=True)

    def truth(self) -> dict[str, str]:
        jobs = [self.jenkins.job(name) for name in ("a", "f/b")]
        builds = {
            f"{j.full_name}#{b.number}@{b.fields['timestamp']}": "PROCESSING" if b.fields["building"] else "COMPLETED"
            for j in jobs
            for b in j.builds
        }
        return builds | {f"queue:{n}@{i['inQueueSince']}": "PENDING" for n, i in self.jenkins.queue.items()}


VERBS = st.sampled_from(["queue", "start", "start", "finish", "finish", "delete", "recreate", "cancel"])
STEPS = st.lists(
    st.one_of(
        st.tuples(VERBS, st.sampled_from(["a", "f/b"])),
        st.just(("poll", "")),
        st.tuples(st.just("crash"), st.sampled_from(["0", "1", "2"])),
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_any_story_polled_at_any_moments_with_any_crash_ends_true(
    loopback: Bench, steps: list[tuple[str, str]]
) -> None:
    loopback.jenkins = FakeJenkins()
    story, host = Story(loopback.jenkins), SmallHost()
    adapter = loopback.adapter(config={"sweep_interval_s": 0})
    for verb, job in steps:
        if verb == "poll":
            host.turn(adapter)
        elif verb == "crash":
            for count, page in enumerate(adapter.poll(dict(host.cursors))):
                if count == int(job):
                    break
                host.apply(page)
            adapter = loopback.adapter(config={"sweep_interval_s": 0})
        else:
            story.tell(verb, job)
    host.turn(adapter)
    host.turn(adapter)
    truth = story.truth()
    told = host.statuses()
    assert {i: told.get(i) for i in truth} == truth
    for external_id in told.keys() - truth.keys():
        assert told[external_id] in ("vanished", "COMPLETED", "CANCELLED"), (external_id, told, truth)
    loopback.close_adapters()


def test_a_page_can_be_sent_as_json(bench: Bench) -> None:
    import msgspec

    bench.jenkins.fill("job", 2)
    (page, *_) = list(bench.adapter().poll({}))
    assert msgspec.json.decode(msgspec.json.encode(page), type=Page) == page
    assert NOW.tzinfo is not None


def test_a_long_sweep_is_spread_over_polls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runlink_jenkins.choosing.SWEEP_BUILDS_PER_POLL", 25)
    for n in range(10):
        bench.jenkins.fill(f"job-{n}", 20)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.pass_time(hours=2)
    for n in range(10):
        bench.jenkins.job(f"job-{n}").builds[0].set(description="edited")
    for edited in (2, 4, 6, 8, 10, 10):
        host.turn(bench.adapter())
        assert sum(r["metadata"].get("description") == "edited" for r in host.table.values()) == edited


def test_builds_that_start_between_the_probe_and_the_reading(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jenkins.fill("job", 10)
    host, adapter = hosted(bench)
    host.turn(adapter)
    bench.jenkins.build("job", timestamp=T0)
    answer = bench.jenkins.handle

    def busy(method: str, path: str, headers: Any, data: bytes) -> Any:
        if path.startswith("/job/job/api") and bench.jenkins.job("job").next < 20:
            for n in range(9):
                bench.jenkins.build("job", timestamp=T0 + 1 + n)
        return answer(method, path, headers, data)

    monkeypatch.setattr(bench.jenkins, "handle", busy)
    host.poll(adapter)
    assert {r["metadata"]["number"] for r in host.table.values()} == set(range(1, 21))
    assert host.poll(adapter) == []


def test_an_item_between_queue_and_build_is_remembered(bench: Bench) -> None:
    bench.jenkins.job("job")
    for number in (7, 8):
        bench.jenkins.wait(number, "job")
    host, adapter = hosted(bench)
    host.turn(adapter)
    for number in (7, 8):
        bench.jenkins.leave(number, executable=None)
    host.turn(adapter)
    bench.jenkins.build("job", queueId=7, timestamp=T0 + 1)
    host.turn(adapter)
    assert host.statuses() == {f"job#1@{T0 + 1}": "COMPLETED", f"queue:8@{T0}": "PENDING"}
    assert not any(partition.startswith("queue") for partition in host.cursors)
