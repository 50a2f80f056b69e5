"""The promise that holds all others: any life, any disturbance, the same end. Drawn by hypothesis."""

from __future__ import annotations

from typing import Any

from runlink.domain import ExecutionStatus
from runlink.spi import AdapterError, Polls
from runlink.testing.contract.promises import Contract, World, promise, promises
from runlink.testing.faults import PASSING
from runlink.testing.host import FACTS, Crash

S = ExecutionStatus

_ACTIONS = ("start", "wait", "begin", "end", "fail", "cancel", "child", "short", "retry", "rerun", "delete", "restart")
_NEEDS = {"child": "parents", "retry": "attempts", "rerun": "reruns", "delete": "deletion"}


class Living(Contract):
    """The property."""

    @promises(Polls)
    def test_any_life_ends_the_same(self) -> None:
        """Polls, faults, crashes, new processes and page cuts in any interleaving with a life end in the same
        observations as an undisturbed reading."""
        import hypothesis
        from hypothesis import strategies as st

        actions = [a for a in _ACTIONS if a not in _NEEDS or _NEEDS[a] not in self.engine.lacks]
        life = st.tuples(st.sampled_from(actions), st.integers(0, 5), st.sampled_from([0, 0, 1, 60, 4000]))
        fault = st.one_of(st.none(), st.none(), st.sampled_from(PASSING))
        turn = st.tuples(st.just("turn"), st.lists(fault, max_size=4), st.one_of(st.none(), st.integers(0, 3)))
        process = st.tuples(st.just("process"), st.none(), st.none())
        scripts = st.lists(st.one_of(life, life, life, turn, turn, process), max_size=30)

        @hypothesis.settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(scripts)
        def lives(script: list[tuple[str, Any, Any]]) -> None:
            with self.world() as world:
                for what, first, second in script:
                    if what == "turn":
                        self._turn(world, first, second)
                    elif what == "process":
                        world.host.restart()
                    else:
                        _act(world, what, first, second)
                world.engine.faults.clear()
                self.settle(world, 4)
                self.agree(world)
                self._as_undisturbed(world)

        lives()

    def _turn(self, world: World, faults: list[str | None], crash_after: int | None) -> None:
        world.engine.faults.extend(faults)
        try:
            world.host.turn(crash_after=crash_after)
        except Crash:
            world.host.restart()
        except AdapterError:
            pass
        world.engine.faults.clear()

    def _as_undisturbed(self, world: World) -> None:
        """What a host that comes now, and meets no fault, reads of the runs that are there."""
        with self.host(world.engine) as calm:
            other = World(world.engine, calm)
            self.settle(other, 3)
            disturbed, undisturbed = world.host.table(), calm.table()
            for run in world.engine.runs:
                name = world.engine.external_id(run)
                for fact in FACTS:
                    told, true = disturbed[name][fact], undisturbed[name][fact]
                    promise(told == true, f"{name}: {fact} is {told!r}, and undisturbed {true!r}")


def _act(world: World, what: str, which: int, seconds: float) -> None:
    """One step of a life, done to one of the runs that it can be done to."""
    engine = world.engine
    engine.advance(seconds)
    waiting = [run for run in engine.runs if run.status is S.PENDING]
    working = [run for run in engine.runs if run.status is S.PROCESSING]
    ended = [run for run in engine.runs if run.status.is_ended]
    if what in ("start", "wait"):
        engine.start(pending=what == "wait")
    elif what == "short":  # over within a second
        engine.end(engine.start(), (S.COMPLETED, S.FAILED, S.CANCELLED)[which % 3])
    elif what == "restart":
        engine.restart()
    elif what == "child" and working:
        engine.start(parent=working[which % len(working)])
    elif what == "begin" and waiting:
        engine.begin(waiting[which % len(waiting)])
    elif what in ("end", "fail", "cancel") and working:
        status = {"end": S.COMPLETED, "fail": S.FAILED, "cancel": S.CANCELLED}[what]
        engine.end(working[which % len(working)], status)
    elif what in ("retry", "rerun") and ended:
        getattr(engine, what)(ended[which % len(ended)])
    elif what == "delete" and engine.runs:
        engine.delete(engine.runs[which % len(engine.runs)])
