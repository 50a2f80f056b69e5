"""Steps that are told one event at a time, in whatever order: what is known of each in the end."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from runlink.application.ingest.telling import with_known
from runlink.domain import ExecutionStatus
from runlink.spi import Observation, Step

S = ExecutionStatus


def at(second):
    return None if second is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def step(status, *, started=None, finished=None, **facts):
    return Step(
        external_id="a",
        name="a",
        status=status,
        native_status="",
        started_at=at(started),
        finished_at=at(finished),
        **facts,
    )


def folded(events):
    known = {}
    for event in events:
        told = Observation(
            external_id="run", workflow="w", status=S.PROCESSING, native_status="", steps=(event,), complete=False
        )
        (one,) = with_known(told, known).steps
        known = {("a", 1): one}
    return known["a", 1]


ONCE = (
    step(S.PROCESSING, started=5, inputs={"n": 1}),
    step(S.FAILED, finished=10, message="broken"),
)
TWICE = (*ONCE, step(S.PROCESSING, started=15), step(S.COMPLETED, finished=30, outputs={"m": 2}))


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_a_start_and_an_end_make_one_step(order):
    one = folded(ONCE[n] for n in order)

    assert (one.status, one.started_at, one.finished_at) == (S.FAILED, at(5), at(10))
    assert (one.message, one.inputs) == ("broken", {"n": 1})


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_step_that_began_again_under_its_id_ends_as_it_ended_last(order):
    one = folded(TWICE[n] for n in order)

    assert (one.status, one.started_at, one.finished_at) == (S.COMPLETED, at(15), at(30))
    assert (one.message, one.inputs, one.outputs) == (None, {"n": 1}, {"m": 2})


def test_a_step_at_work_again_is_not_ended():
    again = folded(TWICE[:3])

    assert (again.status, again.started_at, again.finished_at, again.message) == (S.PROCESSING, at(15), None, None)


def test_the_same_end_told_twice_keeps_what_one_of_them_left_out():
    one = folded([step(S.FAILED, finished=10, message="broken"), step(S.FAILED, finished=10)])

    assert one.message == "broken"


def test_without_times_an_end_is_not_taken_back():
    assert folded([step(S.COMPLETED), step(S.PROCESSING)]).status is S.COMPLETED
