"""What a policy changes: each table of the docs, row by row, and what a Run does with what was concluded."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runlink.application.items.settle import ACTOR
from runlink.application.policy import Policy
from runlink.application.rollup.conclude import conclude
from runlink.application.rollup.rollup import apply, due
from runlink.domain import ExecutionStatus, Run, new_id

from .test_rollup import T0, at, instance

S = ExecutionStatus
PAGE = (Path(__file__).parents[3] / "docs/reference/roll-up.md").read_text("utf-8")


def rows(first_column):
    """The rows of the table with this first column, each as a tuple of its cells."""
    for block in PAGE.split("\n\n"):
        lines = [line.strip("| ").split("|") for line in block.splitlines() if line.startswith("|")]
        cells = [tuple(cell.strip() for cell in line) for line in lines]
        if cells and cells[0][0] == first_column:
            return cells[2:]
    raise AssertionError(f"no table begins with {first_column}")


@pytest.mark.parametrize(("on_failure", "a_failure", "is_open", "becomes"), rows("on_failure"))
@pytest.mark.parametrize("failure", [{"status": S.FAILED, "ended": 3}, {"status": S.PROCESSING, "vanished_at": at(3)}])
def test_on_failure(on_failure, a_failure, is_open, becomes, failure):
    linked = [instance("1", workflow="a", queued=0, ended=5)]
    if a_failure == "yes":
        linked.append(instance("2", workflow="b", queued=0, **failure))
    if is_open == "yes":
        linked.append(instance("3", S.PROCESSING, workflow="c", queued=1))
    conclusion = conclude(linked, Policy(on_failure=on_failure), quiet_over=True)
    assert conclusion.status == becomes
    if (on_failure, a_failure) == ("fail-fast", "yes"):
        assert conclusion.finished_at == at(3), "when the first failure ended"


def test_fail_fast_waits_for_what_was_only_cancelled():
    linked = [instance("1", S.CANCELLED, workflow="a", queued=0, ended=1), instance("2", S.PROCESSING, queued=0)]
    assert conclude(linked, Policy(on_failure="fail-fast"), quiet_over=False).status is S.PROCESSING


@pytest.mark.parametrize(("retry_grace_s", "over", "becomes"), rows("retry_grace_s"))
def test_retry_grace(retry_grace_s, over, becomes):
    policy = Policy(retry_grace_s=0 if retry_grace_s == "0" else 60)
    failed = [instance(status=S.FAILED, queued=0, ended=5, message="exit 1")]
    conclusion = conclude(failed, policy, quiet_over=over == "yes")
    assert conclusion.status == becomes
    if becomes == "PROCESSING":
        assert (conclusion.waiting, conclusion.wait_s) == ("for another try, 60 s: e w 1 FAILED: exit 1", 60)


@pytest.mark.parametrize(("failed_by", "first", "later", "becomes"), rows("failed_by"))
def test_failed_by(failed_by, first, later, becomes):
    linked = [instance("1", S(first), queued=0, ended=5), instance("2", S(later), queued=6, ended=9)]
    assert conclude(linked, Policy(failed_by=failed_by), quiet_over=True).status == becomes


@pytest.mark.parametrize(("it_is", "tolerated", "becomes"), rows("it is"))
def test_tolerate(it_is, tolerated, becomes):
    form = {"status": S.PROCESSING, "vanished_at": T0} if it_is == "vanished" else {"status": S(it_is)}
    linked = [instance("1", workflow="build", queued=0, ended=1), instance("2", workflow="lint", queued=0, **form)]
    policy = Policy(expected=("build", "lint"), tolerate=("li*",) if tolerated == "yes" else ())
    assert conclude(linked, policy, quiet_over=True).status == becomes


@pytest.mark.parametrize(("complete", "expected", "quiet", "becomes"), rows("complete"))
def test_complete(complete, expected, quiet, becomes):
    policy = Policy(complete=complete, expected={"none": (), "met": ("w",)}[expected])
    conclusion = conclude([instance(queued=0, ended=1)], policy, quiet_over=quiet == "yes")
    assert conclusion.status == becomes
    if becomes == "PROCESSING":
        assert (conclusion.waiting, conclusion.wait_s) == ("to be completed by hand", None)


@pytest.mark.parametrize(("on_reopen", "is_now", "say", "becomes"), rows("on_reopen"))
def test_on_reopen(on_reopen, is_now, say, becomes):
    run = Run(automation_id=new_id(), status=S(is_now), created_at=T0, updated_by=ACTOR)
    linked = [instance(status=S(say), queued=0, ended=1 if S(say).is_ended else None)]
    conclusion = due(run, linked, Policy(on_reopen=on_reopen, expected=("w",)), quiet_over=False)
    if conclusion is not None:
        apply(run, conclusion, T0)
    assert run.status == becomes


def test_every_key_of_a_policy_is_in_a_table_or_the_first_one():
    named = {
        line.split("=")[0].strip() for line in PAGE.split("```toml")[1].split("```")[0].splitlines() if "=" in line
    }
    assert named | {"quiet_s"} == set(Policy.__dataclass_fields__)


# --- what was concluded, and what becomes of a Run ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended_as", "policy"), [(S.COMPLETED, Policy(quiet_s=60)), (S.FAILED, Policy(retry_grace_s=60))]
)
def test_for_the_end_it_has_come_to_a_run_does_not_wait_again(ended_as, policy):
    run = Run(automation_id=new_id(), status=ended_as, created_at=T0, updated_by=ACTOR)
    linked = [instance(status=ended_as, queued=0, ended=1)]
    assert due(run, linked, policy, quiet_over=False).status is ended_as
    other = S.FAILED if ended_as is S.COMPLETED else S.COMPLETED
    again = due(
        run, [instance(status=other, queued=0, ended=1)], Policy(quiet_s=60, retry_grace_s=60), quiet_over=False
    )
    assert (again.status, again.wait_s) == (S.PROCESSING, 60), "for another one it does"


def test_a_start_only_moves_to_an_earlier_time():
    run = Run(automation_id=new_id(), created_at=T0)
    apply(run, conclude([instance(status=S.PROCESSING, queued=5)], Policy(), quiet_over=False), T0)
    assert apply(run, conclude([instance(status=S.PROCESSING, queued=3)], Policy(), quiet_over=False), T0)
    assert not apply(run, conclude([instance(status=S.PROCESSING, queued=9)], Policy(), quiet_over=False), T0)
    assert run.started_at == at(3)


def test_an_event_carries_the_observation_that_it_was_concluded_from():
    run, mine = Run(automation_id=new_id(), created_at=T0), new_id()
    first = instance("1", S.FAILED, workflow="a", queued=0, ended=2, instance_id=mine, native_status="boom")
    later = instance("2", S.FAILED, workflow="b", queued=0, ended=4, instance_id=new_id())
    told = [one._replace(observed_at=T0 + timedelta(hours=1)) for one in (later, first)]
    apply(run, conclude(told, Policy(), quiet_over=True), T0)
    began, failed = run.pull_events()
    assert (failed.because.orchestration_instance_id, failed.because.native_status) == (mine, "boom")
    assert failed.because.observed_at == T0 + timedelta(hours=1)
    assert began.because == failed.because
