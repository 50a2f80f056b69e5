"""One engine's watch: the stream that its adapter follows beside the poll, for adapters that have one.

It uses the poll's adapter, in a thread of its own, and the poll's cursors. The poll stays behind it, slowly, and comes
at once when the stream says that its place is no longer known.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime

from runlink.application.errors import FenceLost
from runlink.daemon.backoff import react
from runlink.daemon.errors import TurnGivenUp, words
from runlink.daemon.feed import EngineFeed
from runlink.daemon.health import Health
from runlink.daemon.turn import Turn, watch_turn
from runlink.hosting import HostedAdapter
from runlink.spi import CursorExpired, Page
from runlink.store.feed_health import FeedHealthRow

WAIT_S = 1.0
"""How soon it is looked again whether the poll has made a place to watch from."""
AGAIN_S = 0.2
"""How soon a stream that ended is taken up again."""


class WatchFeed:
    """Watches beside `poll`. `run` is called for each stream, from one worker at a time; the rest from anywhere.

    poll_now   makes the poll come at once
    """

    kind = "watch"

    def __init__(
        self, poll: EngineFeed, *, now: Callable[[], datetime], poll_now: Callable[[EngineFeed], None]
    ) -> None:
        self.poll = poll
        self.engine = poll.engine
        self.health = Health(f"{poll.engine.name} (watch)")
        self._now = now
        self._poll_now = poll_now
        self._lock = threading.Lock()
        self._turn: Turn | None = None
        self._expired_at: datetime | None = None
        self._closed = False

    def run(self) -> float | None:
        """Follows one stream to its end; returns seconds until the next, None when there is to be none.

        Raises FenceLost, nothing else.
        """
        hosted = self._ready()
        if hosted is None:
            return None if self._closed else WAIT_S
        turn = Turn(deadline=math.inf)
        with self._lock:
            if self._closed:
                return None
            self._turn = turn
        started = time.monotonic()
        try:
            hosted.guard.begin_turn(None)
            watch_turn(self.poll.source(hosted, self.health), turn, self._alive)
        except FenceLost:
            raise
        except CursorExpired as error:
            return self._expired(error)
        except BaseException as error:  # noqa: BLE001 - plugin code: whatever it raises ends this stream and no more
            return self._failed(error, hosted)
        self.health.succeeded(self._now(), time.monotonic() - started)
        return None if self._closed else AGAIN_S

    def _ready(self) -> HostedAdapter | None:
        """The poll's adapter, once a poll has ended well since the last expiry."""
        hosted, polled_at = self.poll.hosted, self.poll.health.last_success_at
        if self._closed or hosted is None or self.poll.health.state != "ok" or polled_at is None:
            return None
        if self._expired_at is not None and polled_at <= self._expired_at:
            return None
        return hosted

    def _alive(self, page: Page) -> None:
        now = self._now()
        self.health.succeeded(now, 0.0)
        if page.observations:
            self.health.last_news_at = now

    def _expired(self, error: CursorExpired) -> float:
        self._expired_at = self._now()
        self.health.relists += 1
        self.health.failed("lost", f"{words(error)}; polling again", self._now())
        self.poll.expire()
        self._poll_now(self.poll)
        return WAIT_S

    def _failed(self, error: BaseException, hosted: HostedAdapter) -> float | None:
        if self._closed or isinstance(error, TurnGivenUp):
            return None if self._closed else AGAIN_S
        if hosted.is_lost:
            self._poll_now(self.poll)  # which makes another
        elif self.poll.hosted is not hosted:  # the poll has renewed the adapter under the stream
            return AGAIN_S
        reaction = react(error, self.health.failures + 1, random.random())  # noqa: S311 - spreading, not secrecy
        text = hosted.redact(words(error))[:1000]
        bug = error if reaction.bug else None
        self.health.failed(reaction.state, text, self._now(), bug, hosted.context.log)
        return reaction.wait_s

    def close(self) -> None:
        """No more streams; the poll's `close` takes the connection away under the running one. May be repeated."""
        with self._lock:
            self._closed = True
            if self._turn is not None:
                self._turn.given_up.set()

    def health_row(self) -> FeedHealthRow:
        """The health as it is stored."""
        return self.health.row(self.engine.id, self.kind)
