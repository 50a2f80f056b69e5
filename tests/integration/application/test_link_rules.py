"""The rule language on a store: what is selected, where keys come from, windows of time, parents across engines."""

from __future__ import annotations

import pytest

from runlink.application.rules.keys import RuleFailed
from runlink.application.settings import KeyHook, KeyTemplate, NewRun, ParentRule
from runlink.domain import ExecutionStatus as S
from runlink.spi import Attempt
from runlink.store import tables

KEY = {"automation": "nightly", "run_key": "parameters.RUN_ID"}


def rules_of(world, external_id, engine="ci"):
    mine = world.instance(external_id, engine).id
    rows = world.rows(tables.run_orchestrations)
    return [(row["rule"], row["key"]) for row in rows if row["orchestration_instance_id"] == mine and row["is_active"]]


# --- what a rule selects ------------------------------------------------------------------------------------------


def test_patterns_on_engine_type_workflow_and_labels_must_all_match(world, build):
    world.configure(
        KEY | {"engine": ("c*", "d*"), "type": "tes?", "workflow": ("a/*", "b"), "labels": {"team": ("x", "data-*")}},
        KEY | {"type": "jenkins", "run_key": "labels.team"},
        engines=("ci", "other"),
    )
    world.run("r")
    labels = {"team": "data-1"}
    world.see(
        build("1", run="r", workflow="a/1", labels=labels),
        build("2", run="r", workflow="b", labels={"team": "x", "more": "y"}),
        build("3", run="r", workflow="c", labels=labels),
        build("4", run="r", workflow="b", labels={"team": "ops"}),
        build("5", run="r", workflow="b"),
    )
    world.see(build("6", run="r", workflow="b", labels=labels), engine="other")
    assert [world.links(n) for n in "12345"] == [["r"], ["r"], [], [], []]
    assert world.links("6", "other") == []


def test_the_first_rule_with_stop_ends_and_one_without_does_not(world, build):
    world.configure(
        KEY | {"automation": "one", "workflow": "app", "create_run": True},
        KEY | {"automation": "two", "labels": {"last": "yes"}, "stop": True, "create_run": True},
        KEY | {"automation": "three", "create_run": True},
    )
    world.see(build("1", run="r", labels={"last": "yes"}), build("2", run="r", labels={"last": "no"}))
    assert rules_of(world, "1") == [("rule0", "r"), ("rule1", "r")]
    assert rules_of(world, "2") == [("rule0", "r"), ("rule2", "r")]


def test_stop_ends_also_where_it_selects_without_labels(world, build):
    world.configure(KEY | {"stop": True}, KEY | {"automation": "other", "create_run": True})
    world.see(build("1", run="r"))
    assert world.runs() == {}


def test_an_attempt_that_a_rule_does_not_ask_for_makes_no_link(world, build):
    world.configure(
        KEY | {"attempt": "first"},
        KEY | {"automation": "again", "attempt": "later", "create_run": NewRun(correlation_id="{key}#{attempt}")},
    )
    world.run("r")
    world.see(build("1", "FAILED", run="r", start=0, end=1), build("2", run="r", attempt=2, start=0))
    assert (world.links("1"), world.links("2")) == (["r"], ["r#2"])
    world.see(build("1", run="r", attempt=3, start=2))
    assert world.links("1") == ["r", "r#3"]


# --- where a key is -----------------------------------------------------------------------------------------------


def test_the_first_way_that_finds_a_key_is_taken(world, build):
    ways = ("parameters.RUN_ID", "labels.run || metadata.run", KeyTemplate(template="{workflow}/{parameters.DAY}"))
    world.configure(KEY | {"run_key": ways, "create_run": True})
    world.see(
        build("1", run="r", labels={"run": "l"}),
        build("2", labels={"run": "l"}, parameters={"DAY": 1}),
        build("3", metadata={"run": "m"}),
        build("4", parameters={"DAY": 1}),
        build("5", parameters={"DAYS": 1}),
    )
    assert [world.links(n) for n in "12345"] == [["r"], ["l"], ["m"], ["app/1"], []]
    assert rules_of(world, "4") == [("rule0", "app/1")]


def test_a_plugin_finds_what_no_path_leads_to_one_run_or_several(world, build):
    asked = []

    def linker(observation, engine):
        asked.append((observation.external_id, engine))
        return observation.message.split("+") if observation.message else []

    world.configure(KEY | {"run_key": (KeyHook(plugin="Acme"),), "create_run": True}, linkers={"acme": linker})
    world.see(build("1", message="a+b"), build("2"), build("3", message="b"))
    assert [world.links(n) for n in "123"] == [["a", "b"], [], ["b"]]
    assert asked == [("1", "ci"), ("2", "ci"), ("3", "ci")]
    world.see(build("2"))
    assert len(asked) == 3


FETCHED = "steps[?name == 'fetch'].outputs.order | [0]"


def test_a_key_may_be_in_the_steps_an_observation_tells(world, build, step):
    world.configure(KEY | {"run_key": FETCHED, "create_run": True})
    fetch = step("fetch", "COMPLETED", start=1, end=2, outputs={"order": 17})
    world.see(build("1", steps=(step("fetch", start=1), step("later"))), build("2", steps=(fetch,)), build("3"))
    assert [world.links(n) for n in "123"] == [[], ["17"], []]
    world.see(build("1", steps=(fetch, step("later", start=3))), build("3", steps=(step("other"),)))
    assert [world.links(n) for n in "123"] == [["17"], ["17"], []]
    world.push(build("1", complete=False, steps=(step("later", "COMPLETED", start=3, end=4),)))
    before = world.everything()
    assert world.relink().unlinked == {}  # it asks about the stored steps
    assert world.everything() == before
    assert world.quarantine() == []


def test_steps_are_in_order_and_none_where_none_are_told(world, build, step):
    world.configure(KEY | {"run_key": "join('-', steps[].name)", "create_run": True})
    told = [step("z", attempt=2, start=5), step("b"), step("a"), step("z", "FAILED", start=1, end=2)]
    world.see(build("1", steps=(*told, step("y", start=3))), build("2"), build("3", steps=()))
    assert [world.links(n) for n in "123"] == [["z-y-z-a-b"], [], []]
    assert world.relink().unlinked == {}


def test_a_parent_is_known_by_what_a_step_of_its_stores(world, build, step):
    kin = {"parent": ParentRule(match="url", other="steps[].outputs.url", engine="argo")}
    world.configure(KEY | {"create_run": True}, kin, engines=("argo", "airflow"))
    triggers = step("trigger", "COMPLETED", outputs={"url": "http://airflow/dags/d/runs/1"})
    world.see(build("dag", url="http://airflow/dags/d/runs/1/"), engine="airflow")
    world.see(build("wf", run="r", steps=(triggers,)), engine="argo")
    assert world.links("dag", "airflow") == ["r"]
    world.relink()
    assert world.links("dag", "airflow") == ["r"]
    run = world.runs()["r"]
    world.unlink(run, "wf", "argo")
    assert world.links("dag", "airflow") == []


def test_stored_steps_are_not_read_while_an_engine_is_followed(world, build, step, count_statements):
    world.configure(KEY | {"run_key": FETCHED})
    world.see(build("1", steps=(step("fetch"), step("b"))))
    with count_statements() as seen:
        world.see(build("1", "COMPLETED", start=0, end=5, steps=(step("fetch", "COMPLETED"),)))
    selects = [text for text in seen if "instance_steps" in text and text.lstrip().startswith("SELECT")]
    assert [text for text in selects if "outputs" in text] == []  # their digests alone


def test_a_hook_sees_the_steps_too(world, build, step):
    def linker(observation, _engine):
        return [] if observation.steps is None else [one.outputs["order"] for one in observation.steps if one.outputs]

    world.configure(KEY | {"run_key": (KeyHook(plugin="acme"),), "create_run": True}, linkers={"acme": linker})
    world.see(build("1", steps=(step("a", inputs={"x": [1]}, outputs={"order": "17"}), step("b"))), build("2"))
    assert [world.links(n) for n in "12"] == [["17"], []]
    assert world.relink().unlinked == {}


def test_a_new_run_is_filled_in_by_templates_and_found_again_by_either_key(world, build):
    new_run = NewRun(correlation_id="nightly-{key}", created_by="{parameters.USER}")
    world.configure(KEY | {"create_run": new_run, "labels": {"make": "yes"}}, KEY)
    world.see(build("1", parameters={"RUN_ID": "r", "USER": "ann"}, labels={"make": "yes"}))
    world.see(build("2", run="r", labels={"make": "yes"}), build("3", run="nightly-r"))
    assert list(world.runs()) == ["nightly-r"]
    assert world.runs()["nightly-r"].created_by == "engine:ci for ann"
    assert [world.links(n) for n in "123"] == [["nightly-r"]] * 3


# --- windows of time ------------------------------------------------------------------------------------------------


def test_of_several_runs_with_one_key_the_nearest_before_is_meant(world, build, minute):
    world.configure(KEY)
    for made in (10, 20, 30):
        world.now = minute(made)
        world.run("r")
    runs = {run["created_at"]: run["id"] for run in world.rows(tables.runs)}
    begun = {"early": 5, "between": 25, "exactly": 20, "late": 99}
    world.see(*(build(name, run="r", queued=at) for name, at in begun.items()), build("untold", run="r"))
    links = {row["orchestration_instance_id"]: row["run_id"] for row in world.rows(tables.run_orchestrations)}
    made = {name: links[world.instance(name).id] for name in (*begun, "untold")}
    at10, at20, at30 = (runs[minute(m)] for m in (10, 20, 30))
    assert made == {"early": at10, "between": at20, "exactly": at20, "late": at30, "untold": at30}


def test_clocks_that_differ_by_seconds_do_not_choose_the_run_before(world, build, minute):
    world.configure(KEY)
    for made in (10, 20):
        world.now = minute(made)
        run = world.run("r")
    world.see(build("1", run="r", queued=20 - 4 / 60))
    assert [row["run_id"] for row in world.rows(tables.run_orchestrations)] == [run.id]


def test_a_run_that_is_too_far_away_in_time_is_not_meant_and_waited_on(world, build, minute):
    world.configure(KEY | {"within_s": 600})
    world.now = minute(0)
    world.run("r")
    world.see(build("near", run="r", queued=9), build("far", run="r", queued=60), build("before", run="r", queued=-9))
    assert [world.links(n) for n in ("near", "far", "before")] == [["r"], [], ["r"]]
    world.now = minute(65)
    second = world.run("r")
    assert [row["run_id"] for row in world.rows(tables.run_orchestrations)].count(second.id) == 1
    assert world.links("far") == ["r"]


def test_a_key_that_is_used_again_makes_a_run_each_time(world, build, minute):
    world.configure(KEY | {"within_s": 3600, "create_run": True})
    world.now = minute(500)  # long after: it is the instances' own time that counts
    world.see(build("1", run="r", start=0), build("2", run="r", start=30))
    world.see(build("3", run="r", start=20), build("4", run="r", start=300), build("5", run="r", start=310))
    by_run = {}
    for row in world.rows(tables.run_orchestrations):
        by_run.setdefault(row["run_id"], set()).add(row["orchestration_instance_id"])
    ids = {n: world.instance(n).id for n in "12345"}
    assert sorted(by_run.values(), key=len) == [{ids["4"], ids["5"]}, {ids["1"], ids["2"], ids["3"]}]


# --- parents across engines -----------------------------------------------------------------------------------------

BY_URL = {"name": "by url", "engine": "argo", "parent": ParentRule(engine="ci", match="parameters.FROM", other="url")}
BY_ID = {"name": "by id", "engine": "airflow", "parent": ParentRule(engine="argo", match="parameters.argo")}
STORED = {"name": "stored", "engine": "argo", "parent": ParentRule(engine="ci", match="url", other="metadata.started")}
TOKEN = {
    "name": "token",
    "engine": "argo",
    "parent": ParentRule(type="test", match="labels.token", other="parameters.TOKEN"),
}
ENGINES = ("ci", "argo", "airflow")


def stitched(build):
    """A build, the workflow it started, and the DAG run that one started."""
    return {
        "ci": build("7", run="r", url="https://CI.example.com:443/job/7/"),
        "argo": build("wf", parameters={"FROM": "https://ci.example.com/job/7"}),
        "airflow": build("dag", parameters={"argo": "wf"}),
    }


@pytest.mark.parametrize("order", ["ci argo airflow", "airflow argo ci", "argo ci airflow", "argo airflow ci"])
@pytest.mark.parametrize("run", ["first", "last"])
def test_a_chain_across_engines_is_stitched_whichever_is_seen_first(world, build, order, run):
    world.configure(KEY, BY_URL, BY_ID, engines=ENGINES)
    seen = stitched(build)
    if run == "first":
        world.run("r")
    for engine in order.split():
        world.see(seen[engine], engine=engine)
    if run == "last":
        world.run("r")
    assert rules_of(world, "7") == [("rule0", "r")]
    assert rules_of(world, "wf", "argo") == [("by url", "https://ci.example.com/job/7")]
    assert rules_of(world, "dag", "airflow") == [("by id", "wf")]


@pytest.mark.parametrize("order", ["ci argo", "argo ci"])
def test_a_parent_that_stores_the_childs_address_and_a_token_they_share(world, build, order):
    world.configure(KEY | {"engine": "ci", "create_run": True}, STORED, TOKEN, engines=ENGINES)
    parameters = {"RUN_ID": "r", "TOKEN": "t-1"}
    seen = {
        "ci": [build("7", parameters=parameters, metadata={"started": ["http://argo/a", "http://argo/b/"]})],
        "argo": [
            build("a", url="http://ARGO:80/a"),
            build("b", url="http://argo/b"),
            build("c", labels={"token": "t-1"}),
            build("d", url="http://argo/d", labels={"token": "t-2"}),
        ],
    }
    for engine in order.split():
        world.see(*seen[engine], engine=engine)
    assert [world.links(n, "argo") for n in "abcd"] == [["r"], ["r"], ["r"], []]


def test_a_parent_that_learns_later_what_it_started_hands_down(world, build):
    world.configure(KEY | {"create_run": True}, STORED, engines=ENGINES)
    world.see(build("a", url="http://argo/a"), engine="argo")
    world.see(build("7", run="r"))
    assert world.links("a", "argo") == []
    world.see(build("7", run="r", metadata={"started": "http://argo/a"}))
    assert world.links("a", "argo") == ["r"]


def test_what_an_instance_in_another_engine_started_in_its_own_is_followed(world, build):
    world.configure(KEY | {"create_run": True}, BY_URL, {"inherit": "parent", "engine": "argo"}, engines=ENGINES)
    world.see(build("child", parent="wf"), build("grandchild", parent="child"), engine="argo")
    seen = stitched(build)
    world.see(seen["argo"], engine="argo")
    world.see(seen["ci"])
    assert [world.links(n, "argo") for n in ("wf", "child", "grandchild")] == [["r"]] * 3


def test_a_circle_across_engines_ends(world, build):
    back = {"engine": "ci", "parent": ParentRule(engine="airflow", match="parameters.dag")}
    world.configure(KEY | {"create_run": True, "engine": "argo"}, BY_URL, BY_ID, back, engines=ENGINES)
    seen = stitched(build)
    world.see(build("7", url="https://ci.example.com/job/7", parameters={"dag": "dag"}))
    world.see(seen["airflow"], engine="airflow")
    world.see(build("wf", parameters={"FROM": "https://ci.example.com/job/7", "RUN_ID": "r"}), engine="argo")
    assert (world.links("7"), world.links("wf", "argo"), world.links("dag", "airflow")) == (["r"], ["r"], ["r"])


def test_an_instance_is_not_its_own_parent_and_a_rule_that_changed_finds_nothing_old(world, build):
    world.configure({"parent": ParentRule(match="external_id", other="external_id")} | KEY, engines=ENGINES)
    world.run("r")
    world.see(build("1"))
    world.see(build("1", run="r"), engine="argo")
    assert world.links("1") == ["r"]  # of another engine, the same id
    world.configure(
        {"parent": ParentRule(match="external_id", other="external_id", workflow="no")} | KEY, engines=ENGINES
    )
    world.see(build("2"))
    world.see(build("2", run="r"), engine="argo")
    assert world.links("2") == []


# --- what fails -----------------------------------------------------------------------------------------------------


def test_a_rule_that_fails_on_one_instance_sets_that_one_aside_and_stops_nothing(world, build):
    def linker(observation, _engine):
        if observation.external_id == "2":
            raise RuleFailed("run_key: the hook said no")
        return []

    broken = KEY | {"name": "broken", "run_key": "join('-', parameters.PARTS)"}
    world.configure(
        broken,
        {"name": "lost", "parent": ParentRule(match="join('', parameters.PARTS)")},
        KEY | {"name": "asks", "run_key": (KeyHook(plugin="acme"),)},
        KEY | {"name": "missing", "run_key": (KeyHook(plugin="other"),), "workflow": "none"},
        KEY | {"create_run": True},
        linkers={"acme": linker},
    )
    outcome = world.see(
        build("1", parameters={"PARTS": ["a"], "RUN_ID": "r"}),
        build("2", parameters={"PARTS": [1], "RUN_ID": "r"}),
        build("3", parameters={"PARTS": ["b"], "RUN_ID": "r"}),
    )
    assert (outcome.new, outcome.linked, outcome.quarantined) == (3, 3, 3)
    assert [world.links(n) for n in "123"] == [["r"]] * 3
    aside = world.quarantine()
    assert {row["external_id"] for row in aside} == {"2"}
    reasons = sorted(row["reason"] for row in aside)
    assert [reason.split(": ")[0] for reason in reasons] == [
        "link rule 'asks'",
        "link rule 'broken'",
        "link rule 'lost'",
    ]
    assert "join" in reasons[1]
    world.see(build("2", parameters={"PARTS": [2], "RUN_ID": "r"}))
    assert {row["count"] for row in world.quarantine()} == {2}


def test_a_key_that_is_too_long_is_set_aside(world, build):
    world.configure(KEY | {"create_run": True})
    world.see(build("1", run="x" * 3000), build("2", run="r"))
    assert (world.links("1"), world.links("2")) == ([], ["r"])
    (row,) = world.quarantine()
    assert "link rule 'rule0': the key" in row["reason"]
    assert "at most 500" in row["reason"]


# --- hands ----------------------------------------------------------------------------------------------------------


def test_links_say_what_made_them_and_hands_are_pinned(world, build):
    world.configure(KEY, {"inherit": "parent"})
    run = world.run("r")
    world.see(build("1", run="r"), build("2", parent="1"), build("3"))
    world.link(run, "3")
    world.unlink(run, "2")
    rows = {row["orchestration_instance_id"]: row for row in world.rows(tables.run_orchestrations)}
    said = {
        n: (row["rule"], row["key"], row["pinned"], row["is_active"])
        for n in "123"
        for row in [rows[world.instance(n).id]]
    }
    assert said == {
        "1": ("rule0", "r", False, True),
        "2": ("rule1", "1", True, False),
        "3": (None, None, True, True),
    }


def test_what_a_hand_decided_follows_an_instance_to_its_later_id(world, build):
    world.configure(KEY)
    world.run("r"), world.run("s")
    world.see(build("queue:1", parameters={"RUN_ID": "r"}))
    world.unlink(world.runs()["r"], "queue:1")
    world.link(world.runs()["s"], "queue:1")
    world.see(build("1", run="r"))
    world.see(build("1", run="r", supersedes="queue:1", message="began"))
    assert world.links("1") == ["s"]


def test_a_key_may_stand_in_an_earlier_attempt(world, build):
    run_key = "attempts[?status == 'FAILED'].message | [0]"
    world.configure({"automation": "nightly", "run_key": run_key, "create_run": True})
    world.see(build("1", "FAILED", start=0, end=1, message="order-7"))
    assert world.links("1") == ["order-7"]
    world.see(build("2", start=0))
    told = Attempt(number=1, status=S.FAILED, native_status="failed", message="order-8")
    world.see(build("2", start=2, attempt=2, attempts=(told,)))
    assert world.links("2") == ["order-8"]
    world.configure({"automation": "nightly", "run_key": "attempts[-1].number", "create_run": True})
    assert world.relink(dry_run=True).linked == world.relink().linked == {"rule0": 2}
    assert [world.links(name) for name in ("1", "2")] == [["1"], ["2"]]
