"""Adapters that do what a test says, and a small world to run them in: the real store, feeds and daemon."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from runlink.application.policy import Policy
from runlink.application.registry import register
from runlink.application.settings import EngineSettings, LinkRule, Settings, Subscription
from runlink.daemon import Daemon, EngineFeed
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.relay import Relay
from runlink.domain import ExecutionStatus
from runlink.hosting import build_adapter
from runlink.spi import Adapter, EngineInfo, Observation, Page, Polls, Receives, Refetches, Watches
from runlink.store import SqlStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
S = ExecutionStatus


def utc_now() -> datetime:
    return datetime.now(UTC)


def seen(name: str, status: ExecutionStatus = S.PROCESSING, **facts: Any) -> Observation:
    fields = {"workflow": "build", "native_status": status.value.lower(), "started_at": START, **facts}
    if status.is_ended:
        fields.setdefault("finished_at", START + timedelta(minutes=5))
    return Observation(external_id=name, status=status, **fields)


class Puppet(Polls):
    """Polls what its class is told to; subclasses override `poll`."""

    name = "puppet"
    config_schema: ClassVar = {"type": "object"}

    def check(self) -> EngineInfo:
        return EngineInfo(product="Puppet", version="1")

    def poll(self, cursors: Any) -> Iterator[Page]:
        yield Page()


def puppet(poll: Callable[..., Any], **members: Any) -> type[Adapter]:
    """An adapter class whose poll is `poll(self, cursors)`; `refetch`, `watch`, `receive` make it more."""
    more = {"refetch": Refetches, "watch": Watches, "receive": Receives}
    bases = (Puppet, *(base for name, base in more.items() if name in members))
    return type("Puppet", bases, {"poll": poll, **members})


class Counting(Puppet):
    """A healthy engine: each poll shows one run more, ended."""

    def poll(self, cursors: Any) -> Iterator[Page]:
        number = int(cursors.get("all", "0")) + 1
        yield Page(observations=(seen(str(number), S.COMPLETED),), cursors={"all": str(number)})


class Shelf:
    """What an engine shows, changed by the test: a poll gives all of it, a refetch what is asked for."""

    def __init__(self) -> None:
        self.runs: dict[str, Observation] = {}
        self.asked: list[list[str]] = []
        self.polls = 0

    def adapter(self, *, listed: Callable[[str], bool] = lambda _name: True) -> type[Adapter]:
        """`listed` says which runs a poll shows; the rest is seen by refetch only."""
        shelf = self

        def poll(_self: Any, cursors: Any) -> Iterator[Page]:
            shelf.polls += 1
            yield Page(observations=tuple(o for name, o in shelf.runs.items() if listed(name)))

        def refetch(_self: Any, ids: Sequence[str]) -> Iterator[Page]:
            shelf.asked.append(list(ids))
            yield Page(
                observations=tuple(shelf.runs[name] for name in ids if name in shelf.runs),
                gone=tuple(name for name in ids if name not in shelf.runs),
            )

        return puppet(poll, refetch=refetch)


class World:
    """A store, engines by name with adapter classes given by the test, and a daemon over them."""

    def __init__(
        self, store: SqlStore, links: tuple[LinkRule, ...] = (), automations: Mapping[str, Policy] | None = None
    ) -> None:
        self.store = store
        self.now: Callable[[], datetime] = utc_now
        self.fence: int | None = None
        self.classes: dict[str, type[Adapter]] = {}
        self.settings = Settings(store_url=str(store.url), links=links, automations=automations or {})
        self.feeds: dict[str, EngineFeed] = {}
        self.subscriptions: tuple[Subscription, ...] = ()
        self.subscribers: list[tuple[str, Callable[[Any], None]]] = []
        self.daemon: Daemon | None = None
        self.error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def clock(self) -> datetime:
        """The host's clock; a test may set `now` to another."""
        return self.now()

    def engine(self, name: str, adapter_class: type[Adapter], *, grace_s: float = 0.1, **settings: Any) -> EngineFeed:
        fields = {"url": "http://127.0.0.1:1", "poll_interval_s": 0.02, "max_requests_per_minute": 60_000, **settings}
        self.classes[name] = adapter_class
        engine_settings = EngineSettings(name=name, type="puppet", **fields)
        engines = {**self.settings.engines, name: engine_settings}
        self.settings = replace(self.settings, engines=engines)
        registered = self.store.write(lambda uow: register(uow, self.settings), actor="config")
        self.rules = registered.rules
        self.feeds[name] = EngineFeed(
            registered.engines[name],
            engine_settings,
            store=self.store,
            rules=registered.rules,
            build=self.build,
            now=self.clock,
            fence=self.fence,
            grace_s=grace_s,
            watches=issubclass(adapter_class, Watches),
            receives=engine_settings.webhook is not None,
        )
        return self.feeds[name]

    def build(self, settings: EngineSettings, since: datetime, backfill: bool) -> Any:
        return build_adapter(self.classes[settings.name], settings, now=self.clock, since=since, backfill=backfill)

    def start(self, **options: Any) -> Daemon:
        fields = {
            "now": self.clock,
            "fence": self.fence,
            "every_s": {"relay": 0.05, "quiet": 0.05, "health": 0.05},
            "dispatch": Dispatch(self.store, self.subscriptions, self.clock, self.fence),
        }
        relay = Relay(self.store, self.subscribers, self.clock, self.fence)
        self.daemon = Daemon(self.store, self.settings, self.rules, self.feeds, relay, **{**fields, **options})
        self._thread = threading.Thread(target=self._run, name="test-daemon", daemon=True)
        self._thread.start()
        return self.daemon

    def _run(self) -> None:
        try:
            self.daemon.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> float:
        """Seconds it took."""
        if self.daemon is None or self._thread is None:
            for feed in self.feeds.values():
                feed.close()
            return 0.0
        began = time.monotonic()
        self.daemon.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._thread = None
        return time.monotonic() - began

    def instances(self, engine: str | None = None) -> dict[str, dict[str, Any]]:
        with self.store.reading() as uow:
            rows = uow.reports.instances(engine=engine, limit=5000)
        return {row["external_id"]: row for row in rows}

    def statuses(self, engine: str | None = None) -> dict[str, str]:
        return {name: str(row["status"]) for name, row in self.instances(engine).items()}

    def health(self, engine: str, feed: str = "poll") -> dict[str, Any]:
        with self.store.reading() as uow:
            rows = [row for row in uow.feed_health.list() if (row["engine"], row["feed"]) == (engine, feed)]
        return rows[0] if rows else {"state": None, "failures": None}

    def cursors(self, engine: str) -> dict[str, str]:
        with self.store.reading() as uow:
            return uow.ledger.cursors(self.feeds[engine].engine.id, "poll")

    def events(self) -> list[dict[str, Any]]:
        with self.store.reading() as uow:
            return uow.outbox.after(0, 10_000)


def until(condition: Callable[[], Any], what: str = "it", within_s: float = 60.0) -> Any:
    """Waits for a condition, looking again and again; gives its value."""
    deadline, tick = time.monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about within {within_s:g} s"
        tick.wait(0.01)
    return value


def lines_about(caplog: Any, engine: str, level: int = logging.INFO) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("runlink")
        and record.levelno >= level
        and record.getMessage().startswith(f"{engine}:")
    ]


def turns(feed: EngineFeed, count: int) -> list[float | None]:
    """Some turns, on a thread as the daemon's; what each returned."""
    waits: list[float | None] = []
    thread = threading.Thread(target=lambda: waits.extend(feed.run() for _ in range(count)), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return waits


def hang_once(feed: EngineFeed) -> threading.Thread:
    """One turn on a thread that hangs, watched and left behind as the daemon would."""
    thread = threading.Thread(target=feed.run, name="test-turn", daemon=True)
    thread.start()
    until(feed.is_overdue, "the end of the turn's time")
    assert feed.abandon() is not None
    return thread
