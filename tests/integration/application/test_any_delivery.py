"""However histories are delivered (again, late, in parts, cut into other pages), the end state is the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from runlink.domain import ExecutionStatus, new_id
from runlink.spi import Observation, Revision
from runlink.store import tables

from .conftest import BY_KEY, World, at, by_chance

S = ExecutionStatus
ENDS = (S.COMPLETED, S.FAILED, S.CANCELLED)
_numbers = itertools.count(1)


@dataclass
class Life:
    """One instance: its states, one a minute, from its first sighting on."""

    name: str
    workflow: str
    parent: str | None
    keyed: bool
    attempts: list[list[S]]
    states: list[Observation] = field(default_factory=list)

    def live(self, order):
        minute = 0
        for number, statuses in enumerate(self.attempts, start=1):
            start = None
            for status in statuses:
                if status is S.PROCESSING and start is None:
                    start = minute
                self.states.append(
                    Observation(
                        external_id=self.name,
                        workflow=self.workflow,
                        status=status,
                        native_status=f"{status.value} {number}",
                        created_at=at(0),
                        attempt=number if order == "attempts" else 1,
                        revision=Revision(minute + 1) if order == "revisions" else None,
                        started_at=at(start),
                        finished_at=at(minute) if status in ENDS else None,
                        parent=self.parent,
                        parameters={"RUN_ID": "r"} if self.keyed else None,
                        message=f"{self.name} at {minute}" if status in ENDS else None,
                    )
                )
                minute += 1
        return self


attempts = st.sampled_from(
    [
        [S.PENDING, S.CANCELLED],
        *([S.PENDING, S.PROCESSING, end] for end in ENDS),
        *([S.PENDING, S.PROCESSING, S.RETRYING, S.PROCESSING, end] for end in ENDS),
    ]
)


@st.composite
def histories(draw):
    count = draw(st.integers(1, 3))
    lives = []
    for n in range(count):
        parent = draw(st.sampled_from([None, *(life.name for life in lives)])) if n else None
        lives.append(
            Life(
                name=f"i{n}",
                workflow=draw(st.sampled_from(["a", "b"])),
                parent=parent,
                keyed=n == 0 or (parent is None and draw(st.booleans())),
                attempts=draw(st.lists(attempts, min_size=1, max_size=2)),
            )
        )
    return lives


def timeline(lives):
    """What the engine shows at each minute: the state of every instance. All are there from the first one."""
    length = max(len(life.states) for life in lives)
    return [[life.states[min(minute, len(life.states) - 1)] for life in lives] for minute in range(length)]


def end_state(world, engine):
    mine = [row for row in world.rows(tables.orchestration_instances) if row["engine_id"] == world.engines[engine].id]
    names = {row["id"]: row["external_id"] for row in mine}
    wanted = (
        "external_id", "status", "native_status", "attempt", "queued_at", "started_at", "finished_at",
        "duration_seconds", "message", "parent_external_id", "parameters", "vanished_at", "workflow",
    )  # fmt: skip
    runs = {
        row["id"]: (row["correlation_id"], row["status"], row["error_summary"], row["started_at"], row["finished_at"])
        for row in world.rows(tables.runs)
    }
    links = [row for row in world.rows(tables.run_orchestrations) if row["orchestration_instance_id"] in names]
    ends = [
        (names[row["instance_id"]], row["number"], row["status"], row["finished_at"])
        for row in world.rows(tables.instance_attempts)
        if row["instance_id"] in names
    ]
    return {
        "instances": sorted(tuple(str(row[name]) for name in wanted) for row in mine),
        "attempts": sorted(map(str, ends)),
        "links": sorted((names[row["orchestration_instance_id"]], runs[row["run_id"]][0]) for row in links),
        "runs": sorted(
            (tuple(map(str, runs[row["run_id"]])) for row in links),
        ),
    }


def deliver_plainly(world, engine, minutes):
    for minute, shown in enumerate(minutes):
        world.see(*shown, engine=engine, began=minute)
    world.quiet(10_000)


def deliver_somehow(world, engine, minutes, data, order):
    """Each poll cut into pages, each page perhaps twice; late pages and pushes of earlier states in between.

    Where an engine gives no order to go by, a push is never late: nobody could tell.
    """
    for minute, shown in enumerate(minutes):
        listed = data.draw(st.permutations(shown))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(listed)), max_size=2)))
        bounds = [0, *cuts, len(listed)]
        for first, last in itertools.pairwise(bounds):
            for _ in range(data.draw(st.integers(1, 2))):
                world.see(*listed[first:last], engine=engine, began=minute, page={"cursors": {"all": str(minute)}})
            if minute and data.draw(st.booleans()):
                late = data.draw(st.integers(0, minute - 1))
                world.see(*minutes[late], engine=engine, began=late)
            if data.draw(st.booleans()):
                since = minute if order == "none" else 0
                earlier = data.draw(st.sampled_from(minutes[data.draw(st.integers(since, minute))]))
                part = msgspec.structs.replace(earlier, complete=False, parameters=None, parent=None, message=None)
                world.push(part, engine=engine, began=minute)
    world.quiet(10_000)


@given(lives=histories(), order=st.sampled_from(["none", "attempts", "revisions"]), data=st.data())
@by_chance
def test_the_end_is_the_same_however_it_was_delivered(store, lives, order, data):
    world = World(store)
    plain, other = (f"{name}-{next(_numbers)}-{new_id()}" for name in ("plain", "other"))
    world.configure(
        BY_KEY | {"create_run": True, "automation": plain, "engine": plain},
        BY_KEY | {"create_run": True, "automation": other, "engine": other},
        {"inherit": "parent"},
        engines=(plain, other),
    )
    minutes = timeline([life.live(order) for life in lives])
    deliver_plainly(world, plain, minutes)
    deliver_somehow(world, other, minutes, data, order)
    expected, found = end_state(world, plain), end_state(world, other)
    assert str(found).replace(other, "E") == str(expected).replace(plain, "E")
    assert all(run[1] in ("COMPLETED", "FAILED", "CANCELLED") for run in found["runs"])


@given(data=st.data())
@by_chance
def test_a_feed_goes_on_behind_any_page(store, data):
    """The process dies behind any page; what goes on from the stored cursor comes to the same."""
    world = World(store)
    engines = tuple(f"{name}-{new_id()}" for name in ("undisturbed", "dying"))
    world.configure(engines=engines)
    listing = [
        Observation(external_id=str(n), workflow="w", status=S.COMPLETED, native_status="OK", message=str(n))
        for n in range(data.draw(st.integers(1, 12)))
    ]
    size = data.draw(st.integers(1, 4))

    def poll(engine, pages):
        done = 0
        while done < pages:
            cursor = int(world.cursors(engine=engine).get("all", 0))
            if cursor >= len(listing):
                return
            page = listing[cursor : cursor + size]
            world.see(*page, engine=engine, page={"cursors": {"all": str(cursor + len(page))}})
            done += 1

    poll(engines[0], 99)
    while int(world.cursors(engine=engines[1]).get("all", 0)) < len(listing):
        poll(engines[1], data.draw(st.integers(1, 3)))
    states = [str(end_state(world, engine)).replace(engine, "E") for engine in engines]
    assert states[0] == states[1]
