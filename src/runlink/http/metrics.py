"""`/metrics`, for Prometheus. docs/reference/metrics.md has a heading for each; no Run or workflow is a label.

Everything is read when it is asked for: from the feeds of this process, and from the store where that is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.requests import Request
from starlette.responses import Response

from runlink.http import push_metrics
from runlink.http.endpoints import Endpoints, Threads
from runlink.http.hub import Hub
from runlink.http.problems import problem_of
from runlink.http.service import Service
from runlink.store import SqlUnitOfWork
from runlink.store.feed_health import FeedHealthRow

NAMES: Final = (
    *push_metrics.NAMES,
    "runlink_engine_up",
    "runlink_poll_duration_seconds",
    "runlink_staleness_seconds",
    "runlink_feed_failures",
    "runlink_adapter_process_start_time_seconds",
    "runlink_adapter_process_restarts_total",
    "runlink_clock_skew_seconds",
    "runlink_api_requests_total",
    "runlink_rate_limit_remaining",
    "runlink_runs_observed_total",
    "runlink_runs",
    "runlink_outbox_events_total",
    "runlink_links_open",
    "runlink_vanished_total",
    "runlink_lease_held",
    "runlink_plugin_errors_total",
    "runlink_stream_clients",
)
_ENGINE: Final = ("engine", "type")
_FEED: Final = (*_ENGINE, "feed")


class Metrics:
    """The endpoint, and the collector behind it."""

    def __init__(self, service: Service, threads: Threads, endpoints: Endpoints, hub: Hub) -> None:
        self._service = service
        self._threads = threads
        self._endpoints = endpoints
        self._hub = hub

    async def __call__(self, request: Request) -> Response:
        """What is measured, in Prometheus' words."""
        try:
            (await self._endpoints.principal(request)).demand("read")
            text = await self._threads.read(self._text)
        except Exception as error:  # noqa: BLE001 - told as a problem
            return problem_of(error).response()
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    def _text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not ask for everything to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        with self._service.store.reading() as uow:
            engines = {engine.id: (engine.name, engine.type) for engine in uow.engines.list(limit=10_000)}
            yield from self._feeds(engines)
            yield from push_metrics.processed(self._service, engines)
            yield from push_metrics.backlog(uow, self._service.now().timestamp())
            yield from _record(uow)
        yield from self._service.arrivals()
        yield _gauge("runlink_stream_clients", "Clients of the live stream.", self._hub.clients)

    def _feeds(self, engines: dict[UUID, tuple[str, str]]) -> Iterator[Metric]:
        rows = [(row, (*engines.get(row.engine_id, ("?", "?")), row.feed)) for row in self._service.feeds()]
        now = self._service.now()
        up = GaugeMetricFamily("runlink_engine_up", "1 while the feed is ok, else 0.", labels=_FEED)
        took = GaugeMetricFamily("runlink_poll_duration_seconds", "How long the last turn took.", labels=_FEED)
        stale = GaugeMetricFamily("runlink_staleness_seconds", "Since the last turn that ended well.", labels=_FEED)
        failing = GaugeMetricFamily("runlink_feed_failures", "Turns that failed since.", labels=_FEED)
        skew = GaugeMetricFamily("runlink_clock_skew_seconds", "The engine's clock before ours.", labels=_FEED)
        begun = GaugeMetricFamily(
            "runlink_adapter_process_start_time_seconds", "When an adapter's own process began.", labels=_FEED
        )
        restarts = CounterMetricFamily(
            "runlink_adapter_process_restarts", "Processes of adapters that were lost.", labels=_FEED
        )
        faults = CounterMetricFamily("runlink_plugin_errors", "Feeds in a fault of their plugin.", labels=["type"])
        faulty: dict[str, int] = {}
        for row, labels in rows:
            if row.state != "new":  # nothing was tried yet, or nothing has come
                up.add_metric(labels, row.state == "ok")
            _add(took, labels, row.last_duration_s)
            _add(stale, labels, _age(row, now.timestamp()))
            failing.add_metric(labels, row.failures)
            _add(skew, labels, row.skew_s)
            if row.process_started_at is not None:
                begun.add_metric(labels, row.process_started_at.timestamp())
            if row.process_started_at is not None or row.restarts:
                restarts.add_metric(labels, row.restarts)
            faulty[labels[1]] = faulty.get(labels[1], 0) + (row.failures if row.state == "faulty" else 0)
        for kind, count in faulty.items():
            faults.add_metric([kind], count)
        yield from (up, took, stale, failing, skew, begun, restarts, faults)
        yield from self._requests(engines)
        yield _gauge("runlink_lease_held", "1 while this process runs the feeds.", float(bool(rows)))

    def _requests(self, engines: dict[UUID, tuple[str, str]]) -> Iterator[Metric]:
        asked = CounterMetricFamily(
            "runlink_api_requests", "Requests to the engine since the start.", labels=[*_ENGINE, "code"]
        )
        left = GaugeMetricFamily("runlink_rate_limit_remaining", "Requests that may be made at once.", labels=_ENGINE)
        for engine_id, answers in self._service.answers().items():
            for code, count in sorted(answers.items()):
                asked.add_metric([*engines.get(engine_id, ("?", "?")), code], count)
        for engine_id, budget in self._service.budgets().items():
            _add(left, engines.get(engine_id, ("?", "?")), None if budget is None else budget.left)
        yield from (asked, left)


def _age(row: FeedHealthRow, now: float) -> float | None:
    return None if row.last_success_at is None else max(0.0, now - row.last_success_at.timestamp())


def _add(family: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[])
    family.add_metric([], value)
    return family


def _record(uow: SqlUnitOfWork) -> Iterator[Metric]:
    figures = uow.reports.figures()
    observed = CounterMetricFamily("runlink_runs_observed", "Instances that are known, by status.", labels=["state"])
    for status, count in figures.instances.items():
        observed.add_metric([status], count)
    runs = GaugeMetricFamily("runlink_runs", "Runs, by status.", labels=["state"])
    for status, count in figures.runs.items():
        runs.add_metric([status], count)
    yield observed
    yield runs
    events = CounterMetricFamily("runlink_outbox_events", "Events of runlink's own, placed in their order.", labels=[])
    events.add_metric([], figures.events)
    yield events
    yield _gauge("runlink_links_open", "Links to instances that have not ended.", figures.open_links)
    vanished = CounterMetricFamily("runlink_vanished", "Instances that their engine no longer has.", labels=[])
    vanished.add_metric([], figures.vanished)
    yield vanished
