"""The truth table, exhaustively, and against its page in the docs; which instances count; what is said of a failure."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runlink.application.policy import Policy
from runlink.application.rollup.conclude import conclude, counting
from runlink.application.rollup.rollup import apply
from runlink.application.rows import Linked
from runlink.domain import ExecutionStatus, Run, new_id

S = ExecutionStatus
T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
RUN = new_id()


def at(minutes):
    return None if minutes is None else T0 + timedelta(minutes=minutes)


def instance(name="1", status=S.COMPLETED, *, workflow="w", queued=None, ended=None, parent=None, **fields):
    """Times in minutes."""
    values = {
        "run_id": RUN,
        "engine": "e",
        "external_id": name,
        "workflow": workflow,
        "status": status,
        "native_status": None,
        "queued_at": at(queued),
        "started_at": at(queued),
        "finished_at": at(ended),
        "vanished_at": None,
        "message": None,
        "parent_external_id": parent,
    }
    return Linked(**(values | fields))


# --- the table ----------------------------------------------------------------------------------------------------

COLUMNS = ("pending", "processing", "completed", "failed", "cancelled", "vanished")
STATES = {
    "pending": [{"status": S.PENDING}],
    "processing": [{"status": S.PROCESSING}, {"status": S.RETRYING}],
    "completed": [{"status": S.COMPLETED}],
    "failed": [{"status": S.FAILED}],
    "cancelled": [{"status": S.CANCELLED}],
    "vanished": [{"status": S.PROCESSING, "vanished_at": T0}, {"status": S.RETRYING, "vanished_at": T0}],
}
POLICIES = {"none": Policy(), "met": Policy(expected=("w*",)), "missing": Policy(expected=("w*", "later"))}


def documented():
    page = (Path(__file__).parents[3] / "docs/reference/roll-up.md").read_text("utf-8")
    table = page.split("## The table")[1].split("## ")[0]
    lines = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert head == [*COLUMNS, "expected", "quiet", "the Run is"]
    return rows


def looked_up(rows, present, expected, quiet):
    facts = ["yes" if column in present else "no" for column in COLUMNS] + [expected, "yes" if quiet else "no"]
    for number, (*conditions, result) in enumerate(rows):
        if all(wanted in ("any", fact) for wanted, fact in zip(conditions, facts, strict=True)):
            return number, result
    raise AssertionError(f"no row for {facts}")


def situations():
    """Every mix of states, every policy, quiet or not; each state in each of its forms, once and twice."""
    for size in range(len(COLUMNS) + 1):
        for present in itertools.combinations(COLUMNS, size):
            for forms in itertools.product(*(STATES[state] for state in present)):
                for times, expected, quiet in itertools.product((1, 2), POLICIES, (False, True)):
                    linked = [
                        instance(f"{n}", workflow=f"w{n}", **form) for n, form in enumerate(forms * times, start=1)
                    ]
                    yield present, linked, expected, quiet


def test_conclude_is_the_table_of_the_docs():
    rows, used, count = documented(), set(), 0
    for present, linked, expected, quiet in situations():
        number, result = looked_up(rows, present, expected, quiet)
        conclusion = conclude(linked, POLICIES[expected], quiet_over=quiet)
        told = "as it was" if conclusion is None else conclusion.status.value
        assert told == result, (present, expected, quiet)
        used.add(number)
        count += 1
    assert used == set(range(len(rows))), "a row that no situation reaches"
    assert count > 1000


def test_an_instance_that_vanished_before_it_began_is_no_beginning():
    gone = instance("1", S.PENDING, vanished_at=T0)
    assert conclude([gone, instance("2", S.PENDING)], Policy(), quiet_over=False).status is S.PENDING
    assert conclude([gone], Policy(), quiet_over=False).status is S.FAILED


def test_an_instance_that_was_cancelled_after_its_start_is_a_beginning():
    linked = [instance("1", S.CANCELLED, queued=0, ended=1), instance("2", S.PENDING)]
    assert conclude(linked, Policy(), quiet_over=False).status is S.PROCESSING


@pytest.mark.parametrize("started", [None, 0])
def test_a_run_was_started_when_what_was_cancelled_had_started(started):
    run = Run(automation_id=new_id(), created_at=T0)
    apply(run, conclude([instance("1", S.CANCELLED, queued=started, ended=1)], Policy(), quiet_over=True), T0)
    assert (run.status, run.started_at) == (S.CANCELLED, at(started))


def test_what_a_run_waits_for_is_said():
    done = [instance(workflow="build")]
    assert conclude(done, Policy(expected=("build", "deploy*")), quiet_over=False).waiting == "expects deploy*"
    assert conclude(done, Policy(quiet_s=30), quiet_over=False).waiting == "quiet for 30 s"
    assert conclude(done, Policy(expected=("build",)), quiet_over=False).waiting is None


def test_a_run_lasts_from_the_first_start_to_the_last_end():
    linked = [
        instance("1", workflow="a", queued=0, ended=5),
        instance("2", workflow="b", queued=2, ended=9),
        instance("3", workflow="c", queued=3, ended=4),
    ]
    conclusion = conclude(linked, Policy(), quiet_over=True)
    assert (conclusion.started_at, conclusion.finished_at) == (at(0), at(9))


# --- which count --------------------------------------------------------------------------------------------------


def names(linked):
    return [one.external_id for one in counting(linked)]


def test_a_run_again_by_hand_replaces_the_one_before():
    linked = [instance("1", S.FAILED, queued=0, ended=5), instance("2", S.COMPLETED, queued=6, ended=9)]
    assert names(linked) == names(linked[::-1]) == ["2"]
    assert conclude(linked, Policy(), quiet_over=True).status is S.COMPLETED


def test_the_last_of_many_counts():
    linked = [instance(str(n), S.FAILED, queued=10 * n, ended=10 * n + 5) for n in range(6)]
    assert names(linked) == ["5"]


@pytest.mark.parametrize(
    "other",
    [
        {"workflow": "other"},
        {"engine": "other"},
        {"queued": 3},
        {"queued": None},
    ],
    ids=["another workflow", "another engine", "begun before the end", "nobody knows when it began"],
)
def test_what_does_not_replace(other):
    second = instance("2", S.COMPLETED, **({"queued": 6} | {k: v for k, v in other.items() if k != "engine"}))
    second = second._replace(engine=other.get("engine", "e"))
    assert names([instance("1", S.FAILED, queued=0, ended=5), second]) == ["1", "2"]


def test_an_open_instance_is_not_replaced():
    assert names([instance("1", S.PROCESSING, queued=0), instance("2", S.COMPLETED, queued=6, ended=7)]) == ["1", "2"]


def test_a_vanished_instance_is_replaced_by_one_that_was_begun_later():
    gone = instance("1", S.PROCESSING, queued=0, vanished_at=at(5))
    assert names([gone, instance("2", S.COMPLETED, queued=6, ended=7)]) == ["2"]


def test_children_of_one_parent_never_replace_each_other():
    children = [
        instance(
            f"c{n}", S.FAILED if n == 0 else S.COMPLETED, workflow="part", queued=n * 10, ended=n * 10 + 5, parent="p"
        )
        for n in range(3)
    ]
    linked = [instance("p", queued=0, ended=60, workflow="all"), *children]
    assert names(linked) == ["p", "c0", "c1", "c2"]
    assert conclude(linked, Policy(), quiet_over=True).status is S.FAILED


def test_where_a_parent_was_replaced_so_is_what_it_started():
    linked = [
        instance("p1", S.FAILED, queued=0, ended=5),
        instance("c1", S.FAILED, workflow="part", queued=1, ended=4, parent="p1"),
        instance("g1", S.PROCESSING, workflow="deep", queued=1, parent="c1"),
        instance("p2", S.COMPLETED, queued=6, ended=9),
        instance("c2", S.COMPLETED, workflow="part", queued=7, ended=8, parent="p2"),
    ]
    assert names(linked) == ["p2", "c2"]


def test_a_re_execution_replaces_its_parent():
    """Dagster: the run that repeats another names it as its parent, and may be repeated itself."""
    linked = [
        instance("a", S.FAILED, queued=0, ended=5),
        instance("b", S.FAILED, queued=6, ended=9, parent="a"),
        instance("c", S.COMPLETED, queued=9, ended=12, parent="b"),
    ]
    assert names(linked) == names(linked[::-1]) == ["c"]
    assert conclude(linked, Policy(), quiet_over=True).status is S.COMPLETED
    assert names(linked[:2]) == ["b"]


@pytest.mark.parametrize(
    "child",
    [{"workflow": "part"}, {"queued": 4}, {"queued": None}],
    ids=["another workflow", "begun while its parent was open", "nobody knows when it began"],
)
def test_a_part_of_its_parent_replaces_nothing(child):
    part = instance("b", S.COMPLETED, **({"queued": 6, "ended": 9, "parent": "a"} | child))
    assert names([instance("a", S.FAILED, queued=0, ended=5), part]) == ["a", "b"]


def test_the_reason_is_the_child_that_failed_and_not_the_parent_that_failed_for_it():
    linked = [
        instance("a", S.FAILED, queued=0, ended=5, workflow="all"),
        instance("z", S.FAILED, queued=1, ended=5, workflow="part", parent="a", message="exit 4"),
    ]
    conclusion = conclude(linked, Policy(), quiet_over=False)
    assert conclusion.reason.endswith("part z FAILED: exit 4 (and 1 more)")


def test_the_reason_names_the_step_that_failed():
    linked = [instance("7", S.FAILED, queued=0, ended=5, message="exit 4", failed_step="load")]
    assert conclude(linked, Policy(), quiet_over=False).reason == "e w 7 FAILED in step 'load': exit 4"


def test_a_circle_of_parents_has_an_end():
    linked = [
        instance("a", S.FAILED, queued=0, ended=1, parent="b"),
        instance("b", S.FAILED, queued=0, ended=1, parent="a"),
        instance("c", S.COMPLETED, workflow="x", parent="a"),
    ]
    assert names(linked) == ["a", "b", "c"]


def test_a_long_chain_of_parents_is_followed():
    chain = [instance(str(n), S.FAILED, queued=0, ended=1, parent=str(n - 1) if n else None) for n in range(5000)]
    assert len(names(chain)) == 5000
    assert names([*chain, instance("again", queued=2, ended=3)]) == ["again"]


# --- the reason ---------------------------------------------------------------------------------------------------


def test_the_reason_names_the_first_failure_and_counts_the_others():
    linked = [
        instance("2", S.FAILED, workflow="b", ended=5, native_status="FAILURE", message="exit 1"),
        instance("1", S.FAILED, workflow="a", ended=7),
        instance("3", S.COMPLETED, workflow="c", ended=1),
    ]
    assert conclude(linked, Policy(), quiet_over=True).reason == "e b 2 FAILURE: exit 1 (and 1 more)"


def test_the_reason_of_a_vanished_instance_says_what_is_known():
    gone = instance("1", S.PROCESSING, native_status="running", vanished_at=T0)
    assert conclude([gone], Policy(), quiet_over=True).reason == "e w 1 vanished; last seen running"


# --- the Run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("mix", STATES)
@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_in_any_status_comes_to_what_was_concluded(before, mix, quiet):
    begun = before not in (S.PENDING, S.CANCELLED)
    run = Run(automation_id=new_id(), status=before, created_at=T0, started_at=T0 if begun else None)
    conclusion = conclude([instance(**form) for form in STATES[mix]], Policy(), quiet_over=quiet)
    if before is S.RETRYING:
        return  # no Run is ever so
    apply(run, conclusion, T0)
    if conclusion.status is S.PENDING:
        assert run.status is (before if begun else S.PENDING)
    else:
        assert run.status is conclusion.status
    version = run.version
    assert not apply(run, conclusion, T0)
    assert run.version == version


def test_a_run_that_was_cancelled_at_work_does_not_wait_again():
    run = Run(automation_id=new_id(), status=S.CANCELLED, created_at=T0, started_at=T0)
    assert not apply(run, conclude([instance("1", S.PENDING)], Policy(), quiet_over=True), T0)
    assert run.status is S.CANCELLED


def test_a_run_whose_start_nobody_told_began_no_later_than_it_ended():
    run = Run(automation_id=new_id(), created_at=T0)
    one = instance("1", S.FAILED, ended=5)
    assert one.started_at is None
    apply(run, conclude([one], Policy(), quiet_over=True), at(9))
    assert (run.status, run.started_at, run.finished_at) == (S.FAILED, at(5), at(5))
    apply(run, conclude([one._replace(started_at=at(3))], Policy(), quiet_over=True), at(10))
    assert run.started_at == at(3)


def test_another_reason_for_the_same_end_is_kept_without_an_event():
    run = Run(automation_id=new_id(), created_at=T0)
    one = instance("1", S.FAILED, workflow="a", ended=5)
    apply(run, conclude([one], Policy(), quiet_over=True), T0)
    run.pull_events()
    version = run.version
    two = instance("2", S.FAILED, workflow="b", ended=3)
    assert apply(run, conclude([one, two], Policy(), quiet_over=True), T0)
    assert run.error_summary == "e b 2 FAILED (and 1 more)"
    assert (run.finished_at, run.version, run.pull_events()) == (at(5), version + 1, [])
