"""What the daemon does beside polling: deliver events, end quiet Runs, write feed health down, keep the tables small.

`service` runs each chore in its time, on threads of their own: no engine delays them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from runlink.application.rules.rules import Rules
from runlink.application.runs import end_quiet_runs, flag_silent_runs
from runlink.application.settings import Retention
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.feed import EngineFeed
from runlink.daemon.receive import ReceiveFeed
from runlink.daemon.relay import ACTOR, Relay
from runlink.daemon.watch import WatchFeed
from runlink.store import SqlStore, SqlUnitOfWork
from runlink.store.feed_health import FeedHealthRow
from runlink.store.retention import prune

T = TypeVar("T")

EVERY_S: Final[Mapping[str, float]] = {
    "relay": 1.0,
    "quiet": 1.0,
    "silent": 15.0,
    "fence": 5.0,
    "health": 10.0,
    "pruning": 3600.0,
}
"""How often each chore is done, in seconds. The first time is no later than FIRST_S."""
FIRST_S: Final = 2.0


class Chores:
    """The house-keeping of one daemon. `rules` and `retention` follow the configuration.

    feeds     whose health is written down
    dispatch  sends events to subscriptions
    fence   the daemon's fencing token: every write checks it, and raises FenceLost when another has taken over
    """

    def __init__(
        self,
        store: SqlStore,
        relay: Relay,
        feeds: Callable[[], Iterable[EngineFeed | WatchFeed | ReceiveFeed]],
        *,
        rules: Rules,
        retention: Retention,
        now: Callable[[], datetime],
        fence: int | None,
        dispatch: Dispatch | None = None,
    ) -> None:
        self.rules = rules
        self.retention = retention
        self._store = store
        self._relay = relay
        self.dispatch = dispatch or Dispatch(store, (), now, fence)
        self._feeds = feeds
        self._now = now
        self._fence = fence
        self._written: dict[tuple[UUID, str], FeedHealthRow] = {}

    def do(self, name: str) -> None:
        """One chore of EVERY_S, or `deliver NAME`, or `send NAME`."""
        if name.startswith("deliver "):
            self._relay.deliver(name.removeprefix("deliver "))
        elif name.startswith("send "):
            self.dispatch.deliver(name.removeprefix("send "))
        else:
            getattr(self, name)()

    def deliveries(self) -> list[str]:
        """A chore for each subscriber, and for each subscription."""
        return [f"deliver {name}" for name in self._relay.names] + [f"send {name}" for name in self.dispatch.names]

    def stop(self) -> None:
        """Ends deliveries before their next event."""
        self._relay.stop()
        self.dispatch.stop()

    def enrol(self) -> None:
        """Gives whoever is new its place among the events. Comes before any feed's turn."""
        self._relay.enrol()
        self.dispatch.enrol()

    def relay(self) -> None:
        """Takes what is new to where it waits for each subscription; the deliveries follow."""
        self.dispatch.place()

    def quiet(self) -> None:
        """Completes Runs that have waited long enough for more instances."""
        self._write(lambda uow: end_quiet_runs(uow, self.rules, self._now()))

    def silent(self) -> None:
        """Flags Runs that were too long without news."""
        if self.rules.silence_limits():
            self._write(lambda uow: flag_silent_runs(uow, self.rules, self._now()))

    def fence(self) -> None:
        """Finds out that another daemon took over, also when there is nothing to write."""
        self._write(lambda _uow: None)

    def health(self) -> None:
        """Writes down how feeds are doing, where that changed."""
        rows = {(row.engine_id, row.feed): row for row in (feed.health_row() for feed in self._feeds())}
        news = [row for name, row in rows.items() if self._written.get(name) != row]
        if news:
            self._write(lambda uow: uow.feed_health.store(news))
        self._written = rows

    def pruning(self) -> None:
        """Removes what is older than its time, in short transactions."""
        while not self._write(lambda uow: prune(uow, self.retention, self._now())).is_done:
            pass

    def _write(self, work: Callable[[SqlUnitOfWork], T]) -> T:
        def fenced(uow: SqlUnitOfWork) -> T:
            self._check(uow)
            return work(uow)

        return self._store.write(fenced, actor=ACTOR)

    def _check(self, uow: Any) -> None:
        if self._fence is not None:
            uow.ledger.check_fence(self._fence)
