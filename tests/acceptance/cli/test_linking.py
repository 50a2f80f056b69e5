"""`plan`, `relink`, `inbox`, and the rule that a link by hand prints: the way an operator corrects links."""

from __future__ import annotations

import json

import pytest

RULE = '[[links]]\nname = "{name}"\nworkflow = "{workflow}"\nautomation = "nightly"\nrun_key = "{key}"\n{more}\n'


def rule(workflow, key="parameters.RUN_ID", name="by id", more=""):
    return RULE.format(name=name, workflow=workflow, key=key, more=more)


def stored(place):
    """Everything the commands can tell."""
    return [place.rows(*command, "--limit", 1000) for command in (("instances", "list"), ("runs", "list"))]


def test_plan_says_what_relink_then_does_and_changes_nothing(synced, acme):
    before = stored(synced)
    more = rule("*", key="workflow", name="by name", more="create_run = true")
    synced.configure(("ci", acme), ("new", acme), more=more)
    said = synced.ok("plan")
    assert "engine new: new, acme at" in said.out
    assert "by id (no longer in the file)" in said.out
    assert "automation nightly: 3 new Runs: nightly/build, nightly/test, other" in said.out
    found = synced.ok("plan", "-o", "json").json
    assert [(r["rule"], r["linked"], r["unlinked"]) for r in found["rules"]] == [("by name", 4, 0), ("by id", 0, 2)]
    assert [row["basis"] for row in found["engines"]] == ["estimated", "estimated"]
    assert stored(synced) == before
    assert synced.ok("relink", "--since", "9999d", "--dry-run", "-o", "json").json["rules"] == found["rules"]
    assert stored(synced) == before
    done = synced.ok("relink", "--since", "9999d", "-o", "json").json
    assert (done["rules"], done["runs"]) == (found["rules"], found["runs"])
    assert len(stored(synced)[1]) == 4
    again = synced.ok("relink", "--since", "9999d", "-o", "json").json
    assert [(r["linked"], r["unlinked"]) for r in again["rules"]] == [(0, 0)]
    assert "0" in synced.ok("relink", "--since", "9999d").err


def test_plan_needs_no_store_and_makes_none(place, acme):
    place.configure(("ci", acme), more=rule("*"))
    said = place.ok("plan")
    assert "engine ci: new" in said.out
    assert not (place.path / "runlink.db").exists()


def test_relink_wants_sound_arguments(synced):
    assert synced("relink").code == 2
    said = synced("relink", "--since", "1d", "--after", "x")
    assert (said.code, "'x' is no id" in said.err) == (2, True)
    said = synced("relink", "--since", "1d", "--engine", "cii")
    assert (said.code, "did you mean 'ci'?" in said.err) == (2, True)
    last = synced.ok("relink", "--since", "9999d", "-o", "json").json["last"]
    assert synced.ok("relink", "--since", "9999d", "--after", last, "-o", "json").json["instances"] == 0


def test_the_inbox_and_the_way_out_of_it(synced, acme):
    acme.add("x-3", "release", "PROCESSING", parameters={"VERSION": "4.2.0"})
    synced.ok("sync")
    synced.ok("runs", "create", "--automation", "nightly", "--key", "release-4.2.0")
    said = synced.ok("inbox")
    assert "its correlation id contains parameters.VERSION, 4.2.0" in said.out
    found = synced.ok("inbox", "--engine", "ci", "-o", "json").json
    (row,) = (row for row in found["instances"] if row["external_id"] == "x-3")
    assert row["suggestions"][0]["correlation_id"] == "release-4.2.0"
    said = synced.ok("link", row["suggestions"][0]["run_id"], row["id"])
    assert "is linked to run" in said.err
    assert 'run_key = { template = "release-{parameters.VERSION}" }' in said.out
    more = synced.config.read_text() + said.out
    synced.config.write_text(more)
    assert "is sound: 1 engine, 2 link rules" in synced.ok("validate").out
    acme.add("x-4", "release", "PROCESSING", parameters={"VERSION": "4.2.0"})
    synced.ok("sync")
    assert synced.rows("instances", "show", "x-4")["runs"] == [row["suggestions"][0]["run_id"]]
    assert "nothing in the instance leads to the Run" in synced.ok("link", "monday", "x-1").err
    assert "the rule 'by id' makes this link; now it is yours" in synced.ok("link", "monday", "b-1").err
    synced.ok("unlink", "monday", "b-1")
    assert "the rule 'by id' makes this link; now it is yours" in synced.ok("link", "monday", "b-1").err


def test_a_key_without_a_run_says_what_it_waits_for(synced, acme):
    acme.add("w-1", "nightly/build", "PROCESSING", parameters={"RUN_ID": "80"})
    synced.ok("sync")
    (row,) = (one for one in synced.ok("inbox", "-o", "json").json["instances"] if one["external_id"] == "w-1")
    assert row["waits_for"] == [{"rule": "by id", "automation": "nightly", "correlation_id": "80"}]
    assert "a Run of nightly with correlation id 80" in synced.ok("inbox").out
    told = "rule by id: 1 instance waits for a Run of nightly with correlation id 80\n"
    for command in (("plan",), ("relink", "--since", "9999d", "--dry-run"), ("relink", "--since", "9999d")):
        assert told in synced.ok(*command).out
    synced.ok("runs", "create", "--automation", "nightly", "--key", "80")
    assert "waits for a Run" not in synced.ok("plan").out


def test_an_empty_inbox_says_so(place, acme):
    place.configure(("ci", acme))
    assert "nothing was ever synced" in place.ok("inbox").err
    assert json.loads(place.ok("inbox", "-o", "json").out) == {"instances": [], "runs": []}


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("sync",)])
def test_a_rule_that_asks_a_plugin_without_the_hook_is_refused(place, acme, command):
    place.configure(("ci", acme), more='[[links]]\nautomation = "a"\nrun_key = { plugin = "acmee" }\n')
    said = place(*command)
    assert said.code == 2
    assert "links[0].run_key: no plugin 'acmee' has the hook runlink_link" in said.err
