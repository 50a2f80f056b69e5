"""`runlink items preview` and `drift`, and what `status` says of them."""

from __future__ import annotations

import pytest

RULE = '[[items]]\nname = "each"\neach = "steps"\ncreate = true\n'
LINKS = '[[links]]\nautomation = "orders"\nrun_key = "parameters.RUN_ID"\ncreate_run = true\n'


@pytest.fixture
def fanned(place, acme):
    """fanned(rules): two instances, the second after the first sync (which makes no Runs), of the same workflow."""

    def sync(more, steps):
        place.configure(("ci", acme), more=LINKS + more)
        place.ok("sync")
        acme.add("7", "orders", "COMPLETED", parameters={"RUN_ID": "r7"}, steps=steps)
        place.ok("sync")

    return sync


def test_preview_of_a_rule_in_force(place, fanned):
    fanned(RULE, {"pay[0]": "COMPLETED", "pay[1]": "FAILED"})
    told = place.ok("items", "preview", "--instance", "7", "-o", "json").json
    (run,) = told["runs"]
    assert (told["external_id"], run["run_key"], run["automation"], run["makes_items"]) == ("7", "r7", "orders", 0)
    assert [(s["name"], s["counts"], s["batch"], s["number"], s["makes"]) for s in run["steps"]] == [
        ("pay[0]", True, "pay (r7)", 0, False),
        ("pay[1]", True, "pay (r7)", 1, False),
    ]
    assert run["rules"] == [{"rule": "each", "counted": 2, "unfit": 0, "differing": 0, "drift": None}]
    said = place.ok("items", "preview", "--instance", "7")
    assert "pay (r7)" in said.out
    assert [row["status"] for row in place.rows("executions", "list")] == ["FAILED", "COMPLETED"]


def test_preview_of_a_rule_that_is_tried_writes_nothing(place, fanned):
    fanned("", {"pay[0]": "COMPLETED", "clean": "COMPLETED"})
    (place.path / "try.toml").write_text(
        '[[items]]\nsteps = "pay*"\nsequence_number = "fan_out.index"\ncreate = true\n'
    )
    run = place.ok("items", "preview", "--instance", "7", "--rule", "try.toml", "-o", "json").json["runs"][0]
    assert (run["makes_batches"], run["makes_items"]) == (1, 1)
    assert {s["name"]: (s["batch"], s["problem"]) for s in run["steps"]} == {
        "pay[0]": ("orders (r7)", None),
        "clean": (None, "its name does not match 'pay*'"),
    }
    assert place.rows("batches", "list") == []
    (place.path / "try.toml").write_text('[[items]]\nsequence_number = "inputs.n"\n')
    said = place("items", "preview", "--instance", "7", "--rule", "try.toml")
    assert (said.code, "sequence_number: inputs.n gives nothing" in said.out) == (1, True)
    (place.path / "try.toml").write_text("[[items]]\n")
    said = place("items", "preview", "--instance", "7", "--rule", "try.toml")
    assert (said.code, "items[0]: does not say which item a step is" in said.err) == (2, True)
    assert place("items", "preview", "--instance", "8").code == 1


def test_preview_for_an_instance_without_a_run(place, acme):
    place.configure(("ci", acme), more=RULE)
    acme.add("7", "orders", "COMPLETED", steps={"pay[0]": "COMPLETED"})
    place.ok("sync")
    (run,) = place.ok("items", "preview", "--instance", "7", "-o", "json").json["runs"]
    assert (run["run_id"], run["run_key"], run["steps"][0]["batch"]) == (None, "RUN", "pay (RUN)")


def test_drift_is_listed_and_warned_of(place, fanned, acme):
    fanned(RULE + 'steps = "pay*"\n', {"buy[0]": "COMPLETED"})
    said = place("items", "drift", "-o", "json")
    (row,) = said.json
    assert (said.code, row["engine"], row["workflow"], row["rule"]) == (1, "ci", "orders", "each")
    assert row["reason"] == "it completed, and no step counts"
    said = place.ok("status")
    assert "warning: items of ci orders do not fit rule 'each' since" in said.err
    assert place.rows("status")[0]["items_drifted"] == 1
    acme.add("8", "orders", "COMPLETED", parameters={"RUN_ID": "r8"}, steps={"pay[0]": "COMPLETED"})
    place.ok("sync")
    assert place.rows("items", "drift") == []
    assert "fit their item rules" in place.ok("items", "drift").err
    assert len(place.rows("items", "drift", "--all")) == 1
