"""One turn of a feed: read what the engine shows, page by page, into the store; then read again what is still open.

A turn is a function of (engine, feed, stored cursors). It keeps nothing in memory that the next one would need.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import msgspec

from runlink.application import tracing
from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import Outcome, PageRefused, ingest
from runlink.application.ports import Store, UnitOfWork
from runlink.application.rules.rules import Rules
from runlink.application.settings import EngineSettings
from runlink.daemon.errors import AdapterMisbehaved, StoreTrouble, TurnGivenUp
from runlink.daemon.pages import checked, streamed
from runlink.domain import ConcurrencyError, Engine
from runlink.spi import Adapter, CursorExpired, Page, Polls, Receives, Refetches, Watches
from runlink.store import outage

T = TypeVar("T")

BACKFILL = "backfill"
REFETCH_AT_ONCE = 500
STEPS_AT_ONCE = 50


@dataclass(slots=True)
class Turn:
    """A running turn: where the host says that it must end, and what it came to so far.

    deadline         on the monotonic clock
    interrupted_at   when the host closed the turn's connections under it
    thread           the thread it runs on
    shown_open       external ids that the poll showed and that have not ended: they need no refetch
    wants_steps      whether to look for linked instances that ended and whose steps were not read, though nothing new
                     came in this turn; afterwards, whether there are more of them
    """

    deadline: float
    given_up: threading.Event = field(default_factory=threading.Event)
    interrupted_at: float | None = None
    thread: threading.Thread = field(default_factory=threading.current_thread)
    total: Outcome = field(default_factory=Outcome)
    shown_open: set[str] = field(default_factory=set)
    wants_steps: bool = True

    def check(self) -> None:
        """Raises TurnGivenUp when the turn must end."""
        self.check_held()
        if time.monotonic() > self.deadline:
            raise TurnGivenUp("the turn's time is up (poll_deadline_s)")

    def check_held(self) -> None:
        """Raises TurnGivenUp when the host let go of the turn."""
        if self.given_up.is_set():
            raise TurnGivenUp("the host let go of this turn")


@dataclass(frozen=True, slots=True)
class Source:
    """One engine as a turn needs it. `rules_now` gives the rules in force: a watch goes on while they change."""

    engine: Engine
    settings: EngineSettings
    adapter: Adapter
    rules_now: Callable[[], Rules]
    store: Store
    now: Callable[[], datetime]
    fence: int | None = None
    on_page: Callable[[Outcome], None] = field(default=lambda _outcome: None)

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.rules_now()

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """What `work` reads. Raises StoreTrouble."""
        try:
            with self.store.reading() as uow:
                return work(uow)
        except Exception as error:
            raise _told(error) from error

    def write(self, turn: Turn, work: Callable[[UnitOfWork], T]) -> T:
        """What `work` gave, once it is committed; nothing is, when the turn was given up or the lease is another's.

        Raises what `work` raises, TurnGivenUp, FenceLost, and StoreTrouble.
        """

        def guarded(uow: UnitOfWork) -> T:
            turn.check()
            if self.fence is not None:
                uow.ledger.check_fence(self.fence)
            result = work(uow)
            turn.check_held()
            return result

        try:
            return self.store.write(guarded, actor=f"engine:{self.engine.name}")
        except Exception as error:
            raise _told(error) from error


def _told(error: Exception) -> Exception:
    trouble = outage(error)
    return error if trouble is None else StoreTrouble(f"the store: {trouble}")


def poll_turn(source: Source, turn: Turn, *, backfill: bool = False, afresh: bool = False) -> Outcome:
    """One poll, then a refetch of what is open and was not shown. Raises what the adapter raises.

    A cursor that has expired is forgotten and the poll begins again from the look-back window, once. The engine's first
    turn that ends well is its baseline; one that broke off is begun again as such. A backfill begins at its own window
    and leaves the poll's cursors alone. `afresh` says that the cursors are known to have expired.
    """
    began_at = source.now()
    feed = BACKFILL if backfill else "poll"
    stored = {} if backfill else source.read(lambda uow: uow.ledger.cursors(source.engine.id, feed))
    first = source.read(lambda uow: uow.ledger.baseline_at(source.engine.id)) is None and not backfill
    read = Read(feed=feed, began_at=began_at, baseline=first, fence=source.fence)
    adapter = source.adapter
    if isinstance(adapter, Polls):
        _poll(source, turn, read, adapter, stored, afresh=afresh)
    elif not isinstance(adapter, Receives):
        raise AdapterMisbehaved(f"the adapter {adapter.name!r} neither polls nor receives; nothing is learnt from it")
    if isinstance(adapter, Refetches):
        _refetch(source, turn, adapter, baseline=first)
    if first:
        source.write(turn, lambda uow: uow.ledger.finish_baseline(source.engine.id, source.now()))
    return turn.total


def watch_turn(source: Source, turn: Turn, alive: Callable[[Page], None]) -> None:
    """Follows the stream from where the poll, or the last watch, ended, until it ends. Raises what the adapter raises.

    A page is stored, with its cursors, before the next is asked for; then `alive` is called, also with a heartbeat.
    """
    adapter = source.adapter
    if not isinstance(adapter, Watches):
        raise AdapterMisbehaved(f"the adapter {adapter.name!r} has no watch")
    stored = source.read(lambda uow: uow.ledger.cursors(source.engine.id, "poll"))
    began_at = source.now()
    pages = adapter.watch(dict(stored))
    try:
        for page in streamed(pages, turn.check, source.settings.wants):
            read = Read(feed="watch", began_at=began_at, fence=source.fence)
            _take_one(source, turn, read, page, ())
            turn.shown_open.clear()
            alive(page)
            began_at = source.now()
    finally:
        if isinstance(pages, Generator):  # it lets go of its connection now, not when it is collected
            pages.close()


def _poll(source: Source, turn: Turn, read: Read, adapter: Polls, stored: Mapping[str, str], *, afresh: bool) -> None:
    try:
        given = {} if afresh else dict(stored)
        _take(source, turn, read, adapter.poll(given), forget=tuple(stored) if afresh else ())
    except CursorExpired:
        if not given:
            raise
        _take(source, turn, read, adapter.poll({}), forget=tuple(stored))


def refetch(source: Source, turn: Turn, adapter: Refetches, ids: Sequence[str], *, baseline: bool = False) -> None:
    """Reads these instances as they are now. Raises what the adapter raises."""
    for start in range(0, len(ids), REFETCH_AT_ONCE):
        read = Read(feed="refetch", began_at=source.now(), baseline=baseline, fence=source.fence)
        _take(source, turn, read, adapter.refetch(ids[start : start + REFETCH_AT_ONCE]))


def _refetch(source: Source, turn: Turn, adapter: Refetches, *, baseline: bool) -> None:
    """Reads again what is open, also where `include` no longer wants it: what was begun is followed to its end."""
    engine_id = source.engine.id
    still_open = source.read(lambda uow: uow.ledger.open_instances(engine_id))
    ids = [name for name in still_open if name not in turn.shown_open]
    if adapter.steps_on_refetch and (turn.wants_steps or turn.total.new or turn.total.changed):
        wanted = source.read(lambda uow: uow.ledger.steps_wanted(engine_id, STEPS_AT_ONCE))
        turn.wants_steps = len(wanted) == STEPS_AT_ONCE
        ids += wanted
    refetch(source, turn, adapter, list(dict.fromkeys(ids)), baseline=baseline)


def _take(source: Source, turn: Turn, read: Read, pages: Iterator[Page], forget: tuple[str, ...] = ()) -> None:
    """Stores pages as they come. The first one takes the place of the cursors to `forget`."""
    wants = None if read.feed == "refetch" else source.settings.wants
    for page in checked(pages, turn.check, wants):
        _take_one(source, turn, read, page, forget)
        forget = ()
    if forget:
        _take_one(source, turn, read, Page(), forget)


def _take_one(source: Source, turn: Turn, read: Read, page: Page, forget: tuple[str, ...]) -> None:
    if forget:
        page = msgspec.structs.replace(page, cursors={**dict.fromkeys(forget), **page.cursors})
    if read.feed == BACKFILL:
        page = msgspec.structs.replace(page, cursors={})
    if page.observations or page.cursors or page.gone or page.unreadable:
        outcome = _store(source, turn, page, read)
        turn.total.add(outcome)
        turn.shown_open.update(o.external_id for o in page.observations if not o.status.is_ended)
        source.on_page(outcome)


# --- into the store ------------------------------------------------------------------------------------------------


def _store(source: Source, turn: Turn, page: Page, read: Read) -> Outcome:
    """The page, in one transaction."""
    told: dict[str, tracing.Value] = {
        "runlink.engine": source.engine.name,
        "runlink.feed": read.feed,
        "runlink.observations": len(page.observations),
    }
    with tracing.span("ingest", told) as span:
        outcome = _written(source, turn, page, read)
        span.set("runlink.new", outcome.new)
        span.set("runlink.changed", outcome.changed)
    return outcome


def _written(source: Source, turn: Turn, page: Page, read: Read) -> Outcome:
    limit = source.settings.max_metadata_bytes * 2

    def work(uow: UnitOfWork) -> Outcome:
        return ingest(uow, source.rules, source.engine, page, read, source.now(), max_bytes=limit)

    for _ in range(3):
        try:
            return source.write(turn, work)
        except ConcurrencyError:  # somebody changed a row by hand in between: read again and repeat
            continue
        except PageRefused as error:
            raise AdapterMisbehaved(str(error)) from error
    return source.write(turn, work)
