"""Instances to Runs: by key, through a parent, by hand; before and after the Run is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runlink.application.errors import Missing
from runlink.application.settings import ParentRule
from runlink.domain import ExecutionStatus, new_id
from runlink.store import tables

S = ExecutionStatus
INHERIT = {"inherit": "parent"}


# --- by key -----------------------------------------------------------------------------------------------------


def test_a_key_is_a_runs_correlation_id_or_its_id(world, build, by_key):
    by_key()
    run, other = world.run("r-1"), world.run()
    world.see(build("1", run="r-1"), build("2", run=str(other.id)), build("3", run=other.id.hex.upper()), build("4"))
    assert [world.links(n) for n in "1234"] == [["r-1"], ["None"], ["None"], []]
    assert run.id != other.id


def test_a_number_is_a_key_and_what_is_no_word_is_none(world, build, by_key):
    by_key(create_run=True)
    for n, value in enumerate((42, " 42 ", True, None, "", "  ", [], {}, 4.5)):
        world.see(build(str(n), parameters={"RUN_ID": value}))
    assert set(world.runs()) == {"42", "4.5"}
    assert [world.links(str(n)) for n in range(9)] == [["42"], ["42"], [], [], [], [], [], [], ["4.5"]]


def test_a_run_is_made_when_there_is_none_and_once(world, build, by_key):
    by_key(create_run=True)
    world.see(build("1", run="r", start=0), build("2", run="r"), build("3", run="s"))
    world.see(build("4", run="r"))
    assert set(world.runs()) == {"r", "s"}
    assert [world.links(n) for n in "1234"] == [["r"], ["r"], ["s"], ["r"]]
    assert world.runs()["r"].created_by == "engine:ci"
    assert world.events("instance.linked") == ["instance.linked"] * 4


def test_the_keys_of_two_automations_are_apart(world, build):
    world.configure(
        {"automation": "a", "run_key": "parameters.RUN_ID", "workflow": "a*", "create_run": True},
        {"automation": "b", "run_key": "parameters.RUN_ID", "workflow": "*b", "create_run": True},
    )
    world.see(
        build("1", run="r", workflow="a1"), build("2", run="r", workflow="1b"), build("3", run="r", workflow="ab")
    )
    with world.store.reading() as uow:
        runs = {run.automation_id: run.id for run in uow.runs.list()}
        links = {(row.orchestration_instance_id, row.run_id, row.rule) for row in uow.run_orchestrations.list()}
    a, b = runs[world.automation("a")], runs[world.automation("b")]
    one, two, three = (world.instance(n).id for n in "123")
    assert links == {(one, a, "rule0"), (two, b, "rule1"), (three, a, "rule0"), (three, b, "rule1")}


def test_a_deleted_run_is_not_linked_to(world, build, by_key):
    by_key()
    run = world.run("r")
    world.store.write(lambda uow: uow.runs.delete(run), actor="cli:me")
    world.see(build("1", run="r"))
    assert world.links("1") == []


def test_a_run_that_is_made_after_its_instances_were_seen_finds_them(world, build, by_key):
    by_key(INHERIT, engines=("ci", "other"))
    world.see(build("1", "COMPLETED", run="r", start=0, end=3), build("child", parent="1"))
    world.see(build("1", run="r", start=1), build("child", parent="1"), engine="other")
    assert world.links("1") == []
    run = world.run("r")
    assert [world.links(n, e) for n in ("1", "child") for e in ("ci", "other")] == [["r"]] * 4
    assert world.fetch(run).status is S.PROCESSING
    assert world.rows(tables.waiting_keys) == []


def test_a_run_that_a_rule_makes_finds_those_that_waited_on_any_engine(world, build):
    key = {"automation": "nightly", "run_key": "parameters.RUN_ID"}
    world.configure(key | {"workflow": "first", "create_run": True}, key, INHERIT, engines=("ci", "other"))
    world.see(build("1", run="r"), build("child", parent="1"))
    world.see(build("1", run="r"), build("child", parent="1"), build("grandchild", parent="child"), engine="other")
    world.see(build("2", run="r", workflow="first"))
    assert world.links("2") == ["r"]
    for name, engine in (("1", "ci"), ("child", "ci"), ("1", "other"), ("child", "other"), ("grandchild", "other")):
        assert world.links(name, engine) == ["r"], (name, engine)


def test_a_key_that_changes_adds_a_link_and_takes_none_off(world, build, by_key):
    by_key(create_run=True)
    world.see(build("1", run="a"))
    world.see(build("1", run="b"))
    assert world.links("1") == ["a", "b"]


# --- through a parent -------------------------------------------------------------------------------------------


def chain(build, *names):
    """Each started by the one before."""
    return [build(name, parent=parent) for name, parent in zip(names, (None, *names[:-1]), strict=True)]


def test_what_a_linked_instance_started_is_linked_however_deep(world, build, by_key):
    by_key(INHERIT, create_run=True)
    first, *others = chain(build, "a", "b", "c", "d", "e")
    world.see(build("a", run="r"), *others)
    assert [world.links(n) for n in "abcde"] == [["r"]] * 5
    assert first.external_id == "a"


@pytest.mark.parametrize("order", ["abcd", "dcba", "bdac", "cadb"])
@pytest.mark.parametrize("together", [True, False])
def test_in_whatever_order_they_are_seen(world, build, by_key, order, together):
    by_key(INHERIT, create_run=True)
    seen = {o.external_id: o for o in chain(build, *"abcd")} | {"a": build("a", run="r")}
    if together:
        world.see(*(seen[name] for name in order))
    else:
        for name in order:
            world.see(seen[name])
    assert [world.links(n) for n in "abcd"] == [["r"]] * 4
    assert {row["rule"] for row in world.rows(tables.run_orchestrations)} == {"rule0", "rule1"}


def test_a_parent_that_is_linked_later_hands_down(world, build, by_key):
    by_key(INHERIT)
    world.see(*chain(build, *"abc"))
    run = world.run("r")
    world.see(build("a", run="r"))
    assert [world.links(n) for n in "abc"] == [["r"]] * 3
    assert world.fetch(run).status is S.PROCESSING


def test_a_parent_that_is_told_of_later_is_followed(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", run="r"), build("b"))
    world.see(build("b", parent="a"))
    assert world.links("b") == ["r"]


def test_a_circle_of_parents_is_linked_once_and_ends(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", parent="c"), build("b", parent="a"), build("c", parent="b"), build("self", parent="self"))
    world.see(build("b", parent="a", run="r"))
    assert [world.links(n) for n in ("a", "b", "c", "self")] == [["r"], ["r"], ["r"], []]


def test_without_a_rule_nothing_is_inherited(world, build, by_key):
    by_key({"inherit": "parent", "workflow": "deploy"}, create_run=True)
    world.see(build("a", run="r"), build("b", parent="a"), build("c", parent="a", workflow="deploy"))
    assert [world.links(n) for n in "abc"] == [["r"], [], ["r"]]


def test_a_child_of_two_runs_counts_for_both(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", run="r"))
    world.see(build("a", run="s"))
    world.see(build("b", parent="a"))
    assert world.links("b") == ["r", "s"]


# --- by hand ----------------------------------------------------------------------------------------------------


def test_a_link_by_hand_hands_down_and_moves_the_run(world, build, by_key):
    by_key(INHERIT)
    run = world.run()
    world.see(build("a", "COMPLETED", start=0, end=1), build("b", parent="a", start=1))
    link = world.link(run, "a")
    assert (link.rule, link.created_by) == (None, "cli:me")
    assert world.links("b") == ["None"]
    assert world.fetch(run).status is S.PROCESSING


def test_a_link_that_was_taken_off_by_hand_is_put_back_by_no_rule(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", run="r"), build("b", parent="a"))
    run = world.runs()["r"]
    world.unlink(run, "b")
    world.unlink(run, "a")
    world.see(build("a", run="r", message="changed"), build("b", parent="a", message="changed"))
    assert (world.links("a"), world.links("b")) == ([], [])
    world.see(build("c", parent="a"))
    assert world.links("c") == []


def test_what_was_handed_down_goes_with_the_link_it_came_by(world, build, by_key):
    kin = {"parent": ParentRule(match="labels.by", other="url")}
    by_key(INHERIT, kin, create_run=True, engines=("ci", "other"))
    world.see(build("a", run="r", url="http://ci/a"), *chain(build, "a", "b", "c")[1:])
    world.see(build("far", labels={"by": "http://ci/a"}), build("farther", parent="far"), engine="other")
    run = world.runs()["r"]
    went = world.unlink(run, "a")
    assert [world.links(n) for n in "abc"] == [[]] * 3
    assert [world.links(n, "other") for n in ("far", "farther")] == [[], []]
    assert (len(went), went[0].orchestration_instance_id) == (5, world.instance("a").id)
    assert [link.pinned for link in went] == [True, False, False, False, False]
    assert world.events("instance.unlinked") == ["instance.unlinked"] * 5
    before = world.everything()
    assert world.relink().unlinked == {}
    assert world.everything() == before  # nothing was left for it to do
    world.see(build("b", parent="a", message="changed"))
    assert world.links("b") == []
    world.link(run, "a")
    assert [world.links(n) for n in "abc"] == [["r"]] * 3
    assert [world.links(n, "other") for n in ("far", "farther")] == [["r"], ["r"]]


def test_what_has_another_ground_stays_when_a_link_is_taken_off(world, build, by_key):
    by_key(INHERIT, {"parent": ParentRule(match="labels.by")}, create_run=True)
    world.see(build("a", run="r"), build("other", run="r"))
    world.see(
        build("key", parent="a", run="r"), build("hand", parent="a"), build("both", parent="a", labels={"by": "other"})
    )
    world.see(build("below", parent="both"), build("gone", parent="a"))
    run = world.runs()["r"]
    world.link(run, "hand")
    (_, heir) = world.unlink(run, "a")
    assert [world.links(n) for n in ("key", "hand", "both", "below", "gone")] == [["r"]] * 4 + [[]]
    assert heir.orchestration_instance_id == world.instance("gone").id


def test_the_run_and_the_other_runs_of_the_heirs_follow(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", "COMPLETED", run="r", start=0, end=1), build("b", parent="a", start=1))
    world.see(build("b", parent="a", run="s", start=1))
    world.see(build("c", "COMPLETED", run="r", start=0, end=1))
    assert world.links("b") == ["r", "s"]
    world.unlink(world.runs()["r"], "a")
    assert (world.links("b"), world.links("c")) == (["s"], ["r"])
    world.quiet()
    assert {key: run.status for key, run in world.runs().items()} == {"r": S.COMPLETED, "s": S.PROCESSING}


def test_a_circle_of_parents_goes_as_a_whole(world, build, by_key):
    by_key(INHERIT, create_run=True)
    world.see(build("a", parent="c"), build("b", parent="a"), build("c", parent="b"))
    world.see(build("b", parent="a", run="r"))
    world.unlink(world.runs()["r"], "b")
    assert [world.links(n) for n in "abc"] == [[]] * 3


def test_a_rule_that_fails_on_an_heir_takes_nothing_off_it(world, build, by_key):
    odd = {"automation": "nightly", "run_key": "length(labels.n)", "create_run": True}
    by_key(INHERIT, odd, create_run=True)
    world.see(build("a", run="r", labels={"n": "x"}), build("b", parent="a", labels={"n": "x"}))
    world.see(build("c", parent="a", labels={"n": "x"}))
    world.see(build("b", parent="a", labels={"m": "x"}))  # length() of null
    (row,) = world.quarantine()
    world.unlink(world.runs()["r"], "a")
    assert (world.links("b"), world.links("c")) == (["1", "r"], ["1"])
    (*_, row) = world.quarantine()
    assert (row["external_id"], "length" in row["reason"]) == ("b", True)


def test_a_hand_puts_it_back_as_the_same_row(world, build, by_key):
    by_key(create_run=True)
    world.see(build("a", run="r"))
    run = world.runs()["r"]
    (off,) = world.unlink(run, "a")
    again = world.link(run, "a")
    assert (again.id, again.is_active, again.attached_at) == (off.id, True, world.now)
    assert world.events("instance.") == [
        "instance.status_changed",
        "instance.linked",
        "instance.unlinked",
        "instance.linked",
    ]


def test_linking_twice_is_linking_once(world, build, by_key):
    by_key()
    run = world.run()
    world.see(build("a"))
    assert world.link(run, "a").id == world.link(run, "a").id


def test_what_is_not_there_is_said(world, build, by_key):
    by_key()
    run = world.run()
    world.see(build("a"))
    with pytest.raises(Missing, match="is not linked"):
        world.unlink(run, "a")
    run.id = new_id()
    with pytest.raises(Missing, match="no run has the id"):
        world.link(run, "a")
    world.rules.automations["nightly"] = new_id()
    with pytest.raises(Missing, match="no automation has the id"):
        world.run()


# --- at once ----------------------------------------------------------------------------------------------------


def test_feeds_that_meet_one_key_at_once_make_one_run(world, build, by_key):
    engines = tuple(f"e{n}" for n in range(6))
    by_key(create_run=True, engines=engines)
    for turn in range(4):
        together = threading.Barrier(len(engines))

        def see(engine, turn=turn, together=together):
            together.wait()
            return world.see(build(f"{turn}", run=f"r{turn}", start=0), engine=engine)

        with ThreadPoolExecutor(len(engines)) as pool:
            assert sum(outcome.linked for outcome in pool.map(see, engines)) == len(engines)
    with world.store.reading() as uow:
        assert sorted(run.correlation_id for run in uow.runs.list()) == ["r0", "r1", "r2", "r3"]


def test_a_run_made_while_its_instances_are_seen_finds_them_all(world, build, by_key):
    engines = tuple(f"e{n}" for n in range(3))
    by_key(engines=engines)
    for turn in range(6):
        together = threading.Barrier(len(engines) + 1)

        def see(engine, turn=turn, together=together):
            together.wait()
            world.see(build(f"{turn}", run=f"r{turn}"), engine=engine)

        def make(turn=turn, together=together):
            together.wait()
            world.run(f"r{turn}")

        with ThreadPoolExecutor(4) as pool:
            for job in [*(pool.submit(see, engine) for engine in engines), pool.submit(make)]:
                job.result()
        assert [world.links(f"{turn}", engine) for engine in engines] == [[f"r{turn}"]] * 3
