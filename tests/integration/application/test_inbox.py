"""What is not linked, what it may belong to, and the rule that would have known."""

from __future__ import annotations

import tomllib

import pytest

from runlink.application.linking.inbox import inbox, made_by
from runlink.config import load
from runlink.config.links import link_problems

KEY = {"automation": "nightly", "run_key": "parameters.RUN_ID"}


def look(world, **how):
    with world.store.reading() as uow:
        return inbox(uow, world.rules, **how)


def suggested(rows, name):
    (row,) = (row for row in rows if row.get("external_id", row.get("correlation_id")) == name)
    return row["suggestions"]


def test_both_sides_with_suggestions_best_first_and_why(world, build, minute):
    world.configure(KEY | {"workflow": "app"})
    world.now = minute(0)
    world.run("release-42"), world.run("other-7")
    world.see(
        build("linked", run="other-7", parameters={"RUN_ID": "other-7", "BRANCH": "main-branch"}),
        build("build", workflow="app", queued=1, parameters={"KEY": "release-42"}),
        build("sibling", workflow="lib", queued=5000, parameters={"BRANCH": "main-branch"}),
        build("nothing", workflow="lib", queued=90_000),
    )
    found = look(world)
    assert [row["external_id"] for row in found["instances"]] == ["nothing", "sibling", "build"]
    assert [row["correlation_id"] for row in found["runs"]] == ["release-42"]
    best, *_ = suggested(found["instances"], "build")
    assert (best["correlation_id"], best["automation"], best["status"]) == ("release-42", "nightly", "PENDING")
    assert best["reasons"] == [
        "parameters.KEY is its correlation id, release-42",
        "rule 'rule0' gives this workflow to nightly",
        "began 60 s after the Run was made",
    ]
    assert best["score"] > 90
    assert [one["correlation_id"] for one in suggested(found["instances"], "sibling")] == []
    (back, *_) = suggested(found["runs"], "release-42")
    assert (back["external_id"], back["score"]) == ("build", best["score"])


def test_a_key_that_no_run_has_says_what_is_waited_for(world, build, count_statements):
    world.configure(
        KEY, {"automation": "weekly", "run_key": "parameters.WEEK"}, {"automation": "gone", "run_key": "parameters.X"}
    )
    world.see(build("1", run="80", parameters={"RUN_ID": "80", "WEEK": 7, "X": "x"}), build("2", run="81"), build("3"))
    world.configure(KEY, {"automation": "weekly", "run_key": "parameters.WEEK"})
    rows = {row["external_id"]: row["waits_for"] for row in look(world)["instances"]}
    weekly = {"rule": "rule1", "automation": "weekly", "correlation_id": "7"}
    nightly = {"rule": "rule0", "automation": "nightly"}
    assert rows == {
        "1": [nightly | {"correlation_id": "80"}, weekly],
        "2": [nightly | {"correlation_id": "81"}],
        "3": [],
    }
    assert {row["external_id"]: row["waits_for"] for row in look(world, automation="weekly")["instances"]} == {
        "1": [weekly],
        "2": [],
        "3": [],
    }
    with count_statements() as few:
        look(world)
    world.see(*(build(f"more{n}", run=f"m{n}") for n in range(20)))
    with count_statements() as many:
        look(world)
    assert len(many) == len(few), "no statement for a row"
    world.run("81")
    assert [row["external_id"] for row in look(world)["instances"] if row["external_id"] in ("2", "3")] == ["3"]


def test_what_is_linked_already_speaks_for_its_siblings(world, build, minute):
    world.configure(KEY)
    world.now = minute(0)
    world.run("r-1")
    parameters = {"BRANCH": "feature/x", "COMMIT": "abcdef1"}
    world.see(build("1", parameters={"RUN_ID": "r-1"} | parameters), build("2", queued=2, parameters=parameters))
    (one,) = suggested(look(world)["instances"], "2")
    assert one["reasons"][0] == "parameters.BRANCH, parameters.COMMIT as in what is linked to it already"


def test_what_a_hand_took_apart_is_not_suggested_again(world, build, minute):
    world.configure(KEY)
    world.now = minute(0)
    run = world.run("r-1")
    world.see(build("1", run="r-1", queued=1))
    world.unlink(run, "1")
    found = look(world)
    assert suggested(found["instances"], "1") == suggested(found["runs"], "r-1") == []


def test_it_is_narrowed_by_engine_automation_time_and_number(world, build, minute):
    world.configure(KEY, KEY | {"automation": "other", "workflow": "o"}, engines=("ci", "argo"))
    world.run("a"), world.run("b", "other")
    world.see(*(build(f"{n}", queued=n) for n in range(5)))
    world.see(build("x"), engine="argo")
    assert [row["external_id"] for row in look(world, engine="argo")["instances"]] == ["x"]
    assert [row["correlation_id"] for row in look(world, automation="other")["runs"]] == ["b"]
    assert len(look(world, limit=2)["instances"]) == 2
    assert [row["external_id"] for row in look(world, since=minute(3))["instances"]] == ["4", "3"]


# --- the rule that would have made it -------------------------------------------------------------------------------

CASES = {
    "a parameter": ({"parameters": {"RUN_ID": "r-1"}}, "r-1", "parameters.RUN_ID"),
    "a label with a strange name": ({"labels": {'acme.io/run "x"': "r-1"}}, "r-1", 'labels."acme.io/run \\"x\\""'),
    "deep in the metadata": ({"metadata": {"a": {"b": 42}}}, "42", "metadata.a.b"),
    "a strange workflow": ({"workflow": 'a[1]*?/\\"\t\x7fü', "labels": {"run": "r-1"}}, "r-1", "labels.run"),
    "its own id": ({}, "1", "external_id"),
    "several values": (
        {"parameters": {"DAY": "2024-03-01", "REGION": "eu-west"}},
        "n{1}-2024-03-01/eu-west",
        {"template": "n{{1}}-{parameters.DAY}/{parameters.REGION}"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_link_by_hand_gives_the_rule_that_would_have_made_it(world, build, tmp_path, case):
    fields, key, run_key = CASES[case]
    world.configure(KEY | {"run_key": "labels.none"})
    run = world.run(key)
    world.see(build("1", **fields))
    world.link(run, "1")
    with world.store.reading() as uow:
        text = made_by(uow, world.rules, run.id, world.instance("1").id)
    assert tomllib.loads(text)["links"][0]["run_key"] == run_key
    fed_back(world, build, tmp_path, text, key, fields)


def fed_back(world, build, tmp_path, text, key, fields):
    """The rule is valid and links another instance like the first."""
    path = tmp_path / "runlink.toml"
    path.write_text(text)
    rule = load(path, {}).links[0]
    world.configure({name: getattr(rule, name) for name in ("engine", "workflow", "automation", "run_key", "inherit")})
    world.unlink(world.runs()[key], "1")
    if fields:
        world.see(build("another", **fields))
        assert world.links("another") == [key]
        world.see(build("elsewhere", **(fields | {"workflow": "elsewhere"})))
        assert world.links("elsewhere") == []


def test_the_id_of_a_run_is_a_key_too_and_a_parent_is_a_reason(world, build):
    world.configure(KEY | {"run_key": "labels.none"})
    run = world.run()
    world.see(build("1", parameters={"X": str(run.id)}), build("2", parent="1"), build("3"))
    for name in "123":
        world.link(run, name)
    with world.store.reading() as uow:
        one, two, three = (made_by(uow, world.rules, run.id, world.instance(n).id) for n in "123")
    assert tomllib.loads(one)["links"][0]["run_key"] == "parameters.X"
    assert tomllib.loads(two)["links"][0]["inherit"] == "parent"
    assert three is None


def test_a_rule_beside_one_that_gives_the_workflow_away_is_valid_where_it_says(world, build):
    taken = {"name": "nightly by parameters.RUN_ID", "automation": "other", "engine": "ci", "workflow": "app"}
    world.configure(taken | {"run_key": "labels.none"}, KEY | {"name": "n", "workflow": "lib"})
    run = world.run("r")
    world.see(build("1", run="r"))
    with world.store.reading() as uow:
        text = made_by(uow, world.rules, run.id, world.instance("1").id)
    assert text.startswith("# put this above 'nightly by parameters.RUN_ID'")
    (table,) = tomllib.loads(text)["links"]
    assert table["name"] == "nightly by parameters.RUN_ID (2)"
    assert list(link_problems([table, taken | {"run_key": "labels.none"}])) == []
