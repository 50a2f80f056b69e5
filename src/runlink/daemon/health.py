"""How a feed is doing, and what is said of it: one line when it is lost, one when it is back. `feed` comes here."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from runlink.application.ingest.ingest import Outcome, Tally
from runlink.hosting.isolation import Process
from runlink.store.feed_health import FeedHealthRow

log = logging.getLogger("runlink.feeds")

STATES = ("new", "ok", "missing", "lost", "denied", "stopped", "faulty")
"""Every state there is; docs/reference/feed-states.md says of each what to do."""

RESULTS = ("new", "changed", "same", "stale", "quarantined")
"""What an engine told is new, changes something, is known, is older than what is known, or cannot be taken in."""

AnyLogger = logging.Logger | logging.LoggerAdapter[logging.Logger]


@dataclass(slots=True)
class Health:
    """The health of one engine's feed; `since` is when the present state began. `results` and `fates` are as in Tally.

    The last error stays, with its time, when the feed is well again: whoever looks later sees what happened.

    A state is told to the log once per outage, however often the feed moves between states before it is back.
    """

    engine: str
    state: str = "new"
    since: datetime | None = None
    last_success_at: datetime | None = None
    last_news_at: datetime | None = None
    relists: int = 0
    failures: int = 0
    last_error: str | None = None
    last_error_at: datetime | None = None
    last_duration_s: float | None = None
    requests: int = 0
    skew_s: float | None = None
    told: int = 0
    missed: int = 0
    restarts: int = 0
    results: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    _lost_at: datetime | None = None
    _told: set[str] = field(default_factory=set)
    _set_aside: int = 0

    def failed(
        self,
        state: str,
        text: str,
        now: datetime,
        bug: BaseException | None = None,
        logger: AnyLogger = log,
        *,
        counts: bool = True,
    ) -> None:
        """One more failure; `bug` is logged with its traceback, by a `logger` that redacts it."""
        if state not in self._told:
            self._told.add(state)
            if bug is None:
                log.warning("%s: %s: %s", self.engine, state, text)
            else:
                logger.error("%s: %s: %s (a bug of the adapter, or of runlink)", self.engine, state, text, exc_info=bug)
        if self.state != state:
            self.state, self.since = state, now
        self._lost_at = self._lost_at or now
        self.failures += counts
        self.last_error, self.last_error_at = text, now

    def succeeded(self, now: datetime, duration_s: float) -> None:
        """A turn that ended well."""
        if self._lost_at is not None:
            log.info("%s: back after %.0f s", self.engine, (now - self._lost_at).total_seconds())
        if self.state != "ok":
            self.state, self.since = "ok", now
        self.last_success_at, self.failures = now, 0
        self.last_duration_s = duration_s
        self._lost_at = None
        self._told.clear()

    def took_in(self, outcome: Outcome) -> None:
        """One more page, or delivery."""
        for result in RESULTS:
            self.results[result] += getattr(outcome, result)

    def tally(self, engine_id: UUID, kind: str) -> Tally:
        """What it took in since the start."""
        return Tally(engine_id, kind, dict(self.results), dict(self.fates))

    def row(self, engine_id: UUID, kind: str, process: Process | None = None) -> FeedHealthRow:
        """As it is stored; `process` is that of an isolated adapter."""
        if process is not None and process.is_lost:
            process = None
        return FeedHealthRow(
            engine_id=engine_id,
            feed=kind,
            state=self.state,
            since=self.since,
            last_success_at=self.last_success_at,
            last_news_at=self.last_news_at,
            relists=self.relists,
            failures=self.failures,
            last_error=self.last_error,
            last_duration_s=self.last_duration_s,
            requests=self.requests,
            skew_s=self.skew_s,
            told=self.told,
            missed=self.missed,
            last_error_at=self.last_error_at,
            pid=process.pid if process is not None else None,
            process_started_at=process.started_at if process is not None else None,
            restarts=self.restarts,
        )

    def set_aside(self, items: int) -> None:
        """How many items the last turn quarantined; said once while each turn shows the same ones again."""
        if items > self._set_aside:
            log.warning("%s: %d items set aside; see `runlink quarantine`", self.engine, items)
        self._set_aside = items
