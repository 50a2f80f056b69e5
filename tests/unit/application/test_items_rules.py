"""What a rule reads out of a step, and the tables by which executions follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runlink.application.items.rules import MAX_NUMBER, claims_of, fan_out_of, natural, ready
from runlink.application.items.story import Track, batch_status, story_of
from runlink.application.rows import StepRow
from runlink.application.settings import ItemRule
from runlink.domain import ExecutionStatus, new_id

S = ExecutionStatus
T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def row(name="a[0]", status="PROCESSING", attempt=1, *, start=1, end=None, inputs="null", **fields):
    def at(minute):
        return None if minute is None else T0 + timedelta(minutes=minute)

    values = dict.fromkeys(StepRow._fields) | {
        "instance_id": new_id(), "external_id": name, "attempt": attempt, "name": name, "status": S(status),
        "native_status": status.lower(), "started_at": at(start), "finished_at": at(end), "inputs": inputs,
        "digest": b"",
    }  # fmt: skip
    return StepRow(**(values | fields))


def claim(step, parents=(), **rule):
    found = claims_of(
        [ready(ItemRule(**({"name": "n"} | rule)))],
        {"id": "1", "correlation_id": None, "key": "r"},
        {"workflow": "w", "parameters": {"DAY": "monday"}},
        (new_id(), new_id()),
        [step],
        set(parents),
    )
    return found[0] if found else None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("square[2]", ("square", 2, None, None)),
        ("group.square[12]", ("group.square", 12, None, None)),
        ("print(0:a)", ("print", 0, "a", None)),
        ("fan-out(3:os:linux,db:pg)", ("fan-out", 3, "os:linux,db:pg", None)),
        ("Matrix - OS = 'linux', DB = 'pg'", ("Matrix", None, None, {"OS": "linux", "DB": "pg"})),
        ("OS=linux,DB=pg", (None, None, None, {"OS": "linux", "DB": "pg"})),
        ("plain", None),
        ("Deploy (2)", None),
        ("a[x]", None),
        (f"a[{MAX_NUMBER + 1}]", ("a", None, None, None)),
    ],
)
def test_the_place_in_a_fan_out(name, found):
    told = fan_out_of(name)
    assert (told if told is None else tuple(told[key] for key in ("name", "index", "item", "axes"))) == found


def test_nine_comes_before_ten():
    assert sorted(["s10", "s9", "a", "s"], key=natural) == ["a", "s", "s9", "s10"]


@pytest.mark.parametrize(
    ("rule", "inputs", "number", "problem"),
    [
        ({"sequence_number": "inputs.n"}, '{"n": 7}', 7, None),
        ({"sequence_number": "inputs.n"}, '{"n": "7"}', 7, None),
        ({"sequence_number": "inputs.n"}, '{"n": 7.0}', 7, None),
        ({"sequence_number": "inputs.n"}, '{"n": true}', None, "sequence_number: inputs.n gives True, no whole number"),
        ({"sequence_number": "inputs.n"}, '{"n": -1}', None, "gives -1, no whole number from 0"),
        ({"sequence_number": "inputs.n"}, "null", None, "gives nothing, no whole number"),
        ({"sequence_number": "inputs.n"}, '{"n": 3e9}', None, "no whole number from 0 to 2147483647"),
        ({"each": "steps"}, "null", 0, None),
    ],
)  # fmt: skip
def test_numbers(rule, inputs, number, problem):
    found = claim(row(inputs=inputs), **rule)
    assert found.number == number
    assert found.problem is None if problem is None else problem in found.problem


@pytest.mark.parametrize(
    ("rule", "batch", "key", "problem"),
    [
        ({"each": "steps"}, "a", None, None),
        ({"each": "steps", "batch": "instance.parameters.DAY"}, "monday", None, None),
        ({"key": "inputs.k", "batch": "run.key"}, "r", "x", None),
        ({"key": "inputs.k"}, "w", "x", None),
        ({"key": "inputs.none"}, "w", None, "key: inputs.none gives nothing, no text"),
        ({"key": "inputs.k", "batch": "inputs"}, "", None, "batch: inputs gives {'k': 'x'}, no text"),
        ({"key": "to_number(inputs)"}, "w", None, None),
    ],
)
def test_batches_and_keys(rule, batch, key, problem):
    found = claim(row(inputs='{"k": "x"}'), **rule)
    if problem is None and rule.get("key", "").startswith("to_number"):
        problem = "gives nothing"
    assert (found.batch, found.key) == (batch, key)
    assert found.problem is None if problem is None else problem in found.problem


def test_which_steps_count():
    each = {"each": "steps"}
    assert claim(row(), **each) is not None
    assert claim(row(), ["a[0]"], **each) is None
    assert claim(row(), ["a[0]"], leaves=False, **each) is not None
    assert claim(row(), steps="b*", **each) is None
    assert claim(row(inputs='{"n": 0}'), where="inputs.n == `0`", **each) is not None
    assert claim(row(inputs='{"n": 0}'), where="inputs.n", **each) is not None, "0 is true in JMESPath"
    assert claim(row(inputs='{"n": []}'), where="inputs.n", **each) is None
    assert claim(row(), where="starts_with(started_at, '2024-03-01T12:01')", **each) is not None


def track(*rows, is_open=True, policy=None):
    return Track((T0,), "a[0]", is_open, rows, policy)


@pytest.mark.parametrize(
    ("tracks", "told"),
    [
        ([track(row(status="PENDING"))], ("PENDING", 0, None)),
        ([track(row())], ("PROCESSING", 1, None)),
        ([track(row(status="RETRYING"))], ("RETRYING", 1, 2)),
        ([track(row(status="COMPLETED"))], ("COMPLETED", 1, 1)),
        ([track(row(status="CANCELLED", start=None))], ("CANCELLED", 0, None)),
        ([track(row(status="CANCELLED"))], ("CANCELLED", 1, 1)),
        ([track(row(status="FAILED"))], ("FAILED", 1, 1)),
        ([track(row(status="FAILED", final=True), policy=5)], ("FAILED", 1, 5)),
        ([track(row(status="FAILED", final=False))], ("RETRYING", 1, 2)),
        ([track(row(status="FAILED", final=False), is_open=False)], ("FAILED", 1, 1)),
        ([track(row(status="FAILED"), policy=3)], ("RETRYING", 1, 3)),
        ([track(row(status="FAILED"), policy=1)], ("FAILED", 1, 1)),
        ([track(row(status="FAILED"), policy=3, is_open=False)], ("FAILED", 1, 3)),
        ([track(row(status="FAILED"), row(status="PENDING", attempt=2))], ("RETRYING", 1, 2)),
        ([track(row(status="FAILED"), row(attempt=2))], ("PROCESSING", 2, 2)),
        ([track(row(attempt=3))], ("PROCESSING", 3, 3)),
        ([track(row(attempt=1_000_000))], ("PROCESSING", 101, 101)),
        ([track(row(status="COMPLETED"), row(attempt=2))], ("PROCESSING", 1, None)),
        ([track(row(status="FAILED")), track(row(status="COMPLETED"))], ("COMPLETED", 2, 2)),
        ([track(row(status="FAILED")), track(row(status="PENDING"))], ("RETRYING", 1, 2)),
    ],
)
def test_the_table_of_stories(tracks, told):
    story = story_of(tracks)
    assert (story.status.value, story.count, story.max_attempts) == told


@pytest.mark.parametrize(
    ("statuses", "more", "status"),
    [
        ((), False, "PENDING"),
        (("PENDING", "PENDING"), False, "PENDING"),
        (("PENDING", "COMPLETED"), False, "PROCESSING"),
        (("RETRYING",), False, "PROCESSING"),
        (("COMPLETED",), True, "PROCESSING"),
        (("COMPLETED", "FAILED", "CANCELLED"), False, "FAILED"),
        (("COMPLETED", "CANCELLED"), False, "CANCELLED"),
        (("COMPLETED",), False, "COMPLETED"),
    ],
)
def test_the_table_of_batches(statuses, more, status):
    assert batch_status(map(S, statuses), more_may_come=more) is S(status)
