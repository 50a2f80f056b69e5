"""Steps become batches and items, and their executions follow: docs/reference/items.md."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runlink.application.items.preview import preview
from runlink.application.runs import link
from runlink.application.settings import ItemRule
from runlink.domain import Batch, ExecutionStatus, Item
from runlink.spi import UNKNOWN
from runlink.store import tables

from .conftest import BY_KEY

S = ExecutionStatus
EACH = {"each": "steps", "create": True, "payload": "inputs"}


@pytest.fixture
def each(world):
    """each(**rule): Runs by key, and one rule that makes an item of each step."""

    def configure(*more, link=None, **rule):
        return world.configure(BY_KEY | {"create_run": True} | (link or {}), items=[EACH | rule, *more])

    return configure


def test_a_mapped_task_becomes_a_batch_with_an_item_for_each_index(world, build, step, each, minute):
    each()
    world.see(
        build(
            "1",
            run="r",
            start=0,
            steps=(
                step("square[0]", "COMPLETED", start=1, end=2, inputs={"x": 3}),
                step("square[1]", "PENDING"),
                step("square[10]", start=2),
            ),
        )
    )
    assert world.items() == [
        ("square (r)", 0, "COMPLETED", 1), ("square (r)", 1, "PENDING", 0), ("square (r)", 10, "PROCESSING", 1),
    ]  # fmt: skip
    assert world.batches() == {"square (r)": "PROCESSING"}
    assert world.item_history(0) == [("PROCESSING", 1), ("COMPLETED", 2)]
    with world.store.reading() as uow:
        (item,) = (one for one in uow.items.list() if one.sequence_number == 0)
        (record, *_) = uow.item_state_history.list()
    assert (item.payload, item.created_by) == ({"x": 3}, "rule:items")
    assert (record.created_at, record.created_by) == (world.now, "rule:items")


def test_results_messages_and_the_end_of_the_batch(world, build, step, each, minute):
    each()
    steps = (
        step("square[0]", "COMPLETED", start=1, end=2, outputs={"result": 9}),
        step("square[1]", "FAILED", start=1, end=4, message="exit 1", final=True),
    )
    world.see(build("1", run="r", start=0, steps=steps))
    assert world.batches() == {"square (r)": "PROCESSING"}, "more may come while the instance is open"
    world.see(build("1", "FAILED", run="r", start=0, end=5, steps=steps))
    with world.store.reading() as uow:
        rows = uow.reports.item_executions()
        (batch,) = uow.reports.batch_executions()
    assert [(r["result_payload"], r["error_message"], r["max_attempts"]) for r in rows] == [
        (None, "exit 1", 1), ({"result": 9}, None, 1),
    ]  # fmt: skip
    assert (batch["status"], batch["started_at"], batch["finished_at"]) == ("FAILED", minute(1), minute(4))
    assert world.events("batch", "item") == ["item_execution.failed", "batch_execution.failed"]


def test_attempts_retry_in_between(world, build, step, each):
    each()
    first = step("a[0]", "FAILED", 1, start=1, end=2, final=False, message="flaky")
    world.see(build("1", run="r", start=0, steps=(first,)))
    assert world.items() == [("a (r)", 0, "RETRYING", 1)]
    world.see(build("1", run="r", start=0, steps=(first, step("a[0]", "PROCESSING", 2, start=3))))
    assert world.items() == [("a (r)", 0, "PROCESSING", 2)]
    world.see(build("1", "COMPLETED", run="r", start=0, steps=(first, step("a[0]", "COMPLETED", 2, start=3, end=5))))
    assert world.items() == [("a (r)", 0, "COMPLETED", 2)]
    assert world.item_history(0) == [("PROCESSING", 1), ("RETRYING", 2), ("PROCESSING", 3), ("COMPLETED", 5)]
    assert world.batches() == {"a (r)": "COMPLETED"}
    with world.store.reading() as uow:
        (row,) = uow.reports.item_executions()
    assert (row["error_message"], row["max_attempts"]) == ("flaky", 2)


def test_attempts_nobody_saw_are_counted(world, build, step, each):
    each()
    world.see(build("1", run="r", steps=(step("a[0]", "PROCESSING", 3, start=5),)))
    assert world.items() == [("a (r)", 0, "PROCESSING", 3)]


def test_max_attempts_from_the_engines_policy(world, build, step, each):
    each(max_attempts="inputs.retries")
    failed = step("a[0]", "FAILED", 1, start=1, end=2, inputs={"retries": "3"})
    world.see(build("1", run="r", steps=(failed,)))
    assert world.items() == [("a (r)", 0, "RETRYING", 1)], "the engine does not tell, the policy allows another"
    world.see(build("1", "FAILED", run="r", steps=(failed,)))
    assert world.items() == [("a (r)", 0, "FAILED", 1)], "none came"
    with world.store.reading() as uow:
        assert uow.reports.item_executions()[0]["max_attempts"] == 3


def test_items_that_exist_are_found_and_never_changed(world, build, step, each):
    each(batch="inputs.day", sequence_number="inputs.n", payload="inputs.sku", each=None, create=False)
    automation = world.automation()
    batch = Batch(automation_id=automation, name="monday")
    item = Item(batch_id=batch.id, sequence_number=4, payload="old")
    world.store.write(lambda uow: (uow.batches.add(batch), uow.items.add(item)), actor="cli:me")
    there, missing = {"day": "monday", "n": 4, "sku": "new"}, {"day": "monday", "n": 5}
    world.see(build("1", run="r", steps=(step("x", inputs=there), step("y", inputs=missing))))
    assert world.items() == [("monday", 4, "PROCESSING", 1)]
    with world.store.reading() as uow:
        stored = uow.items.get(item.id)
        (fit,) = uow.reports.items_drift()
    assert (stored.payload, stored.version) == ("old", 1)
    assert (fit["counted"], fit["unfit"], fit["differing"]) == (2, 1, 1)
    assert "the batch has no item with number 5; add it, or write create = true in the rule" in fit["reason"]
    (line,) = world.quarantine()
    assert (line["external_id"], line["feed"], line["count"]) == ("1", "items", 1)


def test_a_key_makes_items_the_same_from_run_to_run(world, build, step, each):
    each(key="inputs.sku", each=None, batch="'stock'")
    for run, order in (("r1", "ab"), ("r2", "bca")):
        steps = tuple(
            step(f"s{place}", "COMPLETED", start=1, end=2, inputs={"sku": sku}) for place, sku in enumerate(order)
        )
        world.see(build(run, "COMPLETED", run=run, start=0, end=3, steps=steps))
    assert len(world.rows(tables.batches)) == 1
    keys = {row["key"]: row["item_id"] for row in world.rows(tables.item_keys)}
    numbers = {row["id"]: row["sequence_number"] for row in world.rows(tables.items)}
    assert {key: numbers[item] for key, item in keys.items()} == {"a": 0, "b": 1, "c": 2}
    assert [(batch, number) for batch, number, *_ in world.items()] == [
        ("stock", 0), ("stock", 0), ("stock", 1), ("stock", 1), ("stock", 2),
    ]  # fmt: skip
    with world.store.reading() as uow:
        assert uow.reports.items_drift() == []


def test_payloads_are_checked_against_the_schemas(world, build, step, each):
    each()
    with world.store.reading() as uow:
        automation = uow.automations.get(world.automation())
    automation.update_schemas(item_schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    world.store.write(lambda uow: uow.automations.update(automation), actor="cli:me")
    world.see(build("1", run="r", steps=(step("a[0]", inputs={"n": 1}), step("a[1]", inputs={"n": "x"}))))
    assert world.items() == [("a (r)", 0, "PROCESSING", 1)]
    (line,) = world.quarantine()
    assert "payload: $.n: 'x' is not of type 'integer'" in line["reason"]
    assert world.events("items") == ["items.drifted"]


def test_a_rule_that_fails_on_one_step_stops_nothing_else(world, build, step, each):
    each(where="length(inputs.name) > `0`")
    world.see(build("1", run="r", steps=(step("a[0]", inputs={"name": "x"}), step("a[1]", inputs={"name": 7}))))
    assert world.items() == [("a (r)", 0, "PROCESSING", 1)]
    (line,) = world.quarantine()
    assert "where: In function length()" in line["reason"]
    assert world.runs()["r"].status is S.PROCESSING


def test_leaves_count_and_what_has_parts_no_more(world, build, step, each):
    each()
    world.see(build("1", run="r", steps=(step("group", start=1),)))
    assert world.items() == [("app (r)", 0, "PROCESSING", 1)]
    world.see(build("1", run="r", steps=(step("group", start=1), step("part", start=2, parent="group"))))
    assert [(status) for *_, status, _ in world.items()] == ["PROCESSING"]
    inactive = [row for row in world.rows(tables.item_executions) if not row["is_active"]]
    assert len(inactive) == 1


def test_an_item_run_again_in_place_is_told_as_a_whole(world, build, step, each):
    each()
    failed = step("a[0]", "FAILED", start=1, end=2, final=True)
    world.see(build("1", "FAILED", run="r", start=0, end=3, steps=(failed,)))
    assert (world.items(), world.batches()) == ([("a (r)", 0, "FAILED", 1)], {"a (r)": "FAILED"})
    world.see(build("1", run="r", start=4, steps=(step("a[0]", start=5),)))
    assert (world.items(), world.batches()) == ([("a (r)", 0, "PROCESSING", 1)], {"a (r)": "PROCESSING"})
    world.see(build("1", "COMPLETED", run="r", start=4, end=7, steps=(step("a[0]", "COMPLETED", start=5, end=6),)))
    assert (world.items(), world.batches()) == ([("a (r)", 0, "COMPLETED", 1)], {"a (r)": "COMPLETED"})
    rows = world.rows(tables.item_executions)
    assert sorted((row["status"], row["is_active"]) for row in rows) == [("COMPLETED", True), ("FAILED", False)]
    (batch,) = world.rows(tables.batch_executions)
    assert batch["attempt"] == 2


def test_cleared_tasks_count_all_their_attempts(world, build, step, each):
    each()
    first = step("a[0]", "FAILED", 1, start=1, end=2, final=True)
    world.see(build("1", "FAILED", run="r", start=0, end=3, steps=(first,)))
    second = step("a[0]", "COMPLETED", 2, start=5, end=6)
    world.see(build("1", "COMPLETED", run="r", start=0, end=9, steps=(first, second)))
    assert world.items() == [("a (r)", 0, "COMPLETED", 2)]
    assert world.events("item_execution") == ["item_execution.failed"], "the first attempt was told before"


def test_a_second_build_of_the_run_goes_on_with_its_items(world, build, step, each):
    each()
    first = (step("a[0]", "COMPLETED", start=1, end=2), step("a[1]", "FAILED", start=1, end=2))
    world.see(build("1", "FAILED", run="r", queued=0, end=3, steps=first))
    world.see(build("2", run="r", queued=5, steps=(step("a[1]", start=6),)))
    assert world.items() == [("a (r)", 0, "COMPLETED", 1), ("a (r)", 1, "PROCESSING", 2)]
    assert world.batches() == {"a (r)": "PROCESSING"}
    world.see(build("2", "COMPLETED", run="r", queued=5, end=9, steps=(step("a[1]", "COMPLETED", start=6, end=8),)))
    assert world.items() == [("a (r)", 0, "COMPLETED", 1), ("a (r)", 1, "COMPLETED", 2)]
    assert world.batches() == {"a (r)": "COMPLETED"}
    world.unlink(world.runs()["r"], "2")
    assert world.items() == [("a (r)", 0, "COMPLETED", 1), ("a (r)", 1, "FAILED", 1)]
    assert world.batches() == {"a (r)": "FAILED"}


def test_an_end_of_the_run_settles_its_items_and_late_steps_are_told_all_the_same(world, build, step, each):
    each()
    begun = (step("a[0]", start=1), step("a[1]", "PENDING"), step("a[2]", start=1))
    world.see(build("1", run="r", start=0, steps=begun))
    world.see(build("1", "FAILED", run="r", start=0, end=4, message="boom"))
    assert [status for _, _, status, _ in world.items()] == ["FAILED", "CANCELLED", "FAILED"]
    assert world.batches() == {"a (r)": "FAILED"}
    before = world.rows(tables.item_executions)
    late = (step("a[0]", "COMPLETED", start=1, end=2), step("a[1]", "PENDING"), step("a[2]", start=1))
    world.see(build("1", "FAILED", run="r", start=0, end=4, message="boom", steps=late))
    assert world.items() == [("a (r)", 0, "COMPLETED", 1), ("a (r)", 1, "CANCELLED", 0), ("a (r)", 2, "FAILED", 1)]
    assert len(world.rows(tables.item_executions)) == len(before) + 1, "what was settled alike stays"


def test_steps_that_come_behind_the_end_of_their_run_are_settled(world, build, step, each):
    each()
    world.see(build("1", "FAILED", run="r", start=0, end=4, message="boom"))
    late = (step("a[0]", start=1), step("a[1]", "PENDING"))
    world.see(build("1", "FAILED", run="r", start=0, end=4, message="boom", steps=late))
    assert world.items() == [("a (r)", 0, "FAILED", 1), ("a (r)", 1, "CANCELLED", 0)]
    assert world.batches() == {"a (r)": "FAILED"}


def test_what_a_person_ended_is_left_alone(world, build, step, each):
    each()
    world.see(build("1", run="r", start=0, steps=(step("a[0]", start=1),)))

    def cancel(uow):
        (one,) = uow.item_executions.list()
        one.cancel()
        uow.item_executions.update(one)

    world.store.write(cancel, actor="cli:me")
    world.see(build("1", "COMPLETED", run="r", start=0, end=3, steps=(step("a[0]", "COMPLETED", start=1, end=2),)))
    assert world.items() == [("a (r)", 0, "CANCELLED", 1)]


def test_a_link_made_later_by_hand_brings_the_items(world, build, step):
    world.configure({"automation": "nightly", "run_key": "parameters.NONE"}, items=[EACH])
    world.see(build("1", "COMPLETED", start=0, end=3, steps=(step("a[0]", "COMPLETED", start=1, end=2),)))
    assert world.items() == []
    run = world.run("r")
    world.link(run, "1")
    assert world.items() == [("a (r)", 0, "COMPLETED", 1)]
    world.unlink(run, "1")
    assert world.items() == []
    assert world.rows(tables.item_steps) == []
    world.store.write(lambda uow: link(uow, world.rules, run.id, world.instance("1").id, now=world.now), actor="cli:me")
    assert world.items() == [("a (r)", 0, "COMPLETED", 1)]


def test_a_run_made_later_takes_the_items_of_what_waited_for_it(world, build, step):
    world.configure(BY_KEY, items=[EACH])
    world.see(build("1", "COMPLETED", run="r", start=0, end=3, steps=(step("a[0]", "COMPLETED", start=1, end=2),)))
    world.run("r")
    assert world.items() == [("a (r)", 0, "COMPLETED", 1)]


def test_parameters_that_come_later_are_read_again(world, build, step):
    world.configure(BY_KEY | {"create_run": True}, items=[EACH | {"batch": "instance.parameters.DAY"}])
    run = world.run("r")
    world.see(build("1", steps=(step("a[0]", start=1),)))
    world.link(run, "1")
    assert (world.items(), world.quarantine()[0]["reason"]) == (
        [], "items 'items0': step 'a[0]': batch: instance.parameters.DAY gives nothing, no text",
    )  # fmt: skip
    world.see(build("1", parameters={"DAY": "monday"}, steps=(step("a[0]", start=1),)))
    assert world.items() == [("monday (r)", 0, "PROCESSING", 1)]


def test_two_steps_that_claim_one_item_do_not_fit(world, build, step, each):
    each(sequence_number="inputs.n", each=None)
    one, two = step("one", start=1, inputs={"n": 0}), step("two", start=2, inputs={"n": 0})
    world.see(build("1", run="r", steps=(one, two)))
    assert world.items() == [("app (r)", 0, "PROCESSING", 1)]
    with world.store.reading() as uow:
        (fit,) = uow.reports.items_drift()
    assert "is the same item as step 'one', and no later attempt of it" in fit["reason"]


def test_a_step_of_the_same_name_begun_later_is_another_attempt(world, build, step, each):
    each()
    first = step("test", "FAILED", start=1, end=2, external_id="6", message="exit 1")
    second = step("test", "COMPLETED", start=3, end=4, external_id="20")
    world.see(build("1", run="r", steps=(first, second)))
    assert world.items() == [("app (r)", 0, "COMPLETED", 2)]


def test_drift_begins_once_and_ends_when_it_fits_again(world, build, step, each):
    each(steps="square*")
    good, renamed = step("square[0]", "COMPLETED", start=1, end=2), step("cube[0]", "COMPLETED", start=1, end=2)

    def drift():
        with world.store.reading() as uow:
            return [(row["reason"], row["external_id"]) for row in uow.reports.items_drift()]

    world.see(build("1", "COMPLETED", run="r1", queued=0, end=3, steps=(good,)))
    assert drift() == []
    for name, minute in (("2", 10), ("3", 20)):
        world.see(build(name, "COMPLETED", run=f"r{name}", queued=minute, end=minute + 3, steps=(renamed,)))
        assert drift() == [("it completed, and no step counts", name)]
    assert world.events("items") == ["items.drifted"]
    world.see(build("0", "COMPLETED", run="r0", queued=1, end=3, steps=(good,)))
    assert len(drift()) == 1, "an older instance says nothing of the present"
    world.see(build("4", "COMPLETED", run="r4", queued=30, end=33, steps=(good,)))
    assert drift() == []
    world.see(build("5", "COMPLETED", run="r5", queued=40, end=43, steps=UNKNOWN))
    assert drift() == [("its steps are not to be had", "5")]
    assert world.events("items") == ["items.drifted"] * 2


def test_steps_that_are_read_behind_the_end_and_are_none_are_drift(world, build, each):
    each()
    world.see(build("1", "COMPLETED", run="r", start=0, end=3))
    with world.store.reading() as uow:
        assert uow.reports.items_drift() == []
    world.see(build("1", "COMPLETED", run="r", start=0, end=3, steps=()))
    with world.store.reading() as uow:
        assert [row["reason"] for row in uow.reports.items_drift()] == ["it completed, and no step counts"]


def test_feeds_that_make_the_same_items_at_once_make_them_once(world, build, step):
    engines = tuple(f"e{n}" for n in range(4))
    world.configure(
        BY_KEY | {"create_run": True},
        engines=engines,
        items=[{"key": "inputs.sku", "batch": "'stock'", "payload": "inputs", "create": True}],
    )
    for turn in range(4):
        together = threading.Barrier(len(engines))

        def feed(number, turn=turn, together=together):
            steps = tuple(step(f"s{n}", start=1, inputs={"sku": f"{turn}-{n}"}) for n in range(20))
            together.wait()
            world.see(build(f"{turn}", run=f"r{number}", steps=steps), engine=f"e{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(feed, range(4)))
    assert len(world.rows(tables.batches)) == 1
    assert len(world.rows(tables.items)) == len(world.rows(tables.item_keys)) == 80
    assert len(world.items()) == 4 * 80


def test_an_instance_of_two_runs_gives_items_to_both(world, build, step):
    world.configure(
        BY_KEY | {"create_run": True},
        {"automation": "weekly", "run_key": "parameters.WEEK", "create_run": True},
        items=[EACH | {"automation": "weekly", "batch": "'w'"}, EACH | {"batch": "'n'"}],
    )
    world.see(build("1", parameters={"RUN_ID": "r", "WEEK": "48"}, steps=(step("a[0]", start=1),)))
    assert world.items() == [("n (r)", 0, "PROCESSING", 1), ("w (48)", 0, "PROCESSING", 1)]


def test_a_preview_reads_alone_and_says_what_following_does(world, build, step):
    world.configure(BY_KEY | {"create_run": True})
    steps = (step("a[1]", "COMPLETED", start=1, end=2, inputs={"n": 1}), step("b", start=1))
    world.see(build("1", run="r", steps=steps))
    tried = [ItemRule(name="n", each="steps", steps="a*", payload="inputs", create=True)]
    with world.store.reading() as uow:
        told = preview(uow, world.rules, world.instance("1").id, world.now, tried=tried)
    (run,) = told["runs"]
    assert (run["run_key"], run["makes_batches"], run["makes_items"]) == ("r", 1, 1)
    assert [(one["batch"], one["number"], one["payload"], one["makes"], one["problem"]) for one in run["steps"]] == [
        ("a (r)", 1, {"n": 1}, True, None), (None, None, None, None, "its name does not match 'a*'"),
    ]  # fmt: skip
    assert world.rows(tables.items) == []


def test_without_rules_nothing_is_asked(world, build, step, by_key, count_statements):
    by_key(create_run=True)
    with count_statements() as plain:
        world.see(build("1", run="r", steps=(step("a[0]", start=1),)))
    assert not [one for one in plain if "item_" in one or "batch" in one]


def test_ten_times_the_items_are_as_many_statements(world, build, step, each, count_statements):
    each(max_attempts="inputs.retries")
    with world.store.reading() as uow:
        automation = uow.automations.get(world.automation())
    automation.update_schemas(item_schema={"type": "object", "required": ["n"]})
    world.store.write(lambda uow: uow.automations.update(automation), actor="cli:me")

    def fan_out(count, status):
        return tuple(step(f"a[{n}]", status, start=1, end=2, inputs={"n": n}) for n in range(count))

    counts = {}
    for size in (10, 300):
        for status in ("PROCESSING", "COMPLETED"):
            with count_statements() as seen:
                world.see(build(f"b{size}", run=f"r{size}", start=0, steps=fan_out(size, status)))
            counts[size, status] = len(seen)
        with count_statements() as seen:  # the Run's end settles those that are open
            world.see(build(f"e{size}", run=f"e{size}", start=0, steps=fan_out(size, "PROCESSING")))
            world.see(build(f"e{size}", "FAILED", run=f"e{size}", start=0, end=9))
        counts[size, "settled"] = len(seen)
    assert counts[10, "settled"] == counts[300, "settled"] <= 100
    assert counts[10, "PROCESSING"] == counts[300, "PROCESSING"] <= 50
    assert counts[10, "COMPLETED"] == counts[300, "COMPLETED"] <= 50
    assert len(world.items()) == 620
