"""The rules applied to stored instances: what they add, what they take off, and what they leave."""

from __future__ import annotations

import pytest

from runlink.application.settings import KeyHook, ParentRule
from runlink.domain import ExecutionStatus
from runlink.store import tables

S = ExecutionStatus
KEY = {"automation": "nightly", "run_key": "parameters.RUN_ID"}
INHERIT = {"inherit": "parent"}


def test_a_new_rule_links_what_is_stored_and_makes_its_runs(world, build):
    world.see(build("1", "COMPLETED", run="a", start=0, end=1), build("2", run="b"), build("3", parent="1"))
    world.configure(KEY | {"create_run": True}, INHERIT)
    done = world.relink()
    assert [world.links(n) for n in "123"] == [["a"], ["b"], ["a"]]
    assert (done.linked, done.unlinked, done.made) == ({"rule0": 2, "rule1": 1}, {}, {"nightly": {"a", "b"}})
    assert world.runs()["a"].status is S.PROCESSING
    assert done.matched["rule0"] == {("ci", "app"): 3}


@pytest.mark.parametrize("page_size", [1, 2, 200])
def test_what_a_rule_no_longer_says_is_taken_off_with_what_was_inherited(world, build, page_size):
    world.configure(KEY | {"create_run": True}, INHERIT)
    world.see(build("d", parent="c"), build("a", run="r"), build("b", parent="a"), build("c", parent="b"))
    world.see(build("other", run="r", workflow="lib"))
    assert [world.links(n) for n in "abcd"] == [["r"]] * 4
    world.configure(KEY | {"workflow": "lib"}, INHERIT)
    done = world.relink(page_size=page_size)
    assert [world.links(n) for n in "abcd"] == [[]] * 4
    assert world.links("other") == ["r"]
    assert done.unlinked == {"rule0": 1, "rule1": 3}
    assert done.runs_changed == 0


def test_a_rule_that_leaves_the_file_takes_its_links_with_it(world, build):
    world.configure(KEY | {"create_run": True}, INHERIT)
    world.see(build("a", run="r"), build("b", parent="a"))
    world.configure()
    done = world.relink()
    assert (world.links("a"), world.links("b")) == ([], [])
    assert done.unlinked == {"rule0": 1, "rule1": 1}


def test_a_circle_of_parents_does_not_hold_itself_up(world, build):
    world.configure(KEY | {"create_run": True}, INHERIT)
    world.see(build("a", parent="c"), build("b", parent="a"), build("c", parent="b"))
    world.see(build("b", parent="a", run="r"))
    assert [world.links(n) for n in "abc"] == [["r"]] * 3
    world.see(build("b", parent="a", parameters={}))
    world.relink(page_size=1)
    assert [world.links(n) for n in "abc"] == [[]] * 3


def test_what_has_another_ground_stays(world, build):
    world.configure(KEY | {"create_run": True, "name": "old"}, INHERIT)
    world.see(build("a", run="r"), build("b", parent="a", run="r"), build("c", parent="b"))
    world.configure(KEY | {"labels": {"run": "*"}, "name": "new"}, INHERIT)
    world.see(build("b", parent="a", run="r", labels={"run": "yes"}))
    world.relink()
    assert [world.links(n) for n in "abc"] == [[], ["r"], ["r"]]
    rows = {row["orchestration_instance_id"]: row["rule"] for row in world.rows(tables.run_orchestrations)}
    assert rows[world.instance("b").id] == "new"


def test_hands_are_left_alone(world, build):
    world.configure(KEY | {"create_run": True}, INHERIT)
    world.see(build("1", run="r"), build("2"), build("3", parent="2"), build("4", run="r"))
    run = world.runs()["r"]
    world.link(run, "2")
    world.link(run, "4")
    world.unlink(run, "1")
    world.relink()
    assert [world.links(n) for n in "1234"] == [[], ["r"], ["r"], ["r"]]
    world.configure(INHERIT | {"name": "rule1"})
    world.relink()
    assert [world.links(n) for n in "1234"] == [[], ["r"], ["r"], ["r"]]
    world.unlink(run, "2")
    world.relink()
    assert [world.links(n) for n in "1234"] == [[], [], [], ["r"]]


def test_it_may_be_done_again_and_writes_nothing_then(world, build):
    world.see(build("1", run="a"), build("2", run="none"), build("3", parent="1"), build("4", parameters={"to": "1"}))
    world.configure(KEY, INHERIT, {"name": "kin", "parent": ParentRule(match="parameters.to")})
    world.run("a")
    world.relink()
    assert [world.links(n) for n in "1234"] == [["a"], [], ["a"], ["a"]]
    before = world.everything()
    done = world.relink(page_size=1)
    assert (done.linked, done.unlinked, done.made, done.instances) == ({}, {}, {}, 4)
    assert world.everything() == before


def test_only_what_began_since_of_one_engine_behind_one(world, build, minute):
    world.configure(engines=("ci", "other"))
    world.see(*(build(f"{n}", run="r", queued=n) for n in (1, 5, 9)))
    world.see(build("5", run="r", queued=5), engine="other")
    world.configure(KEY | {"create_run": True}, engines=("ci", "other"))
    done = world.relink(since=minute(5), engine_id=world.engines["ci"].id, after=world.instance("5").id)
    assert (done.instances, world.links("9"), world.links("5"), world.links("5", "other")) == (1, ["r"], [], [])
    assert done.last == world.instance("9").id
    assert world.relink(since=minute(5)).instances == 3
    assert (world.links("1"), world.links("5"), world.links("5", "other")) == ([], ["r"], ["r"])


def test_what_was_broken_off_is_gone_on_with(world, build):
    world.see(*(build(f"{n}", run=f"r{n}") for n in range(10)))
    world.configure(KEY | {"create_run": True})

    def stop(done):
        if done.instances >= 4:
            raise KeyboardInterrupt

    last = []
    with pytest.raises(KeyboardInterrupt):
        world.relink(page_size=2, progress=lambda done: (last.append(done.last), stop(done)))
    assert len(world.runs()) == 4
    assert world.relink(page_size=2, after=last[-1]).instances == 6
    assert len(world.runs()) == 10


def test_a_dry_run_says_the_same_and_changes_nothing(world, build):
    world.configure(KEY | {"create_run": True, "workflow": "lib"}, INHERIT)
    world.see(build("old", run="o", workflow="lib"), build("c", parent="p"))
    world.see(build("p", run="n"), build("q", run="n"), build("2", run="m"))
    world.configure(KEY | {"create_run": True, "workflow": "app"}, INHERIT)
    before = world.everything()
    would = world.relink(dry_run=True, page_size=1)
    assert world.everything() == before
    done = world.relink(page_size=1)
    assert (would.linked, would.unlinked, would.made) == (done.linked, done.unlinked, done.made)
    assert (done.linked, done.unlinked) == ({"rule0": 3, "rule1": 1}, {"rule0": 1})
    assert done.made == {"nightly": {"n", "m"}}


def test_a_rule_that_fails_takes_nothing_off(world, build):
    def linker(observation, _engine):
        if broken and observation.external_id == "1":
            raise_failure()
        return [observation.message]

    def raise_failure():
        from runlink.application.rules.keys import RuleFailed

        raise RuleFailed("run_key: broken")

    broken = False
    world.configure(KEY | {"run_key": (KeyHook(plugin="acme"),), "create_run": True}, INHERIT, linkers={"acme": linker})
    world.see(build("1", message="a"), build("child", parent="1"), build("2", message="b"))
    broken = True
    done = world.relink()
    assert [world.links(n) for n in ("1", "child", "2")] == [["a"], ["a"], ["b"]]
    assert (done.failed, done.unlinked) == ({"rule0": 1}, {})
    (row,) = world.quarantine()
    assert (row["feed"], row["external_id"]) == ("relink", "1")


def test_links_of_an_attempt_that_is_over_stay(world, build):
    world.configure(KEY | {"attempt": "first", "create_run": True})
    world.see(build("1", "FAILED", run="r", start=0, end=1))
    world.see(build("1", run="r", attempt=2, start=2))
    world.relink()
    assert world.links("1") == ["r"]


def test_a_key_that_changed_leaves_only_the_present_one(world, build):
    world.configure(KEY | {"create_run": True})
    world.see(build("1", run="a"))
    world.see(build("1", run="b"))
    world.relink()
    assert world.links("1") == ["b"]
    assert world.events("instance.unlinked") == ["instance.unlinked"]


def test_a_rule_that_takes_off_may_put_back(world, build):
    world.configure(KEY | {"create_run": True})
    world.see(build("1", run="a"))
    (first,) = world.rows(tables.run_orchestrations)
    world.configure()
    world.relink()
    world.configure(KEY)
    world.relink()
    (again,) = world.rows(tables.run_orchestrations)
    assert (again["id"], again["is_active"], again["pinned"], again["rule"]) == (first["id"], True, False, "rule0")
