"""(g) A change is committed: how long until a client of the live stream has its event.

Product: a Run (`stream_*`), or an instance that counts for a Run (`stream_instances_*`), is moved through the store;
its event is sent by the server over loopback. Baseline: the same server (uvicorn, the same guard, a stream of the same
form), told of such a commit in memory, which asks no store and sends the same bytes: a bare notifier. Both commit the
same change first, each to a store of its own; the clock starts where the commit is done, before anybody is told. They
take turns, change by change.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.databases import Postgresql, Sqlite, postgresql, sqlite
from benchmarks.measure import Figure, progress
from runlink.application.rules.rules import Rules
from runlink.application.settings import ServerSettings, Settings
from runlink.daemon import Daemon
from runlink.daemon.relay import Relay
from runlink.domain import Automation, Engine, OrchestrationInstance, Run, RunOrchestration
from runlink.http import HttpServer, Service, create_app
from runlink.http.guard import Guard
from runlink.store import SqlStore, open_store

CHANGES = 400
GOAL = "at least 0.5 of a bare notifier"
Entity = Run | OrchestrationInstance


class Client:
    """Follows a stream on a thread; `wait` gives when the next event was there."""

    def __init__(self, url: str) -> None:
        self._arrived: list[tuple[float, bytes]] = []
        self._condition = threading.Condition()
        self._client = httpx.Client(trust_env=False, timeout=60)
        self._ready = threading.Event()
        threading.Thread(target=self._follow, args=(url,), daemon=True).start()
        assert self._ready.wait(10)

    def _follow(self, url: str) -> None:
        with suppress(httpx.RemoteProtocolError), self._client.stream("GET", url) as answer:  # the server stops
            for data in answer.iter_raw():
                at = time.perf_counter()
                self._ready.set()
                with self._condition:
                    self._arrived.extend([(at, data)] * data.count(b"\ndata: "))
                    self._condition.notify()

    def wait(self, number: int) -> float:
        """When the event of this number had arrived."""
        with self._condition:
            assert self._condition.wait_for(lambda: len(self._arrived) > number, 20)
            return self._arrived[number][0]

    def text(self, number: int) -> bytes:
        """What arrived then."""
        return self._arrived[number][1]


class Notifier:
    """The baseline's application: whoever calls `tell` has the bytes sent to its client."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def app(self) -> Any:
        """Behind the same guard."""
        return Guard(ServerSettings()).layer(Starlette(routes=[Route("/stream", self._stream)]))

    async def _stream(self, _request: Request) -> StreamingResponse:
        self._loop = asyncio.get_running_loop()

        async def events() -> Any:
            yield b": connected\n\n"
            while True:
                yield await self._queue.get()

        return StreamingResponse(events(), media_type="text/event-stream")

    def tell(self, data: bytes) -> None:
        """Sends bytes, from another thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._queue.put_nowait, data)


@contextmanager
def _following(store: SqlStore) -> Iterator[tuple[Client, Client, Notifier]]:
    settings = ServerSettings(listen="127.0.0.1:0")
    now: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: E731
    daemon = Daemon(store, Settings(store_url=""), Rules(), {}, Relay(store, [], now), now=now)
    product, baseline, notifier = HttpServer(settings), HttpServer(settings), Notifier()
    product.start(create_app(Service(store=store, settings=settings, now=now), on_hub=product.on_hub))
    baseline.start(notifier.app())
    running = threading.Thread(target=daemon.run, daemon=True)
    running.start()
    try:
        yield Client(f"{product.url}api/v1/stream"), Client(f"{baseline.url}stream"), notifier
    finally:
        for server in (product, baseline):
            server.stop()
            server.join(10)
        daemon.stop()
        running.join(10)


def _prepare(store: SqlStore) -> None:
    with store.unit_of_work() as uow:
        uow.automations.add(Automation(name="nightly"))
        uow.engines.add(Engine(name="ci", type="x"))


def _runs(store: SqlStore) -> list[Run]:
    with store.unit_of_work() as uow:
        automation = uow.automations.list()[0]
        runs = [Run(automation_id=automation.id) for _ in range(CHANGES)]
        for run in runs:
            uow.runs.add(run)
    return runs


def _instances(store: SqlStore) -> list[OrchestrationInstance]:
    with store.unit_of_work() as uow:
        engine, automation = uow.engines.list()[0], uow.automations.list()[0]
        found = [OrchestrationInstance(engine_id=engine.id, external_id=str(n)) for n in range(CHANGES)]
        for instance in found:
            run = Run(automation_id=automation.id)
            uow.runs.add(run)
            uow.orchestration_instances.add(instance)
            uow.run_orchestrations.add(RunOrchestration(run_id=run.id, orchestration_instance_id=instance.id))
    return found


class Changes:
    """Commits changes to one store, and knows when each commit was done."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._committed_at = 0.0
        store.listen(self._committed)

    def _committed(self, _events: object) -> None:
        self._committed_at = time.perf_counter()

    def start(self, entity: Entity) -> float:
        """Commits a change; when that was done."""
        entity.start(datetime.now(UTC))
        name = "runs" if isinstance(entity, Run) else "orchestration_instances"
        self._store.write(lambda uow: getattr(uow, name).update(entity), actor="bench", urgent=True)
        return self._committed_at


def _measured(
    store: SqlStore, other: SqlStore, make: Callable[[SqlStore], Sequence[Entity]]
) -> tuple[list[float], list[float]]:
    """Seconds from commit to event, of the product on one store and of the notifier on another of the same kind."""
    ours, theirs = make(store), make(other)
    told: list[float] = []
    bare: list[float] = []
    mine, baselines = Changes(store), Changes(other)  # before the server listens: its clock starts first
    with _following(store) as (product, baseline, notifier):
        for number in range(CHANGES):
            committed = mine.start(ours[number])
            told.append(product.wait(number) - committed)
            text = product.text(number)
            committed = baselines.start(theirs[number])
            notifier.tell(text)
            bare.append(baseline.wait(number) - committed)
    return told, bare


def run() -> Iterator[Figure]:
    """The median latency on both databases."""
    for kind in (sqlite, postgresql):
        with kind(_prepare) as database:
            for name, make in (("stream", _runs), ("stream_instances", _instances)):
                progress(f"{name} on {database.name}")
                yield _figure(f"{name}_{database.name}", database, make)


def _figure(name: str, database: Sqlite | Postgresql, make: Callable[[SqlStore], Sequence[Entity]]) -> Figure:
    urls = [database.fresh(), database.fresh()]
    stores = [open_store(url) for url in urls]
    durability = database.durability(urls[0])
    told, bare = _measured(*stores, make)
    for store in stores:
        store.close()
    ours, other = statistics.median(told) * 1000, statistics.median(bare) * 1000
    more = {"p99": _p99(told), "baseline_p99": _p99(bare), "changes": CHANGES, "durability": durability}
    return Figure(name, ours, "ms from commit to event", other, other / ours, GOAL, more)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] * 1000
