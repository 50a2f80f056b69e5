"""What every adapter that polls promises: each run, as the engine has it, once."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import timedelta
from typing import Final

from runlink.domain import ExecutionStatus
from runlink.spi import EngineInfo, Observation, Page, Polls
from runlink.testing.contract.promises import Contract, World, promise, promises
from runlink.testing.contract.stories import difference, many, scenes, started, tell_a_life
from runlink.testing.host import Crash

S = ExecutionStatus

MANY_RUNS: Final = 10_000
MOST_OBSERVATIONS: Final = 5_000
"""In one page, and at the same time in memory."""
MOST_KEPT_BYTES: Final = 16_000_000
"""By an adapter between two pages, bounded caches included; the 10,000 runs as it reads them are some 30 MB."""
_TOLERANCE: Final = timedelta(seconds=1)


class Reading(Contract):
    """The promises of `check` and `poll`."""

    @promises()
    def test_check_tells_product_and_version(self) -> None:
        """`check` reaches the engine and says what it is."""
        with self.world() as world:
            info = world.host.check()
            promise(isinstance(info, EngineInfo), f"check() gave {type(info).__name__}, no EngineInfo")
            promise(info.product and info.version, f"check() gave product {info.product!r}, version {info.version!r}")
            promise(world.engine.requests, "check() made no request, so it proves nothing")

    @promises()
    def test_making_it_reaches_nobody(self) -> None:
        """The constructor makes no request: an engine that is down must not keep runlink from starting."""
        with self.world() as world:
            promise(not world.engine.requests, f"the constructor made {world.engine.requests} requests")

    @promises(Polls)
    def test_the_first_poll_shows_everything(self) -> None:
        """Without cursors: all that is open, and all that ended in the look-back window."""
        with self.world() as world:
            tell_a_life(world)
            world.host.turn()
            self.agree(world)

    @promises(Polls)
    def test_news_come_with_the_next_turn(self) -> None:
        """With cursors: all that is new or changed since, whatever happened in between."""
        with self.world() as world:
            for _ in scenes(world):
                world.host.turn()
                self.agree(world)

    @promises(Polls)
    def test_a_late_finish_is_seen(self) -> None:
        """A run that ends long after newer ones: no high-water mark may skip it."""
        with self.world() as world:
            early = world.engine.start()
            for _ in range(4):
                world.engine.advance()
                world.engine.end(world.engine.start())
                world.host.turn()
            world.engine.advance(7200)
            world.engine.end(early, S.FAILED)
            self.settle(world)
            self.agrees(world, early)

    @promises(Polls)
    def test_the_same_again_changes_nothing(self) -> None:
        """Nothing happened: nothing is told as new or changed."""
        with self.world() as world:
            tell_a_life(world)
            self.settle(world)
            before = world.host.table()
            for _ in range(2):
                world.engine.advance(self.patience_s)
                outcome = world.host.turn()
                promise(
                    not (outcome.new or outcome.changed),
                    f"a turn in which nothing happened told {outcome.new} new and {outcome.changed} changed instances: "
                    f"{difference(before, world.host.table())}",
                )

    @promises(Polls)
    def test_it_goes_on_after_any_page(self) -> None:
        """A crash after any page, and a new process with the stored cursors: nothing is lost."""
        for pages in range(8):
            crashes = 0
            with self.world() as world:
                for number, _ in enumerate(scenes(world)):
                    if number % 2:
                        world.host.restart()
                    else:
                        crashes += self._crashed(world, pages)
                many(world, self.listed)
                crashes += self._crashed(world, pages)
                self.settle(world)
                self.agree(world)
            if not crashes:
                return  # no turn has so many pages

    def _crashed(self, world: World, pages: int) -> bool:
        try:
            world.host.turn(crash_after=pages)
        except Crash:
            world.host.restart()
            return True
        return False

    @promises(Polls)
    def test_pages_may_come_in_any_order(self) -> None:
        """Pages of one poll, and what stands in them, say the same whichever comes first."""
        with self.world() as world, self.host(world.engine) as other:
            tell_a_life(world)
            many(world, self.listed)
            pages = list(world.host.adapter.poll({}))
            began_at = world.host.now()
            for page in pages:
                world.host.take(page, began_at=began_at)
            for page in reversed(pages):
                seen = page.observations
                if len({o.external_id for o in seen}) == len(seen):  # of one instance told twice, the last one counts
                    seen = tuple(reversed(seen))
                other.take(Page(observations=seen), began_at=began_at)
            straight, reverse = world.host.table(), other.table()
            promise(straight == reverse, f"read backwards, it says otherwise: {difference(straight, reverse)}")

    @promises(Polls)
    def test_each_native_status_is_mapped(self) -> None:
        """Each of the engine's words means what the author's table says, and is told beside it."""
        with self.world() as world:
            runs = {word: started(world, word, meaning) for word, meaning in world.engine.statuses.items()}
            world.host.turn()
            for word, run in runs.items():
                row = self.agrees(world, run)
                promise(row["native_status"], f"{word!r} is told without a native_status")

    @promises(Polls)
    def test_an_unknown_native_status_is_named(self) -> None:
        """A word that the engine learnt in a later release: set aside or told under its own name, and the rest goes
        on."""
        word = "brand-new-word"
        with self.world() as world:
            odd = started(world, word, S.PROCESSING)
            plain = world.engine.start()
            world.engine.advance()
            world.engine.end(plain)
            world.host.turn()
            row = world.host.table().get(world.engine.external_id(odd))
            named = (row is not None and word in str(row["native_status"])) or any(
                word in f"{item['reason']} {item['raw']}" for item in world.host.set_aside()
            )
            promise(named, f"the word {word!r} is neither told as a native_status nor set aside with its name")
            promise(
                row is None or not row["status"].is_ended, f"{word!r} is guessed to be an end: {row and row['status']}"
            )
            self.agrees(world, plain)

    @promises(Polls)
    def test_times_are_the_engines(self) -> None:
        """Times that are told are the engine's, to the second, whatever zone it writes them in."""
        with self.world() as world:
            waiting = world.engine.start(pending=True)
            world.engine.advance(100)
            world.engine.begin(waiting)
            ended, running = world.engine.start(), world.engine.start()
            world.engine.advance(1000)
            world.engine.end(ended)
            world.host.turn()
            for run in (waiting, ended, running):
                row = self.agrees(world, run)
                pairs = {"queued_at": run.created_at, "started_at": run.started_at, "finished_at": run.finished_at}
                for name, true in pairs.items():
                    told = row[name]
                    if told is not None:
                        near = true is not None and abs(told - true) <= _TOLERANCE
                        promise(near, f"run {run.number}: {name} is told as {told}, and is {true}")
                promise(row["started_at"] is not None, f"run {run.number}: started_at is not told")
            promise(self.agrees(world, ended)["finished_at"] is not None, "finished_at of an ended run is not told")

    @promises(Polls)
    def test_ids_are_stable(self) -> None:
        """One run is one row: across polls, refetches, new processes and a restart of the engine."""
        with self.world() as world:
            for _ in scenes(world):
                world.host.turn()
                world.host.restart()
                world.engine.restart()
            self.settle(world)
            table = world.host.table()
            true = {world.engine.external_id(run) for run in world.engine.runs}
            extra = [name for name, row in table.items() if name not in true and not row["vanished"]]
            ever = world.engine.changes()
            gone = {world.engine.external_id(run) for run in ever if run.deleted}
            promise(not set(extra) - gone, f"rows that are no run of the engine: {sorted(set(extra) - gone)}")
            promise(not world.host.set_aside(), f"set aside: {[i['reason'] for i in world.host.set_aside()]}")

    @promises(Polls)
    def test_unicode_arrives_as_it_was(self) -> None:
        """Names, messages and parameters in any script."""
        with self.world() as world:
            for workflow in world.engine.workflows:
                world.engine.end(world.engine.start(workflow), S.FAILED, message="schön ☃ 日本 \U0001f680")
            self.settle(world)
            for run in world.engine.runs:
                row = self.agrees(world, run)
                for name, true in (run.parameters or {}).items():
                    told = (row["parameters"] or {}).get(name)
                    promise(told == true, f"parameter {name!r} is told as {told!r}, and is {true!r}")
                if world.engine.has("messages"):
                    promise("☃ 日本 \U0001f680" in str(row["message"]), f"the message is told as {row['message']!r}")

    @promises(Polls)
    def test_a_clock_that_differs_loses_nothing(self) -> None:
        """The engine's clock is an hour ahead, or behind: what is new is found by the engine's clock, not ours."""
        for skew_s in (3600.0, -3600.0):
            with self.world(skew_s=skew_s) as world:
                for _ in scenes(world):
                    world.host.turn()
                self.settle(world)
                self.agree(world)

    @promises(Polls)
    def test_a_cursor_that_means_nothing_is_expired(self) -> None:
        """A cursor of another release, or a place that the engine forgot: CursorExpired or a full read, no loss."""
        with self.world() as world:
            tell_a_life(world)
            world.host.turn()
            for spoil in ("no-such-place", "", "{}", "-1"):
                world.engine.advance()
                world.engine.end(world.engine.start())
                world.engine.forget()
                world.host.set_cursors(dict.fromkeys(world.host.cursors() or {"all": ""}, spoil))
                world.host.restart()
                world.host.turn()
                self.settle(world, 1)
                self.agree(world)

    @promises(Polls)
    def test_ten_thousand_runs_in_bounded_memory(self) -> None:
        """A large engine comes in pages; neither a page nor what is kept between pages grows with it."""
        with self.world(backfill=False) as world:
            many(world, MANY_RUNS, message="x" * 1000)
            world.host.check()
            told: set[str] = set()
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                for page in world.host.adapter.poll({}):
                    size = len(page.observations)
                    promise(size <= MOST_OBSERVATIONS, f"a page has {size} observations, at most {MOST_OBSERVATIONS}")
                    told.update(o.external_id for o in page.observations)
                    kept = tracemalloc.get_traced_memory()[0] - before
                    if kept > MOST_KEPT_BYTES:  # answers of httpx refer to themselves: they wait for the collector
                        gc.collect()
                        kept = tracemalloc.get_traced_memory()[0] - before
                    promise(
                        kept <= MOST_KEPT_BYTES + 3000 * size,
                        f"after {len(told)} runs {kept / 1e6:.0f} MB are kept; tell pages as they are read",
                    )
                    alive = _observations_alive() if len(told) > MOST_OBSERVATIONS and len(told) % 2000 < size else 0
                    promise(
                        alive <= MOST_OBSERVATIONS + size,
                        f"{alive} observations are in memory at once; yield each page",
                    )
            finally:
                tracemalloc.stop()
            missing = {world.engine.external_id(run) for run in world.engine.runs} - told
            promise(not missing, f"{len(missing)} of {MANY_RUNS} runs are not told, e.g. {sorted(missing)[:3]}")


def _observations_alive() -> int:
    """How many are in memory."""
    return sum(type(one) is Observation for one in gc.get_objects())
