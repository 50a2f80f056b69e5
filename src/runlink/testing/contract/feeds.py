"""What the other feeds promise: refetch by id, watch, receive."""

from __future__ import annotations

import threading
from typing import Any

from runlink.domain import ExecutionStatus
from runlink.spi import (
    AdapterError,
    CursorExpired,
    Delivery,
    DeliveryRejected,
    Page,
    Polls,
    Receives,
    Refetches,
    Watches,
)
from runlink.testing.contract.manners import Manners
from runlink.testing.contract.promises import Contract, PromiseBroken, World, promise, promises
from runlink.testing.contract.stories import scenes
from runlink.testing.scripted import ScriptedRun

S = ExecutionStatus


class Refetching(Contract):
    """The promises of `refetch`."""

    @promises(Refetches)
    def test_a_refetch_tells_what_a_poll_tells(self) -> None:
        """A refetch of what was just polled changes nothing, in any order of the ids."""
        with self.world() as world:
            for _ in scenes(world):
                pass
            self.settle(world)
            before = world.host.table()
            names = [name for name, row in before.items() if not row["vanished"]]
            for asked in (names, names[::-1], names[:1]):
                told: set[str] = set()
                for page in world.host.adapter.refetch(asked):
                    told.update(o.external_id for o in page.observations)
                    told.update(page.gone)
                    world.host.take(page, feed="refetch")
                promise(told >= set(asked), f"a refetch says nothing of {sorted(set(asked) - told)}")
            after = world.host.table()
            wrong = [name for name in before if _facts(before[name]) != _facts(after[name])]
            promise(not wrong, f"a refetch tells {wrong[:3]} otherwise than the poll did")

    @promises(Refetches)
    def test_a_refetch_says_what_is_gone(self) -> None:
        """An id that the engine does not have is `gone`; those beside it are told all the same."""
        with self.world() as world:
            lost, kept = world.engine.start(), world.engine.start()
            world.host.turn()
            names = {run: world.engine.external_id(run) for run in (lost, kept)}
            if not world.engine.has("deletion"):
                return
            world.engine.delete(lost)
            pages = list(world.host.adapter.refetch([names[lost], names[kept]]))
            gone = [name for page in pages for name in page.gone]
            told = [o.external_id for page in pages for o in page.observations]
            promise(gone == [names[lost]], f"gone is told as {gone}, and is {[names[lost]]}")
            promise(told == [names[kept]], f"{told} is told beside it, and {[names[kept]]} is there")

    @promises(Refetches)
    def test_a_refetch_of_nothing_asks_nothing(self) -> None:
        """No ids: no pages that tell anything."""
        with self.world() as world:
            told = [o for page in world.host.adapter.refetch([]) for o in page.observations]
            promise(not told, f"a refetch of no ids tells {len(told)} runs")


class Watching(Manners):
    """The promises of `watch`."""

    @promises(Watches, Polls)
    def test_a_watch_tells_what_changes(self) -> None:
        """What happens while it is watched is told, without a poll."""
        with self.world() as world:
            world.host.turn()
            runs = [world.engine.start() for _ in range(3)]
            self._watched(world, lambda: self._are(world, runs, S.PROCESSING))
            for run in runs:
                world.engine.advance()
                world.engine.end(run, S.FAILED)
            self._watched(world, lambda: self._are(world, runs, S.FAILED))
            for run in runs:
                self.agrees(world, run)

    @promises(Watches, Polls)
    def test_a_watch_goes_on_where_it_was(self) -> None:
        """What happens between two watches, each of another process, is told by the later one or by the next poll."""
        with self.world() as world:
            world.host.turn()
            for _ in scenes(world):
                self._watch_once(world)
                world.host.restart()
            self.settle(world)
            self.agree(world)

    @promises(Watches, Polls)
    def test_a_watch_that_breaks_loses_nothing(self) -> None:
        """The stream is cut, refused or garbled: an AdapterError or the end, and the next poll has everything."""
        for fault in ("503", "cut", "reset", "html", "401"):
            with self.world() as world:
                world.host.turn()
                for _ in scenes(world):
                    world.engine.fault = fault
                    self._watch_once(world)
                    world.engine.fault = None
                self.settle(world)
                self.agree(world)

    @promises(Watches, Polls)
    def test_a_watch_from_nowhere_says_so(self) -> None:
        """Without a place to begin from, or with a senseless one, a watch raises CursorExpired or tells what is so."""
        with self.world() as world:
            world.engine.start()
            for cursors in ({}, {"all": "no-such-place"}):
                world.host.restart()
                world.host.check()
                self._first_of(world, cursors)

    @promises(Watches, Polls)
    def test_close_unblocks_a_watch(self) -> None:
        """`close` from another thread ends a silent stream, within a second."""
        with self.world(request_timeout_s=30.0) as world:
            world.host.turn()
            cursors = world.host.cursors()
            self.ends_when_closed(world, lambda: _drain(world.host.adapter.watch(cursors)))

    def _first_of(self, world: World, cursors: dict[str, str]) -> None:
        thread = threading.Timer(0.3, world.host.hosted.close)
        thread.start()
        try:
            _drain(world.host.adapter.watch(cursors))
        except AdapterError:
            return
        finally:
            thread.join()

    def _watch_once(self, world: World) -> None:
        """A watch until it told something or 0.3 s are over; an expired place is polled again, as the host does."""
        closing = threading.Timer(0.3, world.host.hosted.close)
        closing.start()
        try:
            world.host.watch(lambda: True)
        except CursorExpired:
            closing.join()
            world.host.restart()
            world.engine.fault, fault = None, world.engine.fault
            world.host.turn()
            world.engine.fault = fault
        except AdapterError:
            pass
        finally:
            closing.cancel()
            closing.join()
            world.host.restart()

    def _watched(self, world: World, seen: Any) -> None:
        closing = threading.Timer(10.0, world.host.hosted.close)
        closing.start()
        try:
            while not seen():
                world.host.watch(seen)
        except AdapterError as error:
            raise PromiseBroken(f"what happened was not told by the watch: {error}") from error
        finally:
            closing.cancel()
            closing.join()

    def _are(self, world: World, runs: list[ScriptedRun], status: ExecutionStatus) -> bool:
        table = world.host.table()
        names = [world.engine.external_id(run) for run in runs]
        return all(name in table and table[name]["status"] is status for name in names)


class Receiving(Contract):
    """The promises of `receive`."""

    @promises(Receives)
    def test_a_delivery_is_understood(self) -> None:
        """What the engine pushes names the run: as an observation, or as an id to read again."""
        with self.world() as world:
            run = world.engine.start()
            world.engine.advance()
            world.engine.end(run)
            receipt = world.host.adapter.receive(delivery(world, run))
            name = world.engine.external_id(run)
            told = {o.external_id: o for o in receipt.observations}
            promise(name in told or name in receipt.refetch, f"a delivery about {name!r} tells {receipt!r:.300}")
            if name in told:
                promise(told[name].status is S.COMPLETED, f"the status is told as {told[name].status}")

    @promises(Receives, Polls)
    def test_a_delivery_erases_nothing(self) -> None:
        """A push that shows a part of the state is told with `complete=False`, and None for what it does not show."""
        with self.world() as world:
            run = world.engine.start()
            self.settle(world)
            world.engine.advance()
            world.engine.end(run)
            self.settle(world)
            before = world.host.table()
            receipt = world.host.adapter.receive(delivery(world, run))
            world.host.push(receipt.observations)
            after = world.host.table()[world.engine.external_id(run)]
            for name, known in before[world.engine.external_id(run)].items():
                promise(after[name] == known, f"{name} was {known!r}, and after a push is {after[name]!r}")

    @promises(Receives)
    def test_a_late_or_repeated_delivery_changes_nothing(self) -> None:
        """Pushes are repeated and overtaken on their way: the end stays the end."""
        with self.world() as world:
            run = world.engine.start()
            first = delivery(world, run)
            world.engine.advance()
            world.engine.end(run)
            last = delivery(world, run)
            for one in (last, first, last):
                world.host.push(world.host.adapter.receive(one).observations)
            row = world.host.table().get(world.engine.external_id(run))
            if row is not None:
                promise(row["status"] is S.COMPLETED, f"after an overtaken push the status is {row['status']}")

    @promises(Receives)
    def test_a_delivery_that_makes_no_sense_is_rejected(self) -> None:
        """What cannot be understood is DeliveryRejected, with a reason; it is no crash."""
        with self.world() as world:
            headers, _ = world.engine.delivery(world.engine.start())
            for body in (b"", b"\xff\xfe", b"null", b"[]", b"{}", b'{"a": 1}', b"<html></html>"):
                sent = Delivery(id="1", received_at=world.host.now(), headers=tuple(headers.items()), body=body)
                try:
                    receipt = world.host.adapter.receive(sent)
                except DeliveryRejected as error:
                    promise(str(error), "DeliveryRejected without a reason")
                except Exception as error:
                    raise PromiseBroken(f"the delivery {body!r} ends in {type(error).__name__}: {error}") from error
                else:
                    promise(not receipt.observations, f"the delivery {body!r} is told as {receipt.observations!r:.200}")


def delivery(world: World, run: ScriptedRun) -> Delivery:
    """What the engine pushes about a run, as the host hands it on."""
    headers, body = world.engine.delivery(run)
    return Delivery(
        id=f"{run.number}-{run.change}", received_at=world.host.now(), headers=tuple(headers.items()), body=body
    )


def _drain(pages: Any) -> list[Page]:
    return [page for page in pages if page.observations][:1]


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("status", "native_status", "workflow", "started_at", "finished_at", "attempt")}
