"""However the steps of a Run are told (again, late, cut into pages, left out in between), its items end the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from runlink.application.policy import Policy
from runlink.domain import ExecutionStatus, new_id
from runlink.spi import Observation, Step
from runlink.store import tables

from .conftest import BY_KEY, World, at, by_chance

S = ExecutionStatus
_ENDS = (S.COMPLETED, S.FAILED, S.CANCELLED, S.PROCESSING, S.PENDING)  # with the last two it never comes to its end


@st.composite
def lives(draw):
    """Of each step of each instance the minutes at which it began and ended, attempt by attempt; how they are told."""
    found = []
    for number in range(draw(st.integers(1, 2))):
        steps = []
        for index in range(draw(st.integers(1, 3))):
            count = draw(st.integers(1, 3))
            tries, minute = [], draw(st.integers(0, 2))
            for attempt in range(1, count + 1):
                end = S.FAILED if attempt < count else draw(st.sampled_from(_ENDS))
                tries.append((minute + 1, minute + 2, end))
                minute += 2
            steps.append((index, tries))
        over = max(tries[-1][1] for _, tries in steps) + 1
        found.append((f"i{number}", number * 10, over, draw(st.sampled_from([S.COMPLETED, S.FAILED])), steps))
    return found, draw(tellings(found))


@st.composite
def tellings(draw, told):
    """The pages of a second engine: the minute each shows, the instances on it, when its read began."""
    last = max(begun + over for _, begun, over, _, _ in told)
    names = [name for name, *_ in told]
    pages = []
    for minute in sorted(draw(st.sets(st.integers(0, last), max_size=4)) | {last}):
        order, cut = draw(st.permutations(names)), draw(st.integers(0, len(names)))
        for part in (order[:cut], order[cut:]):
            pages += [(minute, tuple(part), minute)] * draw(st.integers(1, 2))
        if draw(st.booleans()):
            late = draw(st.integers(0, minute))
            pages.append((late, tuple(names), late - 1))
    return pages


def shown(life, minute):
    """An instance as its engine shows it at a minute; None before it began."""
    name, begun, over, end, steps = life
    here = minute - begun
    if here < 0:
        return None
    told = []
    for index, tries in steps:
        for attempt, (start, stop, status) in enumerate(tries, start=1):
            if attempt > 1 and here < start:
                continue
            last = attempt == len(tries)
            has_begun, is_over = here >= start and status is not S.PENDING, here >= stop and status.is_ended
            state = status if is_over else S.PROCESSING if has_begun else S.PENDING
            told.append(
                Step(
                    external_id=f"t[{index}]", name=f"t[{index}]", status=state, native_status=state.lower(),
                    attempt=attempt,
                    final=last if is_over else None, started_at=at(begun + start) if has_begun else None,
                    finished_at=at(begun + stop) if is_over else None,
                    message=f"try {attempt}" if is_over and state is S.FAILED else None,
                    outputs={"of": attempt} if state is S.COMPLETED else None, inputs={"n": index},
                )
            )  # fmt: skip
    ended = here >= over
    return Observation(
        external_id=name, workflow="w", status=end if ended else S.PROCESSING, native_status="ended" if ended else "on",
        created_at=at(begun), started_at=at(begun), finished_at=at(begun + over) if ended else None,
        parameters={"RUN_ID": "r"}, steps=tuple(told),
    )  # fmt: skip


def end_state(world, automation, *, exact):
    """Active executions with their batches, but for ids and times of writing.

    `exact`: with the times and messages of their ends, too.
    """
    with world.store.reading() as uow:
        rows = uow.reports.item_executions(limit=1_000_000)
        batches = uow.reports.batch_executions(limit=1_000_000)
    wanted = ["batch", "sequence_number", "status", "attempt_count", "max_attempts", "started_at", "result_payload"]
    wanted += ["finished_at", "error_message"] if exact else []
    mine = [row for row in rows if row["automation"] == automation]
    wholes = [row for row in batches if row["automation"] == automation]
    return (
        sorted(str([row[name] for name in wanted]).replace(automation, "it") for row in mine),
        sorted(
            (one["batch"], one["status"], str(one["started_at"]), exact and str(one["finished_at"])) for one in wholes
        ),
    )


def changes(world, automation):
    """The status changes of each active execution."""
    with world.store.reading() as uow:
        rows = uow.reports.item_executions(limit=1_000_000)
    history = world.rows(tables.item_state_history, "id")
    return {
        row["sequence_number"]: [one["new_status"] for one in history if one["item_execution_id"] == row["id"]]
        for row in rows
        if row["automation"] == automation
    }


_TWICE = [(2, 3, S.FAILED), (4, 5, S.FAILED), (6, 7, S.CANCELLED)]
_CANCELLED_THEN_FAILED = (
    [("i0", 0, 8, S.FAILED, [(0, _TWICE), (1, _TWICE)]), ("i1", 10, 3, S.FAILED, [(0, [(1, 2, S.FAILED)])])],
    [(13, ("i0",), 13), (13, ("i0",), 13), (13, ("i1",), 13), (13, ("i1",), 13), (13, ("i0", "i1"), 12)],
)
"""The Run has failed, and its batch is cancelled, before anything is known of the instance that failed an item."""


@example(story=_CANCELLED_THEN_FAILED, on_failure="wait")
@given(story=lives(), on_failure=st.sampled_from(["wait", "fail-fast"]))
@by_chance
def test_items_end_the_same_however_their_steps_were_told(store, story, on_failure):
    told, pages = story
    world = World(store)
    plain, other = (f"{name}-{new_id()}" for name in ("plain", "other"))
    world.configure(
        *(BY_KEY | {"create_run": True, "automation": name, "engine": name} for name in (plain, other)),
        engines=(plain, other),
        policies={name: Policy(on_failure=on_failure) for name in (plain, other)},
        items=[{"each": "steps", "create": True, "payload": "inputs"}],
    )
    last = max(begun + over for _, begun, over, _, _ in told)
    for minute in range(last + 1):
        world.see(*filter(None, (shown(life, minute) for life in told)), engine=plain, began=minute)
    by_name = {life[0]: life for life in told}
    for minute, names, began in pages:
        world.see(*filter(None, (shown(by_name[name], minute) for name in names)), engine=other, began=began)
    all_end = all(tries[-1][2].is_ended for *_, steps in told for _, tries in steps)
    exact = all_end and on_failure == "wait"  # what the end of the Run stopped keeps the time and reason of that
    expected, found = (end_state(world, name, exact=exact) for name in (plain, other))
    assert found == expected
    if all_end:
        assert changes(world, other) == changes(world, plain)
        assert all("PROCESSING" not in row for row in found[0])
