"""What is wrong, or soon will be, with an installation, each finding with its remedy. `runlink doctor` comes here.

Looks at the configuration, plugins, store, daemon, engines and rules; changes nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from runlink import bootstrap
from runlink.application.access import Token, covers
from runlink.application.settings import EngineSettings, Secret, Settings, matches_any
from runlink.bootstrap import Runlink
from runlink.config import ConfigError
from runlink.hosting import HostingError, PluginHost, SecretUnavailable
from runlink.hosting.checking import check_engines
from runlink.store import NoStore, SchemaMismatch, SqlStore, StoreError, outage

LEAST_FREE_BYTES = 1 << 30
MAX_SKEW_S = 5.0
_LATE = 5.0  # polls: how many intervals an engine may be behind
_SQLITE = "sqlite:///"


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where, what, and what to do."""

    severity: Severity
    about: str
    problem: str
    remedy: str


def _error(about: str, problem: str, remedy: str) -> Finding:
    return Finding(severity=Severity.ERROR, about=about, problem=problem, remedy=remedy)


def _warning(about: str, problem: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, about=about, problem=problem, remedy=remedy)


def examine(
    path: Path | None, *, disabled: tuple[str, ...] = (), timeout_s: float = 30.0, now: Callable[[], datetime]
) -> Iterator[Finding]:
    """Every finding, as it is made. `timeout_s` is how long each engine may take to answer."""
    try:
        settings = bootstrap.load_settings(path)
    except ConfigError as error:
        yield from (_error("configuration", problem, "correct the file") for problem in error.problems)
        return
    plugins = bootstrap.load_plugins(settings, disabled)
    yield from _plugins(settings, plugins)
    yield from _files(settings)
    known = [engine for engine in settings.engines.values() if _is_known(engine, plugins)]
    checked = check_engines(known, plugins, timeout_s=timeout_s, now=now)
    try:
        store = bootstrap.open_settings_store(settings, migrate=False)
    except NoStore as error:
        yield _warning("store", str(error), "start `runlink serve`, or run `runlink db upgrade`")
    except SchemaMismatch as error:
        yield _error("store", str(error), "run `runlink db upgrade`, or install the newer runlink")
    except (StoreError, SecretUnavailable) as error:
        yield _error("store", str(error), "check [store] and that the database is up; `runlink serve` makes a new one")
    else:
        try:
            yield from _record(Runlink(settings, plugins, store, now), {r["engine"] for r in checked if not r["ok"]})
        finally:
            store.close()
    yield from _engines(checked)


def _plugins(settings: Settings, plugins: PluginHost) -> Iterator[Finding]:
    for name, sentence in plugins.refused.items():
        yield _error(f"plugin {name}", sentence, "upgrade or remove it; until then its engines are not followed")
    try:
        bootstrap.check_engines(settings, plugins)
    except ConfigError as error:
        yield from (
            _error("configuration", problem, "install the plugin, or correct the key") for problem in error.problems
        )
    for rule in settings.links:
        if settings.engines and not any(matches_any(name, rule.engine) for name in settings.engines):
            yield _warning(
                f"link rule {rule.name}", f"no engine's name matches {rule.engine!r}", "correct its `engine`"
            )


# --- files ----------------------------------------------------------------------------------------------------------


def _files(settings: Settings) -> Iterator[Finding]:
    if settings.path is not None and _mode(settings.path) & stat.S_IWOTH:
        yield _warning("configuration", f"{settings.path} may be changed by anyone", "chmod o-w it")
    for name, secret in _secrets(settings):
        if secret.file is None:
            continue
        mode = _mode(secret.file)
        if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWOTH):
            yield _warning(name, f"{secret.file} may be read by others", "chmod 600 it, owned by runlink's user")
    if settings.store_url.startswith(_SQLITE):
        yield from _sqlite_files(Path(settings.store_url.removeprefix(_SQLITE).partition("?")[0]))


def _sqlite_files(database: Path) -> Iterator[Finding]:
    folder = database.parent
    if not folder.is_dir():
        yield _error("store", f"{folder} is not there", "make the folder, owned by runlink's user")
        return
    if not os.access(folder, os.W_OK) or (database.exists() and not os.access(database, os.W_OK)):
        yield _error("store", f"{database} cannot be written by this user", "run as the owner, or change the owner")
    if _mode(database) & stat.S_IWOTH:
        yield _error("store", f"{database} may be changed by anyone", "chmod o-w it")
    elif _mode(database) & stat.S_IROTH:
        yield _warning("store", f"{database} may be read by anyone: it has what engines tell", "chmod o-r it")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield _error("store", f"{folder} has {free >> 20} MiB left", "make room, or shorten [retention]")
    wal = Path(f"{database}-wal")
    if wal.exists() and wal.stat().st_size > max(64 << 20, database.stat().st_size):
        yield _warning(
            "store",
            f"the write-ahead log has grown to {wal.stat().st_size >> 20} MiB",
            "some process keeps an old reading open; end it, and the log shrinks",
        )


def _secrets(settings: Settings) -> Iterator[tuple[str, Secret]]:
    if settings.store_password is not None:
        yield "store.password", settings.store_password
    for engine in settings.engines.values():
        yield from ((f"engines.{engine.name}.{key}", v) for key, v in engine.options.items() if isinstance(v, Secret))
        if engine.webhook is not None:
            yield from ((f"engines.{engine.name}.webhook.secrets", secret) for secret in engine.webhook.secrets)
    for one in settings.subscriptions:
        yield from ((f"subscription {one.name}", secret) for secret in one.secrets)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


# --- the record -----------------------------------------------------------------------------------------------------


def _record(runlink: Runlink, failing: Collection[str]) -> Iterator[Finding]:
    """`failing` are engines whose check has just failed: that is told with its reason, not as the daemon's word."""
    try:
        running = runlink.is_running()
        with runlink.store.reading() as uow:
            feeds, quarantined = uow.feed_health.list(), uow.reports.quarantine(limit=1000)
            silent = uow.reports.runs(silent=True, limit=1000)
            tokens = uow.access.tokens(limit=10_000)
            stuck = [one for one in uow.outbox.subscribers() if one["failures"]]
    except Exception as error:
        trouble = outage(error)
        if trouble is None:
            raise
        yield _error("store", f"does not answer: {trouble}", "see the database's own log")
        return
    if running is False and runlink.settings.engines:
        yield _warning("daemon", "no `runlink serve` runs on this store", "start it; nothing is followed without")
    yield from _tokens(runlink.settings, tokens, runlink.now())
    if running is not False:
        for row in feeds:
            yield from _feed(row, runlink, failing)
    for one in stuck:
        yield _warning(
            f"subscriber {one['name']}",
            f"failed {one['failures']} times in a row: {one['last_error']}",
            "mend the subscriber; its events wait, and old ones are kept for it",
        )
    if quarantined:
        yield _warning("quarantine", f"{len(quarantined)} items were set aside", "see `runlink quarantine`")
    if silent:
        yield _warning("runs", f"{len(silent)} open Runs are without news", "see `runlink runs list --silent`")
    yield from _integrity(runlink.store)


def _tokens(settings: Settings, tokens: Sequence[Token], now: datetime) -> Iterator[Finding]:
    if any(token.is_valid(now) and covers(token.scopes, "hooks") for token in tokens):
        return
    for engine in settings.engines.values():
        if engine.webhook is not None and engine.webhook.authentication == "runlink-token":
            problem = "no valid token has the scope hooks, so nothing can be pushed"
            remedy = f"make one with `runlink tokens create {engine.name} --scope hooks`, and give it to the sender"
            yield _warning(f"engine {engine.name}", problem, remedy)


def _feed(row: dict[str, Any], runlink: Runlink, failing: Collection[str]) -> Iterator[Finding]:
    name, settings = row["engine"], runlink.settings.engines.get(row["engine"])
    if settings is None or row["feed"] != "poll":
        return
    about = f"engine {name}"
    if row["restarts"]:
        yield _warning(
            about,
            f"its adapter's process was lost and started again {row['restarts']} times since the daemon's start",
            "the daemon's log has the reasons; see docs/how-to/isolate-an-adapter.md",
        )
    if name in failing:
        return
    if row["state"] not in ("ok", "new"):
        yield _error(about, f"{row['state']}: {row['last_error']}", "see docs/reference/feed-states.md")
        return
    last = row["last_success_at"]
    behind = (runlink.now() - last).total_seconds() if last is not None else 0.0
    try:
        interval_s = runlink.interval_s(settings)
    except HostingError:
        return  # told above
    if behind > _LATE * interval_s + (row["last_duration_s"] or 0.0):
        yield _warning(
            about,
            f"was last read {behind:.0f} s ago, at an interval of {interval_s:g} s",
            "raise max_requests_per_minute, narrow `include`, or raise poll_interval_s",
        )
    elif row["last_duration_s"] is not None and row["last_duration_s"] > interval_s:
        yield _warning(
            about,
            f"a poll takes {row['last_duration_s']:.0f} s, longer than its interval of {interval_s:g} s",
            "narrow `include`, or raise poll_interval_s",
        )


def _integrity(store: SqlStore) -> Iterator[Finding]:
    if store.url.get_backend_name() != "sqlite":
        return
    with store.reading() as uow:
        settings = {name: uow.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode",)}
        broken = uow.connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5)
    if settings["journal_mode"] != "wal":
        yield _warning("store", "is not in WAL mode, perhaps on a network file system", "keep it on a local disk")
    if broken:
        yield _error("store", f"{len(broken)} rows or more refer to nothing", "restore a backup; report it, please")


# --- the engines ----------------------------------------------------------------------------------------------------


def _is_known(engine: EngineSettings, plugins: PluginHost) -> bool:
    """Whether there is an adapter for it; where not, that is told with the plugins."""
    try:
        plugins.adapter_for(engine)
    except HostingError:
        return False
    return True


def _engines(checked: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in checked:
        about = f"engine {row['engine']}"
        if not row["ok"]:
            yield _error(about, row["error"], "see `runlink engines test`, and the plugin's README for permissions")
        yield from (_warning(about, warning, "see the plugin's README") for warning in row["warnings"])
        if row["skew_s"] is not None and abs(row["skew_s"]) > MAX_SKEW_S:
            yield _warning(
                about, f"its clock is {row['skew_s']:+.0f} s off this machine's", "synchronise both with NTP"
            )
