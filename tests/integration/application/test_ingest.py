"""The one write path: new, changed, same, stale; crashes; attempts; identity; absence; the partial, the unreadable."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from runlink.application.errors import FenceLost
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import PageRefused, ingest
from runlink.domain import ExecutionStatus
from runlink.spi import UNKNOWN, Attempt, Page, Revision, Step, Unreadable
from runlink.store import tables

S = ExecutionStatus


def step(name, status="COMPLETED", **fields):
    return Step(**({"external_id": name, "name": name, "status": S(status), "native_status": status.lower()} | fields))


def numbers(outcome):
    return {
        name: value for name in outcome.__slots__ if name not in ("seen", "moved") and (value := getattr(outcome, name))
    }


# --- new, changed, same, stale ------------------------------------------------------------------------------------


def test_a_new_instance_is_stored_with_all_that_was_told(world, build, minute):
    told = build(
        "team/app#1",
        "FAILED",
        queued=0,
        start=1,
        end=4,
        workflow="team/app",
        url="http://ci/1",
        message="exit 1",
        parent="team/all#7",
        parameters={"RUN_ID": "r", "ü": [1, None]},
        labels={"branch": "main"},
        metadata={"agent": "n1"},
        revision=Revision(7, "epoch"),
    )
    assert numbers(world.see(told)) == {"new": 1}
    found = world.instance("team/app#1")
    assert (found.status, found.native_status, found.workflow) == (S.FAILED, "failed", "team/app")
    assert (found.queued_at, found.started_at, found.finished_at) == (minute(0), minute(1), minute(4))
    assert found.duration_seconds == 180
    assert (found.url, found.message, found.parent_external_id) == ("http://ci/1", "exit 1", "team/all#7")
    assert found.parameters == {"RUN_ID": "r", "ü": [1, None]}
    assert (found.labels, found.instance_metadata) == ({"branch": "main"}, {"agent": "n1"})
    assert (found.revision, found.created_by) == ("epoch:7", "engine:ci")
    assert world.attempts("team/app#1") == [(1, "FAILED")]
    (line,) = world.history("team/app#1")
    assert line["changes"]["metadata"] == {"agent": "n1"}
    assert world.events() == ["instance.status_changed"]


def test_a_change_is_one_version_one_line_of_history_and_one_event(world, build, minute):
    world.see(build("1", start=0))
    assert numbers(world.see(build("1", "COMPLETED", start=0, end=5, message="ok"))) == {"changed": 1}
    found = world.instance("1")
    assert (found.version, found.status, found.finished_at) == (2, S.COMPLETED, minute(5))
    assert world.attempts("1") == [(1, "COMPLETED")]
    line = world.history("1")[-1]
    assert set(line["changes"]) == {"status", "native_status", "finished_at", "message"}
    assert world.events() == ["instance.status_changed"] * 2


def test_the_same_writes_nothing_and_tells_nobody(world, build, see_rows):
    page = [build(str(n), "PROCESSING", start=0, steps=(step("a"),), metadata={"n": n}) for n in range(5)]
    world.see(*page, page={"cursors": {"all": "c1"}})
    see_rows()
    before = world.everything()
    for _ in range(3):
        assert numbers(world.see(*page, page={"cursors": {"all": "c1"}})) == {"same": 5}
    assert see_rows() == 0
    assert world.everything() == before


def test_another_revision_of_the_same_state_is_the_same(world, build, see_rows):
    world.see(build("1", revision=Revision(1)))
    see_rows()
    assert numbers(world.see(build("1", revision=Revision(2)))) == {"same": 1}
    assert see_rows() == 0


def test_a_page_that_is_repeated_changes_nothing(world, build):
    world.see(build("1", queued=0), build("2", "FAILED", start=1, end=2))
    page = [build("1", "COMPLETED", queued=0, start=2, end=3), build("2", "FAILED", start=1, end=2), build("3")]
    world.see(*page, began=10)
    before = world.everything()
    for began in (10, 11, 12):
        assert numbers(world.see(*page, began=began)) == {"same": 3}
    assert world.everything() == before


def test_what_comes_too_late_is_left_out(world, build, see_rows):
    world.see(build("1", "COMPLETED", start=0, end=5), began=10)
    see_rows()
    assert numbers(world.see(build("1", "PROCESSING", start=0), began=9)) == {"stale": 1}
    assert numbers(world.push(build("1", "PROCESSING", start=0), began=99)) == {"stale": 1}
    assert see_rows() == 0
    assert world.instance("1").status is S.COMPLETED


def test_a_page_may_tell_of_one_instance_again_in_order(world, build):
    page = [build("1", "PENDING"), build("2"), build("1", "PROCESSING"), build("1", "COMPLETED"), build("2", "FAILED")]
    assert numbers(world.see(*page)) == {"new": 2, "changed": 3}
    assert (world.instance("1").status, world.instance("2").status) == (S.COMPLETED, S.FAILED)
    assert [line["status"] for line in world.history("1")] == ["PENDING", "PROCESSING", "COMPLETED"]
    world.see(*page)
    assert world.attempts("1") == [(1, "COMPLETED")]


def test_a_page_with_one_id_a_thousand_times_is_taken_in(world, build):
    outcome = world.see(*(build("1", message=str(n)) for n in range(10_000)))
    assert world.instance("1").message == "9999"
    assert outcome.changed < 20, "of so many, those in between are left out"


def test_an_empty_page_writes_nothing(world, see_rows):
    see_rows()
    assert numbers(world.see()) == {}
    assert see_rows() == 0


def test_white_space_round_an_id_makes_no_second_instance(world, build, see_rows):
    world.see(build(" 1 ", start=0))
    see_rows()
    assert numbers(world.see(build("1 ", start=0))) == {"same": 1}
    assert see_rows() == 0


# --- one transaction ----------------------------------------------------------------------------------------------


class Crash(Exception):
    pass


class FailingLedger:
    """A ledger that breaks at its n-th statement."""

    def __init__(self, ledger, at):
        self._ledger, self._left = ledger, at

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                raise Crash(name)
            return getattr(self._ledger, name)(*args, **kwargs)

        return call


class CrashingUnitOfWork:
    def __init__(self, uow, at):
        self._uow = uow
        self.ledger = FailingLedger(uow.ledger, at)

    def __getattr__(self, name):
        return getattr(self._uow, name)


def test_a_crash_between_any_two_statements_leaves_nothing(world, build, by_key):
    by_key({"inherit": "parent"}, create_run=True)
    world.see(build("1", run="r"), build("9", run="other", start=0))
    before = world.everything()
    page = Page(
        observations=(
            build("1", "FAILED", run="r", end=5, steps=(step("a"),)),
            build("2", parent="1"),
            build("3", run="new"),
        ),
        cursors={"all": "next"},
        gone=("9",),
        unreadable=(Unreadable(raw={}, reason="?"),),
    )
    read = Read(feed="poll", began_at=world.now + timedelta(minutes=1))

    def work(uow, crash_at):
        ingest(CrashingUnitOfWork(uow, crash_at), world.rules, world.engines["ci"], page, read, world.now)

    crashes = 0
    for crash_at in range(1, 1000):
        try:
            world.store.write(lambda uow, crash_at=crash_at: work(uow, crash_at), actor="engine:ci")
        except Crash:
            crashes += 1
            assert world.everything() == before
        else:
            break
    assert crashes > 20
    assert world.everything() != before
    assert world.cursors() == {"all": "next"}


def test_cursors_are_stored_with_their_page(world, build):
    world.see(build("1"), page={"cursors": {"a": "1", "b": "1"}})
    world.see(page={"cursors": {"a": "2"}})
    assert world.cursors() == {"a": "2", "b": "1"}
    world.see(page={"cursors": {"b": None, "never there": None}})
    assert world.cursors() == {"a": "2"}
    assert world.cursors(feed="backfill") == {}


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (Page(cursors={"big": "x" * 65537}), "has 65537 bytes, more than 65536"),
        (Page(cursors={"x" * 65537: "1"}), "name of partition .* has 65537 bytes"),
        (Page(cursors={"a": 7}), "is int; it must be text"),
        (Page(cursors={"a": "nul\0"}), "characters that no store keeps"),
        (Page(cursors={"a": "half \ud800"}), "characters that no store keeps"),
        (Page(observations=("text",)), "holds str where an Observation belongs"),
        (["no page"], "gave list where a Page belongs"),
    ],
)
def test_a_page_that_breaks_a_promise_is_refused_whole(world, build, page, sentence):
    if isinstance(page, Page) and not page.observations:
        page = msgspec.structs.replace(page, observations=(build("1"),))
    read = Read(feed="poll", began_at=world.now)
    with pytest.raises(PageRefused, match=sentence):
        world.store.write(
            lambda uow: ingest(uow, world.rules, world.engines["ci"], page, read, world.now), actor="engine:ci"
        )
    assert world.instance("1") is None


def test_a_cursor_of_64_kib_is_kept(world):
    world.see(page={"cursors": {"a": "x" * 65536}})
    assert len(world.cursors()["a"]) == 65536


def test_a_process_that_lost_the_lease_writes_nothing(world, build):
    with world.store.daemon_lock("old") as old, pytest.raises(FenceLost):
        world.see(build("1"), fence=old + 1)
    assert world.instance("1") is None
    with world.store.daemon_lock("new") as new:
        world.see(build("1"), fence=new)
    assert world.instance("1") is not None


# --- attempts -----------------------------------------------------------------------------------------------------


def test_a_run_again_in_place_is_a_new_attempt_and_the_history_is_kept(world, build, minute):
    world.see(build("1", "FAILED", start=0, end=5, message="boom"), began=10)
    world.see(build("1", "PROCESSING", start=12), began=13)
    found = world.instance("1")
    assert (found.attempt, found.status, found.started_at, found.finished_at) == (2, S.PROCESSING, minute(12), None)
    assert found.message is None
    assert world.bookkeeping("1")["attempt_offset"] == 1
    world.see(build("1", "COMPLETED", start=12, end=15), began=16)
    assert world.attempts("1") == [(1, "FAILED"), (2, "COMPLETED")]
    assert [(line["attempt"], line["status"]) for line in world.history("1")] == [
        (1, "FAILED"),
        (2, "PROCESSING"),
        (2, "COMPLETED"),
    ]
    first = next(row for row in world.rows(tables.instance_attempts, "number") if row["number"] == 1)
    assert (first["message"], first["finished_at"]) == ("boom", minute(5))


def test_a_push_or_an_equally_old_read_begins_no_attempt(world, build):
    world.see(build("1", "FAILED", start=0, end=5), began=10)
    world.see(build("1", "PROCESSING", start=0), began=10)
    world.push(build("1", "PROCESSING", start=0, complete=False), began=30)
    assert world.attempts("1") == [(1, "FAILED")]


def test_earlier_attempts_that_the_engine_tells_of_are_kept(world, build, minute):
    earlier = tuple(
        Attempt(number=n, status=S.FAILED, native_status="RETRY", started_at=minute(n), finished_at=minute(n + 1))
        for n in (1, 1, 2)
    )
    world.see(build("1", "PROCESSING", start=9, attempt=3, attempts=earlier))
    assert world.attempts("1") == [(1, "FAILED"), (2, "FAILED"), (3, "PROCESSING")]
    world.see(build("1", "COMPLETED", start=9, end=10, attempt=3))
    assert world.attempts("1") == [(1, "FAILED"), (2, "FAILED"), (3, "COMPLETED")]
    assert numbers(world.push(build("1", "PROCESSING", attempt=2))) == {"stale": 1}


def test_revisions_order_what_comes_out_of_order(world, build):
    world.push(build("1", "PROCESSING", revision=Revision(5)))
    assert numbers(world.push(build("1", "COMPLETED", revision=Revision(9)))) == {"changed": 1}
    assert numbers(world.push(build("1", "FAILED", revision=Revision(7)))) == {"stale": 1}
    assert world.instance("1").status is S.COMPLETED


def test_of_what_was_overtaken_that_is_kept_which_nobody_told_since(world, build, by_key, minute):
    by_key(create_run=True)
    end = build("1", "COMPLETED", end=9, revision=Revision(9), message="done", complete=False)
    start = build(
        "1", "PROCESSING", queued=1, start=2, run="r", revision=Revision(2), message="at work", labels={"a": "b"}
    )
    world.push(end)
    assert world.runs() == {}
    assert numbers(world.push(start)) == {"stale": 1, "changed": 1, "linked": 1, "runs_changed": 1}
    one = world.instance("1")
    assert (one.status, one.queued_at, one.started_at, one.finished_at) == (
        S.COMPLETED,
        minute(1),
        minute(2),
        minute(9),
    )
    assert (one.message, one.labels, one.duration_seconds) == ("done", {"a": "b"}, 420)
    assert (world.links("1"), world.runs()["r"].started_at) == (["r"], minute(2))
    assert world.rows(tables.instance_attempts)[0]["started_at"] == minute(2)
    assert numbers(world.push(start)) == {"stale": 1}


def test_a_start_behind_the_end_is_that_of_another_time_round(world, build):
    world.push(build("1", "COMPLETED", end=9, revision=Revision(9)))
    world.push(build("1", "PROCESSING", start=12, revision=Revision(2)))
    assert world.instance("1").started_at is None


def test_a_restored_engine_that_counts_from_the_start_is_followed(world, build):
    world.see(build("1", "PROCESSING", attempt=3, revision=Revision(900, "before")))
    world.see(build("1", "COMPLETED", attempt=1, revision=Revision(4, "after")))
    found = world.instance("1")
    assert (found.status, found.attempt, found.revision) == (S.COMPLETED, 4, "after:4")
    assert numbers(world.see(build("1", "PROCESSING", attempt=1, revision=Revision(3, "after")))) == {"stale": 1}


# --- identity -----------------------------------------------------------------------------------------------------


def test_a_queue_item_that_becomes_a_build_keeps_row_links_and_history(world, build, by_key):
    by_key(create_run=True)
    world.see(build("queue:7", "PENDING", queued=0, run="r"))
    queued = world.instance("queue:7")
    world.see(build("app#1", "PROCESSING", queued=0, start=1, supersedes="queue:7"))
    found = world.instance("app#1")
    assert (found.id, found.parameters) == (queued.id, {"RUN_ID": "r"})
    assert world.instance("queue:7") is None
    assert world.links("app#1") == ["r"]
    assert [line["status"] for line in world.history("app#1")] == ["PENDING", "PROCESSING"]
    assert world.history("app#1")[1]["changes"]["external_id"] == "app#1"
    assert numbers(world.see(build("app#1", "PROCESSING", queued=0, start=1, supersedes="queue:7"))) == {"same": 1}


def test_queue_item_and_build_in_one_page_are_one_instance(world, build):
    page = [build("queue:7", "PENDING"), build("app#1", supersedes="queue:7"), build("queue:7", "PENDING")]
    assert numbers(world.see(*page)) == {"new": 1, "changed": 1, "stale": 1}
    assert len(world.rows(tables.orchestration_instances)) == 1
    world.see(build("queue:8", "PENDING"))
    world.see(build("queue:8", "PENDING", message="waiting"), build("app#2", supersedes="queue:8"))
    assert len(world.rows(tables.orchestration_instances)) == 2
    assert world.instance("app#2").message == "waiting"


def test_only_one_takes_the_place_of_a_queue_item(world, build):
    world.see(build("queue:7", "PENDING"))
    world.see(build("app#1", supersedes="queue:7"), build("app#2", supersedes="queue:7"))
    assert len(world.history("app#1")) == 2
    assert len(world.history("app#2")) == 1


def test_a_build_that_was_seen_before_its_queue_item_takes_over_its_runs(world, build, by_key):
    by_key({"inherit": "parent"}, create_run=True)
    world.see(build("app#1", start=1), build("child", parent="app#1"))
    world.see(build("queue:7", "PENDING", run="r"))
    assert world.links("queue:7") == ["r"]
    world.see(build("app#1", "COMPLETED", start=1, end=2, supersedes="queue:7"))
    assert (world.links("queue:7"), world.links("app#1"), world.links("child")) == ([], ["r"], ["r"])
    assert not world.instance("queue:7").is_active
    assert numbers(world.see(build("queue:7", "PENDING", message="late"))) == {"stale": 1}
    with world.store.reading() as uow:
        assert uow.ledger.open_instances(world.engines["ci"].id) == ["child"]
    before = world.everything()
    world.see(build("app#1", "COMPLETED", start=1, end=2, supersedes="queue:7"))
    assert world.everything() == before


# --- absence ------------------------------------------------------------------------------------------------------


def test_gone_twice_is_vanished_with_its_last_evidence(world, build):
    world.see(build("1", "PROCESSING", start=0, message="half way"))
    assert numbers(world.gone("1", began=10)) == {}
    assert world.instance("1").vanished_at is None
    assert numbers(world.gone("1", began=10)) == {}, "twice in one poll is once"
    assert numbers(world.gone("1", began=11)) == {"vanished": 1}
    found = world.instance("1")
    assert found.vanished_at == world.now
    assert (found.status, found.message) == (S.PROCESSING, "half way")
    assert world.events() == ["instance.status_changed", "instance.vanished"]
    before = world.everything()
    assert numbers(world.gone("1", began=12)) == {}
    assert world.everything() == before


def test_a_sighting_between_two_absences_takes_the_first_one_back(world, build):
    world.see(build("1", start=0))
    world.gone("1", began=10)
    assert numbers(world.see(build("1", start=0), began=11)) == {"same": 1}
    world.gone("1", began=12)
    assert world.instance("1").vanished_at is None
    world.gone("1", began=13)
    assert world.instance("1").vanished_at is not None


def test_a_sighting_takes_vanished_back(world, build):
    world.see(build("1", start=0))
    world.gone("1", began=10)
    world.gone("1", began=11)
    assert numbers(world.see(build("1", start=0), began=12)) == {"changed": 1}
    assert world.instance("1").vanished_at is None
    with world.store.reading() as uow:
        assert uow.ledger.open_instances(world.engines["ci"].id) == ["1"]


def test_what_had_ended_stays_as_it_ended(world, build, see_rows):
    world.see(build("1", "COMPLETED", start=0, end=5))
    see_rows()
    world.gone("1", "unknown", began=10)
    world.gone("1", "unknown", began=11)
    assert see_rows() == 0
    assert world.instance("1").vanished_at is None


def test_what_a_page_shows_is_not_gone_whatever_the_page_says(world, build):
    world.see(build("1", start=0))
    for began in (10, 11, 12):
        world.see(build("1", start=0), began=began, page={"gone": ("1",)})
    assert world.instance("1").vanished_at is None


def test_open_instances_are_those_to_read_again(world, build):
    world.see(*(build(status.value, status.value) for status in S))
    world.see(build("lost"))
    world.gone("lost", began=10)
    world.gone("lost", began=11)
    with world.store.reading() as uow:
        assert sorted(uow.ledger.open_instances(world.engines["ci"].id)) == ["PENDING", "PROCESSING", "RETRYING"]


# --- baseline -----------------------------------------------------------------------------------------------------


def test_the_first_sync_makes_rows_and_links_but_no_events_and_no_runs(world, build, by_key):
    by_key(create_run=True)
    run = world.run("known")
    world.see(build("1", "FAILED", start=0, end=5, run="known"), build("2", run="unknown"), baseline=True)
    assert world.links("1") == ["known"]
    assert world.links("2") == []
    assert set(world.runs()) == {"known"}
    assert world.fetch(run).status is S.FAILED, "a Run that was there before moves"
    assert world.events() == ["run.started", "run.failed"]
    world.see(build("2", "COMPLETED", start=0, end=9, run="unknown"))
    assert set(world.runs()) == {"known", "unknown"}


# --- partial observations -----------------------------------------------------------------------------------------


def test_a_part_of_the_state_erases_nothing(world, build, minute):
    whole = build(
        "1", "PROCESSING", queued=0, start=1, url="u", parameters={"a": 1}, labels={"l": "1"}, metadata={"m": 1},
        message="working", parent="p", steps=(step("s"),),
    )  # fmt: skip
    world.see(whole)
    world.push(build("1", "COMPLETED", complete=False, end=4))
    found = world.instance("1")
    assert (found.status, found.finished_at, found.queued_at, found.started_at) == (
        S.COMPLETED,
        minute(4),
        minute(0),
        minute(1),
    )
    assert (found.url, found.parameters, found.labels, found.instance_metadata) == ("u", {"a": 1}, {"l": "1"}, {"m": 1})
    assert (found.message, found.parent_external_id) == ("working", "p")
    assert world.steps("1") == [("s", 1, "COMPLETED")]


def test_a_push_of_what_is_known_writes_nothing(world, build, see_rows):
    world.see(build("1", "PROCESSING", start=1, message="m"))
    see_rows()
    assert numbers(world.push(build("1", "PROCESSING", complete=False))) == {"same": 1}
    assert see_rows() == 0
    assert numbers(world.see(build("1", "PROCESSING", start=1, message="m"))) == {"same": 1}
    assert see_rows() == 0


def test_after_a_push_the_next_whole_read_is_compared_field_by_field(world, build):
    world.push(build("1", "PROCESSING", complete=False))
    assert numbers(world.see(build("1", "PROCESSING"))) == {"same": 1}
    assert world.bookkeeping("1")["digest"] is not None
    assert len(world.history("1")) == 1


# --- steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "steps", "state"),
    [
        ("PROCESSING", None, None),
        ("PROCESSING", (), "read"),
        ("COMPLETED", (), "final"),
        ("COMPLETED", (step("a"),), "final"),
        ("COMPLETED", UNKNOWN, "unknown"),
        ("COMPLETED", None, None),
    ],
)
def test_what_is_known_of_steps(world, build, status, steps, state):
    world.see(build("1", status, steps=steps))
    assert world.bookkeeping("1")["steps_state"] == state


def test_steps_that_were_not_read_keep_what_is_known(world, build):
    world.see(build("1", steps=(step("a", "PROCESSING"),)))
    world.see(build("1", "COMPLETED"))
    assert world.steps("1") == [("a", 1, "PROCESSING")]
    assert world.bookkeeping("1")["steps_state"] == "read", "not read since the end: read them again"


def test_a_new_attempt_has_steps_of_its_own_to_be_read(world, build, by_key):
    by_key(create_run=True)
    world.see(build("1", "FAILED", run="r", end=1, steps=(step("a", "FAILED"),)))
    assert world.bookkeeping("1")["steps_state"] == "final"
    world.see(build("1", "COMPLETED", run="r", end=9, attempt=2))
    assert world.bookkeeping("1")["steps_state"] is None
    with world.store.reading() as uow:
        assert uow.ledger.steps_wanted(world.engines["ci"].id, 10) == ["1"]


def test_steps_are_wanted_of_linked_instances_that_ended(world, build, by_key):
    by_key(create_run=True)
    world.see(
        build("linked", "COMPLETED", run="r"),
        build("read", "COMPLETED", run="r", steps=()),
        build("not to be had", "COMPLETED", run="r", steps=UNKNOWN),
        build("free", "COMPLETED"),
        build("open", "PROCESSING", run="r"),
    )
    with world.store.reading() as uow:
        assert uow.ledger.steps_wanted(world.engines["ci"].id, 10) == ["linked"]


def test_only_changed_steps_are_written(world, build, see_rows):
    steps = [step(f"s{n}", "PROCESSING", inputs={"n": n}) for n in range(20)]
    world.see(build("1", steps=tuple(steps)))
    steps[3] = step("s3", "COMPLETED", outputs={"x": 1}, inputs={"n": 3})
    steps.append(step("s3", "PROCESSING", attempt=2))
    see_rows()
    assert numbers(world.see(build("1", steps=tuple(steps)))) == {"changed": 1}
    assert see_rows() == 1 + 1 + 2 + 1  # instance, attempt, two steps, a line of history
    assert ("s3", 1, "COMPLETED") in world.steps("1")
    assert ("s3", 2, "PROCESSING") in world.steps("1")
    assert world.history("1")[-1]["changes"] == {
        "steps": [
            {"external_id": "s3", "attempt": 1, "status": "COMPLETED", "native_status": "completed"},
            {"external_id": "s3", "attempt": 2, "status": "PROCESSING", "native_status": "processing"},
        ]
    }


# --- what cannot be stored ----------------------------------------------------------------------------------------


def test_metadata_that_is_too_large_is_left_out_and_said_so_once(world, build, see_rows):
    world.see(build("1", metadata={"log": "x" * 10_000_000}), build("2"))
    assert "metadata of 10000010 bytes left out" in world.instance("1").instance_metadata["left_out"]
    assert world.instance("2") is not None
    (item,) = world.quarantine()
    assert (item["external_id"], item["count"]) == ("1", 1)
    see_rows()
    assert numbers(world.see(build("1", metadata={"log": "x" * 10_000_000}))) == {"same": 1}
    assert see_rows() == 0


def test_an_observation_that_is_too_large_otherwise_is_quarantined(world, build):
    assert numbers(world.see(build("1", message="x" * 10_000_000), build("2"))) == {"new": 1, "quarantined": 1}
    assert "more than the 262144 an observation may have" in world.quarantine()[0]["reason"]


def test_a_step_that_is_too_large_loses_its_inputs_and_outputs(world, build):
    world.see(build("1", steps=(step("a", outputs={"log": "x" * 1_000_000}), step("b", outputs={"n": 1}))))
    assert world.steps("1") == [("a", 1, "COMPLETED"), ("b", 1, "COMPLETED")]
    assert [row["outputs"] for row in world.rows(tables.instance_steps, "external_id")] == [None, {"n": 1}]
    assert "step 'a' left out" in world.quarantine()[0]["reason"]
    world.see(build("2", steps=(step("a", message="x" * 1_000_000),)), build("3"))
    assert world.instance("2") is None
    assert world.instance("3") is not None


class Strange:
    def __repr__(self):
        return "<strange>"


CIRCLE = {}
CIRCLE["self"] = CIRCLE

BAD = {
    "an object": {"metadata": {"a": Strange()}},
    "keys that are pairs": {"metadata": {("a", "b"): 1}},
    "keys that are numbers": {"metadata": {5: "five"}},
    "half a surrogate pair": {"message": "\ud800"},
    "half a surrogate pair in the id": {"external_id": "\ud800"},
    "a circle": {"metadata": CIRCLE},
    "a message that is a list": {"message": ["a"]},
    "parameters that are text": {"parameters": "A=1"},
    "a label that is a number": {"labels": {"a": 1}},
    "a native status that is None": {"native_status": None},
    "an attempt that is a fraction": {"attempt": 1.5},
    "an attempt that no column holds": {"attempt": 2**40},
    "a blank id": {"external_id": "  "},
    "supersedes that is a number": {"supersedes": 7},
    "a revision that is a number": {"revision": 7},
    "a revision of text": {"revision": Revision("7")},
    "steps that are text": {"steps": ("a", "b")},
    "an attempt below 1": {"attempts": (Attempt(number=0, status=S.FAILED, native_status="x"),)},
}


@pytest.mark.parametrize("bad", BAD)
def test_an_item_that_cannot_be_stored_is_quarantined_and_the_rest_goes_on(world, build, bad):
    wrong = BAD[bad]
    item = build(wrong.get("external_id", "bad"), **{name: v for name, v in wrong.items() if name != "external_id"})
    for count in (1, 2):
        outcome = world.see(build("before", message=str(count)), item, build("after", message=str(count)))
        assert outcome.quarantined == 1
        assert outcome.new + outcome.changed == 2
        (kept,) = world.quarantine()
        assert kept["count"] == count
        assert kept["reason"]


def test_text_that_postgresql_keeps_no_byte_of_is_kept_with_a_mark(world, build):
    world.see(build("1", message="a\0b", metadata={"k\0": ["\0"]}, steps=(step("s", message="\0"),)))
    found = world.instance("1")
    assert (found.message, found.instance_metadata) == ("a\ufffdb", {"k\ufffd": ["\ufffd"]})
    assert numbers(
        world.see(build("1", message="a\0b", metadata={"k\0": ["\0"]}, steps=(step("s", message="\0"),)))
    ) == {"same": 1}


def test_what_json_writes_in_its_own_way_is_compared_as_it_is_stored(world, build):
    odd = {"when": datetime(2024, 1, 1, tzinfo=UTC), "tuple": (1, 2), "nan": float("nan")}
    world.see(build("1", metadata=odd))
    assert numbers(world.push(build("1", metadata=odd, complete=False))) == {"same": 1}
    assert world.instance("1").instance_metadata == {
        "when": "2024-01-01T00:00:00Z",
        "tuple": [1, 2],
        "nan": None,
    }


def test_unreadable_items_are_quarantined_each_once_and_counted(world, build):
    items = (
        Unreadable(raw={"a": 1}, reason="no status"),
        Unreadable(raw="\ud800\0", reason="bytes\0"),
        Unreadable(raw=Strange(), reason="strange", external_id="7"),
    )
    world.see(build("1"), page={"unreadable": items})
    world.see(page={"unreadable": items})
    rows = {row["raw"]: row for row in world.quarantine()}
    assert set(rows) == {'{"a":1}', "?\ufffd", "<strange>"}
    assert {row["count"] for row in rows.values()} == {2}
    assert rows["<strange>"]["external_id"] == "7"


def test_a_step_that_is_told_twice_at_once_is_one_step_as_told_last(world, build, step):
    told = [step(f"s{n % 4}", status) for status in ("PROCESSING", "COMPLETED") for n in range(4)]
    world.see(build("1", start=0, steps=tuple(told)))
    assert world.steps("1") == [(f"s{n}", 1, "COMPLETED") for n in range(4)]
