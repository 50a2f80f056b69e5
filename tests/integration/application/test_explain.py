"""Why a Run is as it is: the evidence, from the rule to the reads."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from runlink.application.errors import Missing
from runlink.application.explaining.explain import explain
from runlink.application.ingest.telling import MAX_STEPS_TOLD
from runlink.domain import (
    Batch,
    BatchExecution,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
    new_id,
)
from runlink.spi import UNKNOWN, Step, Unreadable
from runlink.store import tables
from runlink.store.feed_health import FeedHealthRow

S = ExecutionStatus


@pytest.fixture
def explained(world):
    def explained(key, as_of=None):
        run = world.runs()[key]
        with world.store.reading() as uow:
            return explain(uow, world.rules, run.id, now=world.now, as_of=as_of)

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
    assert (told["policy"]["expected"], told["policy"]["on_failure"]) == (["app", "part"], "wait")
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
        explain(uow, world.rules, new_id(), now=world.now)


# --- what caused each status --------------------------------------------------------------------------------------


def test_each_status_names_the_observation_that_caused_it_and_when_it_was_learnt(
    world, build, by_key, explained, minute
):
    by_key(create_run=True, policy={"expected": ("app",)}, engines=("ci", "cd"))
    world.see(build("1", "PROCESSING", run="r", queued=0, start=1), began=2)
    learnt_start = world.now
    world.see(build("d", "FAILED", run="r", workflow="deploy", start=2, end=4), began=5, engine="cd")
    world.push(build("1", "COMPLETED", run="r", queued=0, start=1, end=6), began=8)
    learnt_end = world.now
    began, failed = explained("r")["statuses"]
    assert (began["status"], began["occurred_at"], began["recorded_at"]) == ("PROCESSING", minute(1), learnt_start)
    assert (began["because"]["external_id"], began["because"]["feed"]) == ("1", "poll")
    assert (failed["status"], failed["attempt"], failed["actor"]) == ("FAILED", 1, "rule:roll-up")
    assert (failed["occurred_at"], failed["recorded_at"]) == (minute(6), learnt_end)
    because = failed["because"]
    assert (because["engine"], because["external_id"], because["native_status"]) == ("cd", "d", "failed")
    assert (because["observed_at"], because["feed"]) == (minute(5), "poll"), "the failure that it had waited with"


def test_a_hand_is_named(world, by_key, explained):
    by_key()
    world.move(world.run("r"), "cancel", reason="no need")
    (only,) = explained("r")["statuses"]
    assert (only["status"], only["because"], only["actor"], only["reason"]) == ("CANCELLED", None, "cli:me", "no need")


def test_a_run_is_reopened_because_of_what_is_open_again(world, build, by_key, explained):
    by_key(create_run=True, policy={"expected": ("app", "b")})
    world.see(
        build("1", "COMPLETED", run="r", start=0, end=1), build("2", "FAILED", run="r", workflow="b", start=2, end=3)
    )
    world.see(build("2", "PROCESSING", run="r", workflow="b", start=5))
    began, failed, again = explained("r")["statuses"]
    assert [one["because"]["external_id"] for one in (began, failed, again)] == ["1", "2", "2"]
    assert (again["status"], again["attempt"], again["because"]["native_status"]) == ("PROCESSING", 2, "processing")


# --- the timeline -------------------------------------------------------------------------------------------------


def test_the_timeline_has_a_bar_for_each_part_and_goes_on_for_what_is_open(world, build, by_key, explained, minute):
    by_key(create_run=True, engines=("ci", "cd"))
    step = Step(external_id="s", name="compile", status=S.COMPLETED, native_status="OK", started_at=minute(1),
                finished_at=minute(2))  # fmt: skip
    world.see(build("1", "FAILED", run="r", queued=0, start=1, end=3, steps=(step,)))
    world.see(build("1", "PROCESSING", run="r", start=5, attempt=2))
    world.see(build("d", "PENDING", run="r", workflow="deploy", queued=4), engine="cd")
    bars = explained("r")["timeline"]
    assert [(bar["kind"], bar["depth"], bar["label"]) for bar in bars] == [
        ("run", 0, "Run r"),
        ("instance", 1, "ci app"),
        ("attempt", 2, "attempt 1"),
        ("attempt", 2, "attempt 2"),
        ("step", 2, "compile"),
        ("instance", 1, "cd deploy"),
    ]
    assert (bars[2]["started_at"], bars[2]["until"], bars[2]["is_open"]) == (minute(1), minute(3), False)
    assert (bars[3]["until"], bars[3]["is_open"]) == (world.now, True)
    assert (bars[5]["queued_at"], bars[5]["started_at"], bars[5]["until"]) == (minute(4), None, world.now)


def test_parts_of_steps_lie_below_them_whatever_the_engine_tells_of_parents(world, build, by_key, explained, minute):
    by_key(create_run=True)
    told = [
        ("deploy", None),
        ("smoke", "deploy"),
        ("build", None),
        ("browser", "smoke"),
        ("lost", "nobody"),
        ("self", "self"),
    ]
    told += [("hen", "egg"), ("egg", "hen")]
    steps = tuple(
        Step(external_id=name, name=name, parent=parent, status=S.COMPLETED, native_status="OK", started_at=minute(n))
        for n, (name, parent) in enumerate(told)
    )
    world.see(build("1", "COMPLETED", run="r", start=0, end=20, steps=steps))
    bars = [(bar["depth"], bar["label"]) for bar in explained("r")["timeline"] if bar["kind"] == "step"]
    nested = [(2, "deploy"), (3, "smoke"), (4, "browser"), (2, "build"), (2, "lost"), (2, "self")]
    assert bars == [*nested, (2, "hen"), (2, "egg")]


# --- what was known then ------------------------------------------------------------------------------------------


def test_what_was_known_then(world, build, by_key, explained, minute):
    by_key(create_run=True, policy={"expected": ("app", "deploy")})
    step = Step(external_id="s", name="compile", status=S.FAILED, native_status="FAILED", started_at=minute(1),
                finished_at=minute(20), message="exit 2")  # fmt: skip
    world.see(build("1", "PROCESSING", run="r", queued=0, start=1, message="at it", url="http://ci/1"), began=2)
    first = world.now
    world.see(build("1", "FAILED", run="r", queued=0, start=1, end=6, message="boom", steps=(step,)), began=7)
    failed = world.now
    world.see(build("1", "PROCESSING", run="r", queued=0, start=8), began=9)
    again = world.now
    world.see(build("1", "COMPLETED", run="r", queued=0, start=8, end=9), build("2", "COMPLETED", run="r",
              workflow="deploy", start=9, end=10), began=11)  # fmt: skip
    done = explained("r")
    assert (done["status"], done["attempt"], len(done["instances"])) == ("COMPLETED", 2, 2)

    then = explained("r", as_of=first)
    (seen,) = then["instances"]
    assert (then["status"], then["attempt"], then["error_summary"], then["as_of"]) == ("PROCESSING", 1, None, first)
    assert (then["started_at"], then["finished_at"]) == (minute(1), None)
    assert (seen["status"], seen["native_status"], seen["message"]) == ("PROCESSING", "processing", "at it")
    assert (seen["queued_at"], seen["started_at"], seen["finished_at"]) == (minute(0), minute(1), None)
    assert (seen["url"], seen["parameters"]) == ("http://ci/1", {"RUN_ID": "r"})
    assert (seen["steps"], then["doubts"]) == ([], [])  # it had begun by the engine's clock, and nobody had told
    assert then["timeline"][1]["until"] == first

    then = explained("r", as_of=failed)
    (seen,) = then["instances"]
    assert (then["status"], then["error_summary"]) == ("FAILED", "ci app 1 failed in step 'compile': boom")
    assert (then["finished_at"], seen["finished_at"], seen["duration_seconds"]) == (minute(6), minute(6), 300.0)
    assert [(one["name"], one["status"], one["message"]) for one in seen["steps"]] == [("compile", "FAILED", "exit 2")]

    then = explained("r", as_of=again)
    (seen,) = then["instances"]
    assert (then["status"], then["attempt"], then["error_summary"], then["finished_at"]) == (
        "PROCESSING",
        2,
        None,
        None,
    )
    assert [(one["number"], one["status"], one["finished_at"]) for one in seen["attempts"]] == [
        (1, "FAILED", minute(6)),
        (2, "PROCESSING", None),
    ]
    assert seen["message"] is None


def states(told):
    (seen,) = told["instances"]
    return {one["name"]: (one["status"], one["message"], one["outputs"]) for one in seen["steps"]}


def test_steps_are_as_they_were_known_then(world, build, by_key, explained, step):
    by_key(create_run=True)
    when = []
    for steps in (
        (),
        (step("a", start=1), step("b", "PENDING")),
        (step("a", "FAILED", start=1, end=2, message="exit 2"), step("b", start=0)),
        (step("a", "COMPLETED", 2, start=3, end=4, outputs={"n": 1}), step("b", "COMPLETED", start=0, end=1)),
    ):
        world.see(build("1", run="r", steps=steps))
        when.append(world.now)
    assert states(explained("r", as_of=when[0])) == {}
    assert states(explained("r", as_of=when[1])) == {"a": ("PROCESSING", None, None), "b": ("PENDING", None, None)}
    assert states(explained("r", as_of=when[2])) == {"a": ("FAILED", "exit 2", None), "b": ("PROCESSING", None, None)}
    last = explained("r", as_of=when[3])
    assert last["instances"][0]["steps"] == explained("r")["instances"][0]["steps"]
    assert [explained("r", as_of=at)["doubts"] for at in when] == [[]] * 4


def test_of_many_steps_that_changed_at_once_it_is_said_that_the_clock_decides(world, build, by_key, explained, step):
    by_key(create_run=True)
    names = [f"s{n:03}" for n in range(MAX_STEPS_TOLD + 1)]
    world.see(build("1", run="r", steps=()))
    before = world.now
    world.see(build("1", run="r", steps=tuple(step(name, start=1) for name in names)))
    begun = world.now
    assert states(explained("r", as_of=before)) == {}
    assert explained("r", as_of=begun)["doubts"] == []  # nothing was told of them since
    world.see(build("1", run="r", steps=(step("s000", "COMPLETED", start=1, end=2),)))
    one = world.now
    assert states(explained("r", as_of=one))["s000"][0] == "COMPLETED"
    world.see(build("1", run="r", steps=tuple(step(name, "COMPLETED", start=1, end=60) for name in names)))
    then = explained("r", as_of=one)
    assert set(states(then).values()) == {("PROCESSING", None, None)} | {states(then)["s000"]}
    clock = "steps of ci 1 are shown by its engine's clock: many changed at once, and of these each is not kept"
    assert then["doubts"] == [clock]
    assert (states(explained("r", as_of=before)), explained("r", as_of=before)["doubts"]) == ({}, [])
    assert explained("r", as_of=world.now)["doubts"] == []


def test_a_history_that_tells_of_no_steps_leaves_them_to_the_clock(world, build, by_key, explained, step):
    by_key(create_run=True)
    world.see(build("1", run="r", steps=(step("a", start=0), step("b", start=50))))
    with world.store.unit_of_work("test") as uow:  # as a store of an earlier release has it
        uow.connection.execute(sa.update(tables.observations).values(changes={"external_id": "1"}))
    before = world.now
    assert (set(states(explained("r", as_of=before))), explained("r", as_of=before)["doubts"]) == ({"a", "b"}, [])
    world.see(build("1", run="r", steps=(step("c", start=60),)))
    then = explained("r", as_of=before)
    assert (states(then), len(then["doubts"])) == ({"a": ("PROCESSING", None, None)}, 1)


def test_links_are_those_of_then(world, build, by_key, explained):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r"), build("2", "PROCESSING", workflow="b"))
    run = world.runs()["r"]
    world.now += timedelta(minutes=1)
    world.link(run, "2")
    both = world.now
    world.now += timedelta(minutes=1)
    world.unlink(run, "1")
    unlinked = world.now
    names = {
        when: [row["external_id"] for row in explained("r", as_of=when)["instances"]]
        for when in (run.created_at, both, unlinked)
    }
    assert names == {run.created_at: ["1"], both: ["1", "2"], unlinked: ["2"]}
    assert [row["external_id"] for row in explained("r")["instances"]] == ["2"]


def test_a_link_that_was_made_again_has_the_time_of_then(world, build, by_key, explained):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r"))
    run, then = world.runs()["r"], world.now
    world.now += timedelta(minutes=1)
    world.unlink(run, "1")
    world.link(run, "1")
    (row,) = explained("r", as_of=then)["instances"]
    assert (row["link"]["attached_at"], row["link"]["rule"]) == (then, "rule0")
    (row,) = explained("r")["instances"]
    assert (row["link"]["attached_at"], row["link"]["rule"]) == (world.now, None)


def test_the_links_of_a_first_sync_which_leaves_no_events_are_known_by_their_own_time(world, build, by_key, explained):
    by_key()
    world.run("r")
    world.see(build("1", "COMPLETED", run="r", end=1), baseline=True)
    assert [row["external_id"] for row in explained("r", as_of=world.now)["instances"]] == ["1"]


def test_a_time_before_the_run_is_said(world, by_key, explained):
    by_key()
    world.run("r")
    with pytest.raises(Missing, match="was made at 2024-03-01 12:00:00, after the time you ask for"):
        explained("r", as_of=world.now - timedelta(seconds=1))


# --- doubts -------------------------------------------------------------------------------------------------------


def test_steps_that_are_not_to_be_had_are_a_doubt(world, build, by_key, explained):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r", steps=UNKNOWN))
    assert explained("r")["doubts"] == ["ci 1 has steps that are not to be had (offloaded, or not permitted)"]


def test_what_was_set_aside_is_a_doubt(world, build, by_key, explained):
    by_key(create_run=True)
    world.see(build("1", "PROCESSING", run="r"))
    for _ in range(2):
        world.see(page={"unreadable": (Unreadable(raw={}, reason="no status", external_id="1"),)})
    assert explained("r")["doubts"] == ["something about ci 1 was set aside (2 times): no status"]


def test_an_engine_that_cannot_be_read_is_a_doubt_while_something_is_open_there(
    world, build, by_key, explained, minute
):
    by_key(create_run=True, policy={"expected": ("app",)})
    world.see(build("1", "PROCESSING", run="r"))
    row = FeedHealthRow(
        world.engines["ci"].id, "poll", "lost", minute(3), minute(2), None, 0, 9, "no route", 0.0, 5, 61.0
    )
    world.store.write(lambda uow: uow.feed_health.store([row]), actor="daemon")
    skew = "the clock of ci is +61 s off; its times are shown as it tells them"
    assert explained("r")["doubts"] == ["ci could not be read since 2024-03-01 12:02:00 (lost: no route)", skew]
    world.see(build("1", "COMPLETED", run="r", end=9))
    assert explained("r")["doubts"] == [skew]


@pytest.mark.parametrize(
    ("policy", "by_hand", "says"),
    [
        ({"on_reopen": "keep", "expected": ("app",)}, False, 'it stays COMPLETED (on_reopen = "keep"), though by its'),
        (
            {"expected": ("app",)},
            True,
            "it stays COMPLETED (cli:me ended it), though by its instances and policy it would be FAILED",
        ),
    ],
)
def test_an_end_that_is_kept_against_its_instances_is_a_doubt(world, build, by_key, explained, policy, by_hand, says):
    by_key(create_run=True, policy=policy)
    world.see(build("1", "PROCESSING" if by_hand else "COMPLETED", run="r", start=0, end=1))
    if by_hand:
        world.move(world.runs()["r"], "complete")
    world.see(build("1", "FAILED", run="r", start=2, end=3))
    (doubt,) = explained("r")["doubts"]
    assert doubt.startswith(says)


def test_items_are_counted_as_they_are_and_as_they_were(world, by_key, explained, minute):
    by_key()
    run = world.run("r")
    batch = Batch(automation_id=run.automation_id, name="may", created_at=minute(0))
    batch_execution = BatchExecution(run_id=run.id, batch_id=batch.id, created_at=minute(0))
    items = [Item(batch_id=batch.id, sequence_number=n, created_at=minute(0)) for n in range(3)]
    executions = [
        ItemExecution(run_id=run.id, batch_execution_id=batch_execution.id, item_id=item.id, created_at=minute(0))
        for item in items
    ]
    with world.store.unit_of_work("cli:me") as uow:
        uow.batches.add(batch)
        uow.batch_executions.add(batch_execution)
        for item, execution in zip(items, executions, strict=True):
            uow.items.add(item)
            uow.item_executions.add(execution)
            for at_minute, status in ((1, S.PROCESSING), (5, S.COMPLETED))[: items.index(item)]:
                uow.item_state_history.add(
                    ItemStateHistory(item_execution_id=execution.id, new_status=status, created_at=minute(at_minute))
                )
    now = [{"batch": "may", "status": "PENDING", "count": 3}]
    assert explained("r")["items"] == now
    assert explained("r", as_of=minute(4))["items"] == [
        {"batch": "may", "status": "PENDING", "count": 1},
        {"batch": "may", "status": "PROCESSING", "count": 2},
    ]
    assert [(row["status"], row["count"]) for row in explained("r", as_of=minute(9))["items"]] == [
        ("COMPLETED", 1), ("PENDING", 1), ("PROCESSING", 1),
    ]  # fmt: skip
