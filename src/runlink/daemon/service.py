"""The daemon: every engine's feed in its time, and the house-keeping between. One broken engine delays no other."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from uuid import UUID

from runlink.application.errors import FenceLost
from runlink.application.ingest.ingest import Tally
from runlink.application.rules.rules import Rules
from runlink.application.settings import Settings
from runlink.daemon.chores import EVERY_S, FIRST_S, Chores
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.errors import words
from runlink.daemon.feed import EngineFeed
from runlink.daemon.receive import ReceiveFeed
from runlink.daemon.relay import Relay
from runlink.daemon.watch import WatchFeed
from runlink.daemon.workers import Workers
from runlink.hosting.meters import Budget
from runlink.store import SqlStore, outage
from runlink.store.event_log import Committed
from runlink.store.feed_health import FeedHealthRow

log = logging.getLogger(__name__)

Feed = EngineFeed | WatchFeed | ReceiveFeed
Work = str | Feed
"""What is scheduled: a chore by its name, a poll, a watch, deliveries."""

AFTER_A_BUG_S = 60.0
"""When a feed is tried again after a bug of ours ended its turn."""


class Daemon:
    """Runs feeds until it is told to stop.

    fence     the fencing token of the lease this daemon runs under; None without one
    workers   how many turns run at a time
    every_s   how often each chore is done (chores.EVERY_S)
    """

    def __init__(
        self,
        store: SqlStore,
        settings: Settings,
        rules: Rules,
        feeds: Mapping[str, EngineFeed],
        relay: Relay,
        *,
        now: Callable[[], datetime],
        fence: int | None = None,
        dispatch: Dispatch | None = None,
        workers: int = 16,
        every_s: Mapping[str, float] = EVERY_S,
    ) -> None:
        self.feeds = dict(feeds)
        self._every_s = every_s
        self._chores = Chores(
            store,
            relay,
            self._every_feed,
            rules=rules,
            retention=settings.retention,
            now=now,
            fence=fence,
            dispatch=dispatch,
        )
        self._workers = Workers(workers)
        self._receive_workers = Workers(workers, name="runlink-receive")  # no delivery waits for a poll
        self._chore_workers = Workers(4, name="runlink-chore")
        self._watch_workers = Workers(10_000, name="runlink-watch")  # a stream holds its thread
        self._condition = threading.Condition()
        self._store = store
        self._due: list[tuple[float, int, Work]] = []
        self._order = itertools.count()
        self._running: dict[Work, object] = {}
        self._retry: set[Work] = set()  # in a turn when the configuration changed: it may be the turn that stops it
        self._stopping = False
        self._relay_is_due = False
        self._failure: FenceLost | None = None
        self._ailing: set[str] = set()
        self._now = now
        self._watches: dict[EngineFeed, WatchFeed] = {}
        self._watches = self._watches_of(self.feeds)
        self._receivers: dict[EngineFeed, ReceiveFeed] = {}
        self._receivers = self._receivers_of(self.feeds)

    @property
    def rules(self) -> Rules:
        """The present link rules."""
        return self._chores.rules

    def health_rows(self) -> list[FeedHealthRow]:
        """How the feeds are doing now. May be called from any thread."""
        with self._condition:
            feeds = self._every_feed()
        return [feed.health_row() for feed in feeds]

    def tallies(self) -> list[Tally]:
        """What the feeds took in since the start. May be called from any thread."""
        with self._condition:
            feeds = self._every_feed()
        return [feed.health.tally(feed.engine.id, feed.kind) for feed in feeds]

    def budgets(self) -> dict[UUID, Budget | None]:
        """What is left of each engine's request budget, by its id. May be called from any thread."""
        with self._condition:
            feeds = list(self.feeds.values())
        return {feed.engine.id: feed.budget for feed in feeds}

    def answers(self) -> dict[UUID, dict[str, int]]:
        """How often which status each engine answered since the start, by its id. May be called from any thread."""
        with self._condition:
            feeds = list(self.feeds.values())
        return {feed.engine.id: feed.answers for feed in feeds}

    # --- the loop ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Works until `stop`; then ends within 5 seconds, whatever hangs.

        Raises FenceLost when another daemon took over the store: nothing is written from then on.
        """
        self._chores.enrol()
        with self._condition:
            for feed in self._every_feed():
                self._schedule(0.0, feed)
            for chore, every_s in self._every_s.items():
                self._schedule(min(every_s, FIRST_S), chore)
        forget = self._store.listen(self._relay_now)
        try:
            while self._wait():
                self._watch_over()
        finally:
            forget()
        self._shut_down()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ends `run`. May be called from a signal handler."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def replace(self, settings: Settings, rules: Rules, feeds: Mapping[str, EngineFeed]) -> None:
        """A new configuration: `feeds` holds the old object for each engine that did not change.

        Feeds that had stopped are tried again at once, and so are those whose credentials were refused: these are
        read again. A new feed waits until the old one of its engine has let go.
        """
        with self._condition:
            gone = [feed for name, feed in self.feeds.items() if feeds.get(name) is not feed]
            for feed in gone:
                if feed in self._watches:
                    self._watches.pop(feed).close()
                if feed in self._receivers:
                    self._receivers.pop(feed).close()
                feed.close()
            self.feeds = dict(feeds)
            self._watches = self._watches_of(self.feeds)
            self._receivers = self._receivers_of(self.feeds)
            self._chores.rules, self._chores.retention = rules, settings.retention
            self._chores.dispatch.subscriptions = settings.subscriptions
            self._due = [entry for entry in self._due if self._is_current(entry[2]) and not _is_denied(entry[2])]
            heapq.heapify(self._due)
            waiting = {entry[2] for entry in self._due}
            for feed in feeds.values():
                feed.rules = rules
            if "relay" in self._running:
                self._relay_is_due = True
            else:
                self._schedule_now("relay")  # a new subscription has its place from now on
            for one in self._every_feed():
                if one in self._running:
                    self._retry.add(one)
                elif one not in waiting:
                    self._schedule(0.0, one)

    def _wait(self) -> bool:
        """Starts what is due, then waits for the next, a second at most; False to stop."""
        with self._condition:
            if self._stopping:
                return False
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._start(heapq.heappop(self._due)[2])
            until = self._due[0][0] - now if self._due else 1.0
            self._condition.wait(max(0.0, min(until, 1.0)))
            return not self._stopping

    def deliver_now(self, engine: str) -> None:
        """A delivery of this engine was stored. May be called from any thread."""
        with self._condition:
            feed = self._receivers.get(self.feeds[engine]) if engine in self.feeds else None
            if feed is None:
                return
            if feed in self._running:
                self._retry.add(feed)
            else:
                self._schedule_now(feed)

    def _every_feed(self) -> list[Feed]:
        return [*self._watches.values(), *self._receivers.values(), *self.feeds.values()]

    def _receivers_of(self, feeds: Mapping[str, EngineFeed]) -> dict[EngineFeed, ReceiveFeed]:
        """What takes in deliveries, for each engine that may push, the present ones kept."""
        return {
            feed: self._receivers.get(feed) or ReceiveFeed(feed, now=self._now)
            for feed in feeds.values()
            if feed.receives
        }

    def _watches_of(self, feeds: Mapping[str, EngineFeed]) -> dict[EngineFeed, WatchFeed]:
        """A watch for each poll that has one, the present ones kept."""
        return {
            feed: self._watches.get(feed) or WatchFeed(feed, now=self._now, poll_now=self._poll_now)
            for feed in feeds.values()
            if feed.watches
        }

    def _relay_now(self, _committed: Committed) -> None:
        """Something happened: it is delivered at once, where anybody wants it."""
        if not self._chores.deliveries():
            return
        with self._condition:
            if self._relay_is_due or self._stopping:
                return
            if "relay" in self._running:
                self._relay_is_due = True  # it may have looked before the commit
                return
            if self._due and self._due[0][2] == "relay" and self._due[0][0] <= time.monotonic():
                return
            self._schedule_now("relay")

    def _poll_now(self, feed: EngineFeed) -> None:
        with self._condition:
            if feed not in self._running and self._is_current(feed):
                self._schedule_now(feed)

    def _schedule_now(self, what: Work) -> None:
        self._due = [entry for entry in self._due if entry[2] != what]
        heapq.heapify(self._due)
        self._schedule(0.0, what)

    def _is_current(self, what: Work) -> bool:
        if isinstance(what, str):
            return True
        poll = what if isinstance(what, EngineFeed) else what.poll
        return self.feeds.get(poll.engine.name) is poll

    def _start(self, what: Work) -> None:
        token = object()
        if isinstance(what, str):
            self._running[what] = token
            self._chore_workers.submit(what, partial(self._chore, what))
        elif not self._is_current(what) or what in self._running:
            return
        elif any(type(one) is type(what) and one.engine.id == what.engine.id for one in self._running_feeds()):
            self._schedule(0.2, what)  # its predecessor, from before a reload, is still letting go
        else:
            self._running[what] = token
            self._workers_of(what).submit(what, partial(self._turn, what, token))

    def _workers_of(self, feed: Feed) -> Workers:
        if isinstance(feed, EngineFeed):
            return self._workers
        return self._watch_workers if isinstance(feed, WatchFeed) else self._receive_workers

    def _running_feeds(self) -> list[Feed]:
        return [one for one in self._running if not isinstance(one, str)]

    def _schedule(self, wait_s: float, what: Work) -> None:
        heapq.heappush(self._due, (time.monotonic() + wait_s, next(self._order), what))
        self._condition.notify_all()

    def _turn(self, feed: Feed, token: object) -> None:
        wait_s: float | None = AFTER_A_BUG_S
        try:
            wait_s = feed.run()
        except FenceLost as error:
            self._end(error)
        except Exception:
            log.exception("%s: a bug of runlink ended a turn; it is tried again", feed.engine.name)
        with self._condition:
            if self._running.get(feed) is token:  # otherwise abandoned: it has been scheduled anew
                del self._running[feed]
                self._again(feed, wait_s)

    def _again(self, feed: Feed, wait_s: float | None) -> None:
        if feed in self._retry:
            self._retry.discard(feed)
            wait_s = 0.0 if wait_s is None else wait_s
        if wait_s is not None and not self._stopping and self._is_current(feed):
            self._schedule(wait_s, feed)

    def _watch_over(self) -> None:
        """Turns past their deadline: their connections are closed under them, and in the end they are abandoned."""
        with self._condition:
            feeds = [one for one in self._running if isinstance(one, EngineFeed | ReceiveFeed)]
        for feed in feeds:
            if feed.is_overdue():
                self._abandon(feed)
        self._workers.grow()
        self._receive_workers.grow()
        self._chore_workers.grow()

    def _abandon(self, feed: EngineFeed | ReceiveFeed) -> None:
        with self._condition:
            wait_s = feed.abandon() if feed in self._running else None
            if wait_s is not None:
                del self._running[feed]
                self._workers_of(feed).abandon(feed)
                self._again(feed, wait_s)

    # --- house-keeping -----------------------------------------------------------------------------------------

    def _chore(self, name: str) -> None:
        try:
            self._chores.do(name)
            self._ailing.discard(name)
        except FenceLost as error:
            self._end(error)
        except Exception as error:
            if name not in self._ailing:
                self._ailing.add(name)
                trouble = outage(error)
                trace = error if trouble is None else None
                log.warning("%s failed, and is tried again: %s", name, trouble or words(error), exc_info=trace)
        with self._condition:
            self._running.pop(name, None)
            if self._stopping:
                return
            if name in self._every_s:
                at_once = name == "relay" and self._relay_is_due
                self._relay_is_due = self._relay_is_due and not at_once
                self._schedule(0.0 if at_once else self._every_s[name], name)
            if name == "relay":
                for delivery in self._chores.deliveries():
                    if delivery not in self._running:
                        self._start(delivery)

    def _end(self, error: FenceLost) -> None:
        with self._condition:
            self._failure = self._failure or error
        self.stop()

    def _shut_down(self) -> None:
        """Lets everything go: 5 seconds in all."""
        self._chores.stop()
        for feed in self._every_feed():
            feed.close()
        if not self._workers.close(wait_s=2.5):
            log.warning("some turns did not end in time; they are left behind, and nothing of them is stored")
        self._receive_workers.close(wait_s=0.5)
        self._watch_workers.close(wait_s=0.5)
        self._chore_workers.close(wait_s=1.0)
        if self._failure is None:
            last = threading.Thread(target=self._last_health, name="runlink-last-health", daemon=True)
            last.start()
            last.join(1.0)

    def _last_health(self) -> None:
        try:
            self._chores.health()
        except FenceLost as error:
            self._failure = error
        except Exception:
            log.exception("the last state of the feeds could not be written")


def _is_denied(what: Work) -> bool:
    return not isinstance(what, str) and what.health.state == "denied"
