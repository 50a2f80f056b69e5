"""What the server needs of the rest of runlink. Bootstrap fills it in; every part of this room gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from prometheus_client.core import Metric

from runlink.application.ingest.ingest import Tally
from runlink.application.rules.rules import Rules
from runlink.application.settings import ServerSettings
from runlink.hosting.meters import Budget
from runlink.store import SqlStore
from runlink.store.feed_health import FeedHealthRow


def _no_feeds() -> Sequence[FeedHealthRow]:
    return ()


def _no_tallies() -> Sequence[Tally]:
    return ()


def _no_arrivals() -> Iterable[Metric]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Service:
    """The record, and what is known of the process beside it.

    rules     the present link rules
    feeds     how the feeds of this process are doing now
    budgets   what is left of each engine's request budget, by its id
    answers   how often which status each engine answered, by its id
    plugins   what is loaded, a row each, as `runlink plugins list` shows it
    tallies   what the feeds of this process took in since its start
    arrivals  what the hooks measured
    arrived   how many deliveries they took in since the start
    """

    store: SqlStore
    settings: ServerSettings
    now: Callable[[], datetime]
    rules: Callable[[], Rules] = Rules
    feeds: Callable[[], Sequence[FeedHealthRow]] = _no_feeds
    budgets: Callable[[], Mapping[UUID, Budget | None]] = dict
    answers: Callable[[], Mapping[UUID, Mapping[str, int]]] = dict
    plugins: Callable[[], Sequence[dict[str, Any]]] = field(default=list)
    tallies: Callable[[], Sequence[Tally]] = _no_tallies
    arrivals: Callable[[], Iterable[Metric]] = _no_arrivals
    arrived: Callable[[], int] = int

    def notable(self) -> dict[str, object]:
        """What a notice of the stream stands for, by its name, to be compared with what it was before."""
        tallies = self.tallies()
        pushed = [(one.engine_id, one.feed, one.fates, one.results.get("quarantined")) for one in tallies]
        return {
            "engines.changed": list(self.feeds()),
            "deliveries.changed": (self.arrived(), pushed),
        }
