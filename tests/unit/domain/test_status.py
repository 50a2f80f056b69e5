"""The transition table, whole, and the ways through it."""

import pytest

from runlink.domain import TRANSITIONS, ExecutionStatus

S = ExecutionStatus
LEGAL = {
    ("PENDING", "PROCESSING"), ("PENDING", "CANCELLED"),
    ("PROCESSING", "COMPLETED"), ("PROCESSING", "FAILED"), ("PROCESSING", "RETRYING"), ("PROCESSING", "CANCELLED"),
    ("RETRYING", "PROCESSING"), ("RETRYING", "FAILED"), ("RETRYING", "CANCELLED"),
}  # fmt: skip


def test_values_equal_names():
    assert [status.value for status in S] == [status.name for status in S]
    assert list(S) == ["PENDING", "PROCESSING", "COMPLETED", "FAILED", "RETRYING", "CANCELLED"]


@pytest.mark.parametrize("source", S)
@pytest.mark.parametrize("target", S)
def test_transition(source, target):
    assert source.can_transition_to(target) is ((source, target) in LEGAL)


def test_ended_are_those_without_an_edge_out():
    assert [status for status in S if status.is_ended] == [S.COMPLETED, S.FAILED, S.CANCELLED]
    assert TRANSITIONS.keys() == set(S)


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [
        (S.PENDING, S.PENDING, ()),
        (S.PENDING, S.COMPLETED, (S.PROCESSING, S.COMPLETED)),
        (S.PENDING, S.RETRYING, (S.PROCESSING, S.RETRYING)),
        (S.PENDING, S.CANCELLED, (S.CANCELLED,)),
        (S.RETRYING, S.COMPLETED, (S.PROCESSING, S.COMPLETED)),
        (S.PROCESSING, S.PENDING, None),
        (S.FAILED, S.PROCESSING, None),
        (S.FAILED, S.FAILED, ()),
    ],
)
def test_path(source, target, path):
    assert source.path_to(target) == path


@pytest.mark.parametrize("source", S)
@pytest.mark.parametrize("target", S)
def test_every_step_of_a_path_is_legal(source, target):
    path = source.path_to(target)
    if path:
        assert path[-1] is target
        assert all(here.can_transition_to(there) for here, there in zip((source, *path), path, strict=False))
