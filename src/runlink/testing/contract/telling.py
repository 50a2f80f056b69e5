"""What an adapter that polls promises where its engine has it: tries, re-runs, steps, parents, deletion."""

from __future__ import annotations

from runlink.domain import ExecutionStatus
from runlink.spi import Polls, Refetches
from runlink.testing.contract.promises import Contract, promise, promises
from runlink.testing.contract.stories import difference

S = ExecutionStatus


class Telling(Contract):
    """The promises of `poll` that depend on what the engine has (`features`)."""

    @promises(Polls, features=("resets",))
    def test_numbers_that_begin_again_are_other_runs(self) -> None:
        """The engine was installed anew and counts from 1 again: earlier rows stay as they were."""
        with self.world() as world:
            old = [world.engine.start(native=None) for _ in range(3)]
            for run in old:
                world.engine.advance()
                world.engine.end(run, S.FAILED)
            self.settle(world)
            before = world.host.table()
            world.engine.reset()
            for _ in range(4):
                world.engine.end(world.engine.start())
                world.engine.advance()
            self.settle(world)
            self.agree(world)
            after = {name: row for name, row in world.host.table().items() if name in before}
            promise(before == after, f"rows of before the reset were changed: {difference(before, after)}")

    @promises(Polls, features=("parents",))
    def test_a_child_names_its_parent(self) -> None:
        """`parent` is the external id of the run that started this one, also when the parent is told later."""
        with self.world() as world:
            parent = world.engine.start()
            children = [world.engine.start(parent=parent) for _ in range(2)]
            self.settle(world)
            for run in (*children, parent):
                world.engine.advance()
                world.engine.end(run)
            self.settle(world)
            for child in children:
                told, true = self.agrees(world, child)["parent_external_id"], world.engine.external_id(parent)
                promise(told == true, f"the parent is told as {told!r}, and is {true!r}")

    @promises(Polls, Refetches, features=("deletion",))
    def test_what_the_engine_forgot(self) -> None:
        """Deleted after its end, a run stays as it ended; deleted while it was open, it has vanished."""
        with self.world() as world:
            ended, running, kept = (world.engine.start() for _ in range(3))
            world.engine.advance()
            world.engine.end(ended)
            world.host.turn()
            names = {run: world.engine.external_id(run) for run in (ended, running)}
            world.engine.advance()
            world.engine.delete(ended)
            world.engine.delete(running)
            self.settle(world, 4)
            table = world.host.table()
            row = table[names[ended]]
            promise(not row["vanished"] and row["status"] is S.COMPLETED, f"the ended run is told as {row['status']}")
            row = table[names[running]]
            promise(row["vanished"], f"the run that was deleted while it ran is still told as {row['status']}")
            self.agrees(world, kept)

    @promises(Polls, features=("reruns",))
    def test_a_rerun_in_place_is_seen(self) -> None:
        """An ended run is at work again under its id: the row follows, as another attempt."""
        with self.world() as world:
            run = world.engine.start()
            world.engine.advance()
            world.engine.end(run, S.FAILED)
            self.settle(world)
            world.engine.advance(600)
            world.engine.rerun(run)
            self.settle(world)
            row = self.agrees(world, run)
            promise(row["attempt"] == 2, f"a run that was begun twice is told as attempt {row['attempt']}")
            world.engine.advance(600)
            world.engine.end(run)
            self.settle(world)
            self.agrees(world, run)

    @promises(Polls, features=("attempts",))
    def test_tries_are_counted_as_the_engine_counts(self) -> None:
        """`attempt` is the engine's count, and earlier tries stay as they ended, also when they were never seen."""
        with self.world() as world:
            run = world.engine.start()
            for _ in range(2):
                world.engine.advance()
                world.engine.end(run, S.FAILED)
                world.engine.advance()
                world.engine.retry(run)
            self.settle(world)
            row = self.agrees(world, run)
            promise(row["attempt"] == run.attempt, f"attempt is told as {row['attempt']}, and is {run.attempt}")
            world.engine.end(run)
            self.settle(world)
            self.agrees(world, run)
            tries = world.host.attempts()[world.engine.external_id(run)]
            told = {number: row["status"] for number, row in tries.items() if number in (1, 2)}
            promise(set(told.values()) <= {S.FAILED}, f"the failed tries are told as {told}")

    @promises(Polls, features=("steps",))
    def test_steps_follow_the_run(self) -> None:
        """Steps have the engine's names, one id over time, and end as they ended."""
        with self.world() as world:
            run = world.engine.start()
            self.settle(world)
            world.engine.advance()
            world.engine.end(run, S.FAILED)
            self.settle(world)
            row = self.agrees(world, run)
            told = {(step[1], step[2]): step[3] for step in row["steps"]}
            for step in run.steps:
                there = [status for (name, n), status in told.items() if step.name in name and n == step.attempt]
                promise(there == [step.status], f"step {step.name!r} is told as {there}, and is {step.status}")
            promise(len(row["steps"]) == len(run.steps), f"{len(row['steps'])} steps are told of {len(run.steps)}")
