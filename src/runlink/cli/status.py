"""`runlink status`: how each engine's feeds are doing, and whether a daemon runs them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from runlink.cli import output, session
from runlink.cli.engines import unknown_engine
from runlink.cli.options import EngineOption, LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.application.settings import EngineSettings
    from runlink.bootstrap import Runlink

_NO_COUNTS = {"instances": 0, "open": 0, "vanished": 0, "linked": 0, "unlinked": 0}
_ERRORS = ("failures", "last_error", "last_error_at")
_HEALTH = (
    "state",
    "since",
    "last_success_at",
    "last_news_at",
    *_ERRORS,
    "last_duration_s",
    "requests",
    "skew_s",
)
_PUSH = ("state", "since", "last_success_at", "last_news_at", "told", "missed", *_ERRORS)
_WATCH = ("state", "since", "last_success_at", "last_news_at", "relists", *_ERRORS)


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Look")(status)


def status(
    context: typer.Context, engine: EngineOption = None, limit: LimitOption = 1000, form: OutputOption = Output.TABLE
) -> None:
    """How each engine is doing: state, lag, failures, requests, clock skew, and how many instances it has."""
    with session.record(context) as runlink:
        running = runlink.is_running()
        with runlink.store.reading() as uow:
            lease = uow.reports.lease()
            drifted = uow.reports.items_drift(engine=engine)
        rows = _rows(runlink, running, session.now())
    for row in rows:
        row["items_drifted"] = sum(one["engine"] == row["engine"] for one in drifted)
    names = [row["engine"] for row in rows]
    if engine is not None and engine not in names:
        raise unknown_engine(engine, names)
    rows = [row for row in rows if engine is None or row["engine"] == engine][:limit]
    if form is Output.TABLE:
        _say_daemon(running, lease)
        if not any(row["last_success_at"] or row["instances"] for row in rows):
            output.say("nothing was ever synced; start with `runlink sync` or `runlink serve`")
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "state": "state",
        "watch": lambda row: row["watch"]["state"] if row["watch"] else None,
        "push": lambda row: _push(row["push"]),
        "since": "since",
        "last success": "last_success_at",
        "last news": "last_news_at",
        "lag": lambda row: output.took(row["lag_s"]),
        "failures": "failures",
        "requests": "requests",
        "process": lambda row: _process(row["process"]),
        "skew": lambda row: output.took(row["skew_s"]),
        "open": "open",
        "linked": "linked",
        "unlinked": "unlinked",
        "product": lambda row: " ".join(filter(None, (row["product"], row["product_version"]))),
    }
    output.listing(rows, columns, form, empty="no engine is configured; see [engines.NAME] in the configuration")
    if form is Output.TABLE:
        for row in rows:
            for feed, known in (("", row), (" (watch)", row["watch"] or {}), (" (push)", row["push"] or {})):
                if known.get("last_error"):
                    output.say(f"{row['engine']}{feed}: {_last_error(known)}")
        for one in drifted:
            what = f"items of {one['engine']} {one['workflow']} do not fit rule {one['rule']!r}"
            output.say(f"warning: {what} since {output.when(one['drifted_since'])}: {one['reason']}")


def _rows(runlink: Runlink, running: bool | None, now: datetime) -> list[dict[str, Any]]:
    with runlink.store.reading() as uow:
        feeds = uow.feed_health.list()
        health = {row["engine"]: row for row in feeds if row["feed"] in ("poll", None)}
        pushes = {row["engine"]: row for row in feeds if row["feed"] == "receive"}
        counted = {(row["engine"], row["state"]): row["count"] for row in uow.deliveries.counts()}
        watches = {row["engine"]: row for row in feeds if row["feed"] == "watch"}
        counts = {row.pop("engine"): row for row in uow.reports.engine_counts()}
    rows = []
    for name in sorted({*health, *runlink.settings.engines}):
        settings, known = runlink.settings.engines.get(name), health.get(name, {})
        watch = watches.get(name)
        push = _pushed(settings, pushes.get(name), {s: counted.get((name, s), 0) for s in ("waiting", "dead")})
        last = _latest(known, watch, "last_success_at")
        row = {
            "engine": name,
            "type": settings.type if settings else known.get("type"),
            "url": settings.url if settings else known.get("url"),
            "product": known.get("product"),
            "product_version": known.get("product_version"),
            **{field: known.get(field) for field in _HEALTH},
            "last_success_at": last,
            "last_news_at": _latest(known, watch, "last_news_at"),
            "watch": watch and {field: watch[field] for field in _WATCH},
            "push": push,
            "isolation": settings.isolation if settings else None,
            "process": _isolated(settings, known, now),
            "lag_s": round((now - last).total_seconds(), 3) if last else None,
            **counts.get(name, _NO_COUNTS),
            "daemon_running": running,
        }
        row |= {"state": row["state"] or "new", "failures": row["failures"] or 0, "requests": row["requests"] or 0}
        rows.append(row)
    return rows


def _last_error(feed: dict[str, Any]) -> str:
    """The error, and when it was; what is over says so."""
    is_over = not feed["failures"] and feed["state"] in ("ok", "new", "missing")
    over = "the last error, over now: " if is_over else ""
    at = f" ({output.when(feed['last_error_at'])})" if feed["last_error_at"] else ""
    return f"{over}{feed['last_error']}{at}"


def _isolated(settings: EngineSettings | None, feed: dict[str, Any], now: datetime) -> dict[str, Any] | None:
    """The process that an engine's adapter runs in, where that is one of its own, as the daemon wrote it down last."""
    if settings is None or settings.isolation != "process":
        return None
    began = feed.get("process_started_at")
    return {
        "python": str(settings.python) if settings.python else None,
        "pid": feed.get("pid"),
        "started_at": began,
        "uptime_s": round((now - began).total_seconds(), 3) if began else None,
        "restarts": feed.get("restarts") or 0,
    }


def _process(process: dict[str, Any] | None) -> str | None:
    if process is None:
        return None
    restarts = f", {process['restarts']} restarts" if process["restarts"] else ""
    if process["pid"] is None:
        return f"none{restarts}"
    return f"{process['pid']}, up {output.took(process['uptime_s'])}{restarts}"


def _pushed(
    settings: EngineSettings | None, feed: dict[str, Any] | None, counts: dict[str, int]
) -> dict[str, Any] | None:
    """What an engine pushes: `told` and `missed` are instances that moved, by a delivery or only seen by a poll."""
    if feed is None and (settings is None or settings.webhook is None):
        return None
    return {**{field: feed[field] if feed else None for field in _PUSH}, **counts}


def _push(push: dict[str, Any] | None) -> str | None:
    if push is None:
        return None
    parts = [push["state"] or "new", *(f"{push[word]} {word}" for word in ("waiting", "dead") if push[word])]
    if push["missed"]:
        parts.append(f"{push['missed']} of {push['told'] + push['missed']} missed")
    return ", ".join(parts)


def _latest(poll: dict[str, Any], watch: dict[str, Any] | None, field: str) -> datetime | None:
    """A watch is news as good as a poll."""
    return max(filter(None, (poll.get(field), watch and watch[field])), default=None)


def _say_daemon(running: bool | None, lease: dict[str, Any] | None) -> None:
    if running:
        who = f" ({lease['holder']}, since {output.when(lease['taken_at'])})" if lease else ""
        output.say(f"a daemon runs{who}")
    elif running is None:
        output.say("whether a daemon runs, only the owner of the database's lock file may see")
    else:
        before = f"; the last to run was {lease['holder']}, from {output.when(lease['taken_at'])}" if lease else ""
        output.say(f"no daemon runs{before}")
