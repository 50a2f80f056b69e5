"""What is measured of deliveries on their way in, and of events on their way out. `metrics` and `hooks` come here."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from runlink.http.service import Service
from runlink.store import SqlUnitOfWork

NAMES: Final = (
    "runlink_events_total",
    "runlink_deliveries_received_total",
    "runlink_delivery_duration_seconds",
    "runlink_deliveries_processed_total",
    "runlink_deliveries",
    "runlink_deliveries_overdue_seconds",
    "runlink_push_told_total",
    "runlink_push_missed_total",
    "runlink_subscription_events",
)
SOURCES: Final = {"poll": "poll", "watch": "watch", "receive": "webhook"}
_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Arrivals:
    """What became of the requests that brought deliveries, since the start. Counted by one thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: Counter[tuple[str, str]] = Counter()
        self._within: Counter[int] = Counter()
        self._sum_s = 0.0
        self._accepted = 0

    @property
    def accepted(self) -> int:
        """How many were new."""
        return self._accepted

    def count(self, engine: str, result: str, took_s: float) -> None:
        """One more; `engine` is empty where none has the name that was asked for."""
        with self._lock:
            self._results[engine, result] += 1
            self._accepted += result == "accepted"
            if result in ("accepted", "duplicate"):
                self._within[bisect_left(_BOUNDS_S, took_s)] += 1
                self._sum_s += took_s

    def collect(self) -> Iterator[Metric]:
        """As metrics."""
        with self._lock:
            results, within, sum_s = dict(self._results), Counter(self._within), self._sum_s
        received = CounterMetricFamily(
            "runlink_deliveries_received", "Deliveries by what was answered.", labels=["engine", "result"]
        )
        for labels, count in results.items():
            received.add_metric(labels, count)
        duration = HistogramMetricFamily("runlink_delivery_duration_seconds", "From request to 202.", labels=[])
        bounds = (*(str(bound) for bound in _BOUNDS_S), "+Inf")
        duration.add_metric(
            [], list(zip(bounds, accumulate(within[n] for n in range(len(bounds))), strict=True)), sum_s
        )
        yield from (received, duration)


def processed(service: Service, engines: dict[UUID, tuple[str, str]]) -> Iterator[Metric]:
    """What feeds took in since the start, and what became of deliveries."""
    events = CounterMetricFamily(
        "runlink_events",
        "What engines told of instances, by feed and by what was news of it.",
        labels=["source", "result"],
    )
    fates = CounterMetricFamily(
        "runlink_deliveries_processed", "Deliveries that were tried.", labels=["engine", "result"]
    )
    results: Counter[tuple[str, str]] = Counter()
    for tally in service.tallies():
        for result, count in tally.results.items():
            results[SOURCES.get(tally.feed, tally.feed), result] += count
        for fate, count in tally.fates.items():
            fates.add_metric([engines.get(tally.engine_id, ("?", "?"))[0], fate], count)
    for labels, count in sorted(results.items()):
        events.add_metric(labels, count)
    told = CounterMetricFamily("runlink_push_told", "Instances that moved by a delivery.", labels=["engine"])
    missed = CounterMetricFamily("runlink_push_missed", "Instances that only a poll saw move.", labels=["engine"])
    for row in service.feeds():
        if row.feed == "receive":
            told.add_metric([engines.get(row.engine_id, ("?", "?"))[0]], row.told)
            missed.add_metric([engines.get(row.engine_id, ("?", "?"))[0]], row.missed)
    yield from (events, fates, told, missed)


def backlog(uow: SqlUnitOfWork, now: float) -> Iterator[Metric]:
    """What waits, and what was given up."""
    held = GaugeMetricFamily("runlink_deliveries", "Deliveries that wait or are dead.", labels=["engine", "state"])
    overdue = GaugeMetricFamily(
        "runlink_deliveries_overdue_seconds", "How long the first that waits has been due.", labels=["engine"]
    )
    for row in uow.deliveries.counts():
        held.add_metric([row["engine"], row["state"]], row["count"])
        if row["due_at"] is not None:
            overdue.add_metric([row["engine"]], max(0.0, now - row["due_at"].timestamp()))
    events = GaugeMetricFamily(
        "runlink_subscription_events", "Events that wait or are dead.", labels=["subscription", "state"]
    )
    for name, state, count in uow.subscriptions.backlog():
        events.add_metric([name, state], count)
    yield from (held, overdue, events)
