"""The composition root: from a configuration file to a running system. The only module that knows all rooms.

The CLI comes here; so does any program that embeds runlink.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runlink import config
from runlink.application import tracing
from runlink.application.plan import Pace
from runlink.application.problems import suggestion
from runlink.application.registry import Registered, register, registering
from runlink.application.rules.rules import Rules
from runlink.application.settings import DEFAULT_POLL_INTERVAL_S, EngineSettings, KeyHook, Settings
from runlink.config import ConfigError
from runlink.daemon import Daemon, EngineFeed, Progress
from runlink.daemon.chores import EVERY_S
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.relay import Relay
from runlink.hosting import (
    HostedAdapter,
    PluginHost,
    PluginInfo,
    PythonUnusable,
    SecretUnavailable,
    UnknownEngineType,
    build_adapter,
    check_options,
)
from runlink.hosting.authentication import Authenticator, Door
from runlink.hosting.secrets import resolve
from runlink.spi import Receives, Refetches, Watches
from runlink.store import NoStore, SqlStore, open_store
from runlink.store.daemon_lock import is_held

if TYPE_CHECKING:
    from runlink.http import HttpServer

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
BACKFILL_DEADLINE_S = 86400.0
"""How long a backfill may take: `poll_deadline_s` is meant for polls that come again."""


def utc_now() -> datetime:
    """The clock of a running system."""
    return datetime.now(UTC)


def collect_less_often() -> None:
    """Has Python look for garbage cycles once in 50,000 new objects instead of 700.

    A page of a first sync is some hundred thousand short-lived objects without cycles; looking through them again and
    again was 6 to 30 % of its CPU time (measured with benchmarks/jenkins_sync, more on a busy machine).
    """
    gc.set_threshold(50_000, 10, 10)


def load_settings(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """The configuration; raises ConfigError with every problem."""
    return config.load(path, os.environ if environ is None else environ)


@contextmanager
def tracing_of(settings: Settings) -> Iterator[None]:
    """Spans go where `[tracing]` says, within the block; nothing is loaded without. Raises ConfigError."""
    if settings.tracing is None:
        yield
        return
    try:
        from runlink.telemetry import exporting
    except ImportError as error:
        raise ConfigError(
            [f"tracing: OpenTelemetry is not installed; install runlink[otel] ({error})"],
            str(settings.path or "the configuration"),
        ) from error
    with exporting(settings.tracing) as tracer, tracing.traced_by(tracer):
        yield


def load_plugins(settings: Settings | None = None, disabled: tuple[str, ...] = ()) -> PluginHost:
    """Every plugin that is installed and not disabled."""
    off = settings.disabled_plugins if settings is not None else frozenset()
    return PluginHost.load(disabled=[*disabled, *off])


def plugin_rows(plugins: PluginHost) -> list[dict[str, Any]]:
    """Every plugin that was found: what each can do, and for a refused one why."""
    return [_plugin_row(plugin) for plugin in plugins.plugins]


def plugin_rows_elsewhere(plugins: PluginHost, python: Path) -> list[dict[str, Any]]:
    """The same of the environment of another Python. Raises PythonUnusable."""
    return [{**_plugin_row(plugin), "python": str(python)} for plugin in plugins.elsewhere(python)]


def _plugin_row(plugin: PluginInfo) -> dict[str, Any]:
    names = ("name", "distribution", "version", "engine_types", "capabilities", "grade", "experimental", "refused")
    return {name: getattr(plugin, name) for name in names} | {"python": None}


def check_engines(settings: Settings, plugins: PluginHost) -> None:
    """Raises ConfigError with every engine whose type nobody brings or whose keys its plugin does not accept, and every
    link rule that asks a plugin which cannot answer."""
    problems = [line for engine in settings.engines.values() for line in _problems_of(engine, plugins)]
    linkers = plugins.linkers
    for index, rule in enumerate(settings.links):
        for way in rule.keys:
            if isinstance(way, KeyHook) and way.plugin.lower() not in linkers:
                near = suggestion(way.plugin, linkers)
                problems.append(f"links[{index}].run_key: no plugin {way.plugin!r} has the hook runlink_link{near}")
    if problems:
        raise ConfigError(problems, str(settings.path or "the configuration"))


def check_engine(engine: EngineSettings, plugins: PluginHost) -> None:
    """The same for one engine, whatever the others are like."""
    if problems := _problems_of(engine, plugins):
        raise ConfigError(problems, "the configuration")


def _problems_of(engine: EngineSettings, plugins: PluginHost) -> list[str]:
    try:
        adapter_class = plugins.adapter_for(engine)
    except UnknownEngineType as error:
        return [f"engines.{engine.name}.type: {error}"]
    except PythonUnusable as error:
        return [f"engines.{engine.name}.python: {error}"]
    return check_options(adapter_class, engine)


def open_settings_store(settings: Settings, *, migrate: bool = True) -> SqlStore:
    """The store of a configuration, its password resolved. Raises StoreError, or SecretUnavailable."""
    url = settings.store_url
    if settings.store_password is not None:
        url = config.with_password(url, resolve(settings.store_password, "store.password")[0])
    return open_store(url, migrate=migrate)


@contextmanager
def store_to_look_at(settings: Settings) -> Iterator[SqlStore]:
    """The store as it is, without setting it up or upgrading it; an empty one where there is none.

    Raises SchemaMismatch for a store of an older program: an upgrade is a change.
    """
    with ExitStack() as stack:
        try:
            store = open_settings_store(settings, migrate=False)
        except NoStore:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="runlink-"))
            store = empty_store(Path(folder))
        yield stack.enter_context(closing(store))


def empty_store(folder: Path) -> SqlStore:
    """A new store in a folder."""
    return open_store(f"sqlite:///{folder / 'empty.db'}")


def preview(settings: Settings, store: SqlStore) -> tuple[str, ...]:
    """What registering these settings would change in the store, a line each. Raises Unregistrable as it would."""
    with store.reading() as uow:
        return tuple(registering(uow, settings).changes)


@dataclass
class Runlink:
    """A configuration, its plugins and its store, together."""

    settings: Settings
    plugins: PluginHost
    store: SqlStore
    now: Clock = utc_now
    _doors: dict[str, Door] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, path: Path | None = None, *, disabled: tuple[str, ...] = (), now: Clock = utc_now) -> Runlink:
        """Reads, checks and opens everything. Raises ConfigError, StoreError, PluginError."""
        collect_less_often()
        settings = load_settings(path)
        plugins = load_plugins(settings, disabled)
        check_engines(settings, plugins)
        return cls(settings, plugins, open_settings_store(settings), now)

    @classmethod
    def open_record(cls, path: Path | None = None, *, now: Clock = utc_now) -> Runlink:
        """The configuration and its store without plugins: enough to read and write by hand, whatever they are like."""
        settings = load_settings(path)
        return cls(settings, PluginHost(), open_settings_store(settings), now)

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def is_running(self) -> bool | None:
        """Whether some process runs the feeds of the store now; None when this user may not know."""
        return is_held(self.store)

    def register(self, settings: Settings | None = None) -> Registered:
        """Makes the rows of engines and automations agree with the configuration."""
        wanted = settings or self.settings
        linkers = self.plugins.linkers
        return self.store.write(lambda uow: register(uow, wanted, linkers), actor="config", urgent=True)

    def rules(self) -> Rules:
        """The link rules, with the automations that exist, without registering anything."""
        with self.store.reading() as uow:
            known = uow.ledger.automation_ids(self.settings.named_automations())
        settings = self.settings
        return Rules(settings.links, known, settings.automations, self.plugins.linkers, settings.items)

    def build(self, settings: EngineSettings, since: datetime, backfill: bool) -> HostedAdapter:
        """The adapter of an engine."""
        adapter_class = self.plugins.adapter_for(settings)
        return build_adapter(adapter_class, settings, now=self.now, since=since, backfill=backfill)

    @contextmanager
    def lease(self) -> Iterator[int]:
        """The right to run feeds, with its fencing token. Raises AlreadyRunning."""
        with self.store.daemon_lock(f"{socket.gethostname()} pid {os.getpid()}") as fence:
            yield fence

    def feeds(
        self,
        registered: Registered,
        fence: int,
        *,
        progress: Progress = lambda _name, _outcome: None,
        backfill_since: datetime | None = None,
    ) -> dict[str, EngineFeed]:
        """A feed for each configured engine."""
        with self.store.reading() as uow:
            succeeded_at = {row["engine"]: row["last_success_at"] for row in uow.feed_health.list()}
        feeds = {}
        for name, settings in self.settings.engines.items():
            deadline_s = settings.poll_deadline_s if backfill_since is None else BACKFILL_DEADLINE_S
            feeds[name] = feed = EngineFeed(
                registered.engines[name],
                replace(settings, poll_deadline_s=deadline_s, poll_interval_s=self.interval_s(settings)),
                store=self.store,
                rules=registered.rules,
                build=self.build,
                now=self.now,
                fence=fence,
                progress=progress,
                backfill_since=backfill_since,
                watches=issubclass(self.plugins.adapter_for(settings), Watches),
                receives=settings.webhook is not None,
            )
            feed.health.last_success_at = succeeded_at.get(name)
        return feeds

    def interval_s(self, settings: EngineSettings) -> float:
        """Seconds between two polls of an engine: what is configured, else what its adapter proposes."""
        proposed = self.plugins.adapter_for(settings).default_poll_interval_s
        return settings.poll_interval_s or proposed or DEFAULT_POLL_INTERVAL_S

    def paces(self) -> dict[str, Pace]:
        """How each configured engine is asked, for an estimate of its requests."""
        paces = {}
        for name, settings in self.settings.engines.items():
            adapter_class = self.plugins.adapter_for(settings)
            requests = 1 + issubclass(adapter_class, Refetches)  # of a turn: the poll, and what it does not show
            paces[name] = Pace(interval_s=self.interval_s(settings), requests_per_turn=requests)
        return paces

    def relay(self, fence: int | None = None) -> Relay:
        """Hands events to the plugins that asked for them."""
        return Relay(self.store, self.plugins.event_subscribers, self.now, fence)

    def dispatch(self, fence: int | None = None) -> Dispatch:
        """Sends events to the subscriptions of the configuration."""
        return Dispatch(self.store, self.settings.subscriptions, self.now, fence)

    def doors(self, registered: Registered) -> dict[str, Door]:
        """Where each engine that may push comes in, by name. One whose secret is not there stays shut, and is said."""
        doors = {}
        for name, settings in self.settings.engines.items():
            if settings.webhook is None:
                continue
            try:
                proof = Authenticator(self.scheme(settings), settings.webhook, f"engines.{name}.webhook")
            except SecretUnavailable as error:
                log.warning("%s: nothing can be pushed: %s", name, error)
                continue
            doors[name] = Door(registered.engines[name].id, proof, settings.webhook.max_bytes)
        return doors

    def scheme(self, settings: EngineSettings) -> str:
        """How an engine's deliveries prove where they come from: what is configured, else what its adapter says."""
        adapter_class = self.plugins.adapter_for(settings)
        proposed = adapter_class.authentication if issubclass(adapter_class, Receives) else "bearer"
        return (settings.webhook.authentication if settings.webhook else None) or proposed

    def daemon(self, registered: Registered, fence: int, *, every_s: Mapping[str, float] = EVERY_S) -> Daemon:
        """The daemon for the present configuration; `every_s` is how often it does which chore."""
        feeds = self.feeds(registered, fence)
        self._doors = self.doors(registered)
        return Daemon(
            self.store,
            self.settings,
            registered.rules,
            feeds,
            self.relay(fence),
            now=self.now,
            fence=fence,
            dispatch=self.dispatch(fence),
            every_s=every_s,
        )

    def server(self, daemon: Daemon) -> HttpServer | None:
        """The server beside the daemon, answering; None when it is switched off. Raises ServerRefused."""
        from runlink.http import HttpServer, ServerRefused, Service, create_app  # 5 MB that only `serve` needs
        from runlink.http.hooks import Hooks

        settings = self.settings.server
        if not settings.enabled:
            return None
        with self.store.reading() as uow:
            if not ip_address(settings.address[0]).is_loopback and not uow.access.has_valid(self.now()):
                raise ServerRefused(
                    f"server.listen: {settings.listen} is reached from other machines, and there is no token that "
                    "could keep anybody out; make one with `runlink tokens create`"
                )
        server = HttpServer(settings)
        hooks = Hooks(self.store, lambda: self._doors, now=self.now, stored=daemon.deliver_now)
        service = Service(
            store=self.store,
            settings=settings,
            now=self.now,
            rules=lambda: daemon.rules,
            feeds=daemon.health_rows,
            budgets=daemon.budgets,
            answers=daemon.answers,
            plugins=self.plugin_rows,
            tallies=daemon.tallies,
            arrivals=hooks.arrivals.collect,
            arrived=lambda: hooks.arrivals.accepted,
        )
        server.start(
            create_app(service, more=lambda endpoints, _threads: hooks.routes(endpoints), on_hub=server.on_hub)
        )
        return server

    def plugin_rows(self) -> list[dict[str, Any]]:
        """What was brought, a row for each plugin."""
        return plugin_rows(self.plugins)

    def reload(self, daemon: Daemon, fence: int) -> list[str]:
        """Reads the file again and gives it to the daemon; returns what changed, a line each.

        Raises ConfigError or Unregistrable, and then everything stays as it was.
        """
        settings = load_settings(self.settings.path)
        self.plugins.look_again()
        check_engines(settings, self.plugins)
        registered = self.register(settings)
        before, self.settings = self.settings, settings
        self._doors = self.doors(registered)
        kept = {
            name: feed
            for name, feed in daemon.feeds.items()
            if name in settings.engines
            and before.engines.get(name) == settings.engines[name]
            and settings.engines[name].python is None  # in another environment something else may be installed now
        }
        daemon.replace(settings, registered.rules, self.feeds(registered, fence) | kept)
        return config.diff(before, settings)
