"""One Run, carried out by several engines: however their histories are interleaved, it comes to the same end.

Each engine tells its own history in its own order (as feeds do, with late and repeated pages in between); which engine
is heard when is drawn. What may differ is how often the Run was opened again on the way, never where it ends.
"""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from runlink.application.policy import Policy
from runlink.domain import ExecutionStatus, new_id
from runlink.spi import Observation
from runlink.store import tables

from .conftest import BY_KEY, World, at, by_chance

S = ExecutionStatus
ENDS = (S.COMPLETED, S.FAILED, S.CANCELLED)
WORKFLOWS = ("build", "test", "lint")

policies = st.fixed_dictionaries(
    {
        "expected": st.sampled_from([(), ("build",), ("build", "test")]),
        "on_failure": st.sampled_from(["wait", "fail-fast"]),
        "retry_grace_s": st.sampled_from([0, 600]),
        "failed_by": st.sampled_from(["latest", "any"]),
        "tolerate": st.sampled_from([(), ("lint",)]),
        "complete": st.sampled_from(["auto", "by-hand"]),
    }
)


@st.composite
def engine_histories(draw):
    """For each engine the states it shows, one a minute: instances that begin, end, are run again in place or anew."""
    histories = []
    for engine in range(draw(st.integers(2, 3))):
        states, minute = [], draw(st.integers(0, 5))
        for number in range(draw(st.integers(1, 3))):
            workflow = draw(st.sampled_from(WORKFLOWS))
            queued = minute
            for attempt in range(1, draw(st.integers(1, 2)) + 1):
                start = minute
                for status in (S.PENDING, S.PROCESSING, draw(st.sampled_from(ENDS))):
                    states.append(
                        Observation(
                            external_id=f"{engine}.{number}",
                            workflow=workflow,
                            status=status,
                            native_status=f"{status.value} {attempt}",
                            attempt=attempt,
                            created_at=at(queued),
                            started_at=None if status is S.PENDING else at(start),
                            finished_at=at(minute) if status in ENDS else None,
                            parameters={"RUN_ID": "r"},
                            message=f"minute {minute}" if status in ENDS else None,
                        )
                    )
                    minute += 1
        histories.append(states)
    return histories


def deliver(world, names, histories, turns, data=None):
    """The histories in this order of engines; with `data` some states are told again, late, as another feed would."""
    told = [0] * len(histories)
    for engine in turns:
        state = histories[engine][told[engine]]
        world.see(state, engine=names[engine])
        told[engine] += 1
        if data is not None and data.draw(st.booleans()):
            earlier = histories[engine][data.draw(st.integers(0, told[engine] - 1))]
            world.push(earlier, engine=names[engine])
        if data is not None and data.draw(st.booleans()):
            world.see(state, engine=names[engine])
    for _ in range(2):  # the time it waits is over, perhaps for one thing after another
        world.quiet(10_000)


def end_of_run(world, automation_id):
    (run,) = [row for row in world.rows(tables.runs) if row["automation_id"] == automation_id]
    facts = ("status", "started_at", "finished_at", "error_summary", "cancellation_reason")
    return [str(run[name]) for name in facts]


@given(histories=engine_histories(), policy=policies, data=st.data())
@by_chance
def test_a_run_comes_to_the_same_end_however_its_engines_are_interleaved(store, histories, policy, data):
    world = World(store)
    orders = [engine for engine, states in enumerate(histories) for _ in states]
    found = []
    for number in range(3):
        names = [f"e{engine}-{number}-{new_id()}" for engine in range(len(histories))]
        world.configure(
            *(BY_KEY | {"create_run": True, "automation": names[0], "engine": name} for name in names),
            engines=tuple(names),
            policies={names[0]: Policy(**policy)},
        )
        turns = orders if number == 0 else data.draw(st.permutations(orders))
        deliver(world, names, histories, turns, data if number == 2 else None)
        end = str(end_of_run(world, world.automation(names[0])))
        for engine, name in enumerate(names):
            end = end.replace(name, f"engine {engine}")
        found.append(end)
    assert all(one == found[0] for one in itertools.islice(found, 1, None)), found
