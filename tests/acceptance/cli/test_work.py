"""Automations, batches, items and their executions."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from runlink.domain import BatchExecution, ItemExecution
from runlink.store import open_store

SCHEMA = {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}


@pytest.fixture
def work(place):
    """A place with an automation `orders`, whose items need a sku, and its batch `may`."""
    place.configure()
    (place.path / "item.json").write_text(json.dumps(SCHEMA))
    place.automation = place.ok(
        "automations", "create", "orders", "--description", "of May", "--item-schema", "item.json"
    ).out.strip()
    place.batch = place.ok("batches", "create", "may", "--automation", "orders").out.strip()
    return place


def test_automations(work):
    [row] = work.rows("automations", "list")
    assert list(row) == ["id", "name", "description", "batch_schema", "item_schema", "created_at", "created_by"]
    assert (row["id"], row["name"], row["item_schema"]) == (work.automation, "orders", SCHEMA)
    assert row["created_by"].startswith("cli:")
    said = work("automations", "create", "orders")
    assert (said.code, said.out) == (1, "")
    assert "Automation with name orders exists already" in said.err
    assert work.rows("automations", "list", "--name", "other") == []


def test_a_schema_must_be_one(work):
    (work.path / "bad.json").write_text('{"type": "wood"}')
    said = work("automations", "create", "x", "--batch-schema", "bad.json")
    assert (said.code, "batch_schema" in said.err) == (1, True)
    (work.path / "bad.json").write_text("{")
    said = work("automations", "create", "x", "--batch-schema", "bad.json")
    assert (said.code, "bad.json is not JSON" in said.err) == (2, True)


def test_batches(work):
    [row] = work.rows("batches", "list", "--automation", "orders")
    assert list(row) == ["id", "automation", "name", "payload", "items", "created_at", "created_by", "automation_id"]
    assert (row["id"], row["automation"], row["name"], row["items"]) == (work.batch, "orders", "may", 0)
    assert work.rows("batches", "list", "--name", "june") == []
    assert work("batches", "create", "may", "--automation", "orders").code == 1


def test_a_batch_payload_is_checked(work):
    (work.path / "batch.json").write_text(json.dumps(SCHEMA))
    work.ok("automations", "create", "strict", "--batch-schema", "batch.json")
    (work.path / "payload.json").write_text('{"sku": 7}')
    said = work("batches", "create", "b", "--automation", "strict", "--payload", "payload.json")
    assert (said.code, "$.sku" in said.err) == (1, True)
    work.ok("batches", "create", "b", "--automation", "strict", "--payload", "-", stdin='{"sku": "7"}')
    [row] = work.rows("batches", "list", "--automation", "strict")
    assert row["payload"] == {"sku": "7"}


def test_items_from_a_file_and_from_stdin(work):
    (work.path / "items.jsonl").write_text('{"sku": "a"}\n\n{"sku": "ü"}\n')
    said = work.ok("items", "add", "items.jsonl", "--batch", "may")
    assert said.err == "2 items were added to batch may, from number 0 on\n"
    work.ok("items", "add", "--batch", work.batch, stdin='{"sku": "c"}')
    rows = work.rows("items", "list", "--batch", "may")
    assert list(rows[0]) == ["id", "batch_id", "sequence_number", "payload", "created_at", "created_by"]
    assert [(row["sequence_number"], row["payload"]["sku"]) for row in rows] == [(0, "a"), (1, "ü"), (2, "c")]
    assert len(work.rows("items", "list", "--batch", "may", "--after", "1")) == 1
    assert work.rows("batches", "list")[0]["items"] == 3


def test_every_bad_line_is_named_and_nothing_is_added(work):
    lines = ['{"sku": "a"}', "{", '{"sku": 7}', "{}", '{"sku": "b", "n": NaN}']
    said = work("items", "add", "--batch", "may", stdin="\n".join(lines))
    assert (said.code, said.out) == (1, "")
    assert "4 lines are wrong, so nothing was added" in said.err
    for told in ("line 2: is not JSON", "line 3: $.sku", "line 4: $", "line 5: is not JSON: NaN"):
        assert told in said.err
    assert work.rows("items", "list", "--batch", "may") == []


@pytest.fixture
def executed(work):
    """One item that failed once and is tried again, within a Run."""
    work.ok("items", "add", "--batch", "may", stdin='{"sku": "a"}')
    run = work.ok("runs", "create", "--automation", "orders", "--key", "monday").out.strip()
    [item] = work.rows("items", "list", "--batch", "may")
    store = open_store(f"sqlite:///{work.path / 'runlink.db'}")
    with store.unit_of_work("test") as uow:
        whole = BatchExecution(run_id=UUID(run), batch_id=UUID(work.batch))
        whole.start()
        uow.batch_executions.add(whole)
        part = ItemExecution(run_id=UUID(run), batch_execution_id=whole.id, item_id=UUID(item["id"]), max_attempts=2)
        part.start()
        part.fail("out of stock")
        uow.item_executions.add(part)
    store.close()
    work.run, work.whole, work.part = run, str(whole.id), str(part.id)
    return work


def test_item_executions(executed):
    [row] = executed.rows("executions", "list", "--run", "monday")
    assert list(row) == ["id", "automation", "batch", "sequence_number", "status", "attempt_count", "max_attempts",
                         "started_at", "finished_at", "error_message", "result_payload", "run_id",
                         "batch_execution_id", "item_id"]  # fmt: skip
    assert (row["id"], row["status"], row["error_message"]) == (executed.part, "RETRYING", "out of stock")
    assert executed.rows("executions", "list", "--status", "FAILED") == []
    assert executed.rows("executions", "list", "--batch", "june") == []
    shown = executed.ok("executions", "show", executed.part, "-o", "json").json
    assert shown["payload"] == {"sku": "a"}
    assert [(one["previous_status"], one["new_status"]) for one in shown["history"]] == [
        ("PENDING", "PROCESSING"), ("PROCESSING", "RETRYING")]  # fmt: skip
    assert list(shown["history"][0]) == ["changed_at", "previous_status", "new_status", "created_by"]
    assert "PROCESSING  RETRYING" in executed.ok("executions", "show", executed.part).out


def test_batch_executions(executed):
    [row] = executed.rows("executions", "list", "--of", "batches")
    assert list(row) == ["id", "automation", "batch", "status", "started_at", "finished_at", "items", "run_id",
                         "batch_id"]  # fmt: skip
    assert (row["id"], row["status"], row["items"]) == (executed.whole, "PROCESSING", 1)
    shown = executed.ok("executions", "show", executed.whole, "-o", "json").json
    assert [one["id"] for one in shown["executions"]] == [executed.part]


# --- Runs by hand -------------------------------------------------------------------------------------------------


def test_a_run_is_moved_by_hand_step_by_step(work):
    run = work.ok("runs", "create", "--automation", "orders", "--key", "7").out.strip()
    assert f"run {run} is PROCESSING" in work.ok("runs", "start", "7").err
    assert f"run {run} is FAILED" in work.ok("runs", "fail", run, "--reason", "no paper").err
    [row] = work.rows("runs", "list", "--status", "failed")
    assert (row["id"], row["error_summary"], row["attempt"]) == (run, "no paper", 1)
    work.ok("runs", "reopen", "7")
    assert f"run {run} is COMPLETED" in work.ok("runs", "complete", "7").err
    said = work("runs", "cancel", "7", "--reason", "too late")
    assert (said.code, "is COMPLETED and cannot become CANCELLED" in said.err) == (1, True)
    assert work.rows("runs", "list", "--silent") == []
    said = work("runs", "start", "nothing")
    assert (said.code, "no run has the id or correlation id 'nothing'" in said.err) == (1, True)
