"""`runlink sync` and `runlink backfill`: one pass over the engines, then exit."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import logs, output, session
from runlink.cli.engines import chosen_engines
from runlink.cli.options import EngineOption, LogLevel, LogLevelOption, OutputOption, moment
from runlink.cli.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from runlink.application.ingest.ingest import Outcome
    from runlink.bootstrap import Runlink
    from runlink.daemon import EngineFeed

_QUICK_S = 1.0
"""A pass that is over by then shows no progress bar."""
_LOOK_S = 0.1
_COUNTS = ("new", "changed", "same", "linked", "vanished", "quarantined", "runs_changed")
_QUIET_AT_ONCE = 200


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.command(rich_help_panel="Run")(sync)
    main.command(rich_help_panel="Run")(backfill)


def sync(
    context: typer.Context,
    engine: EngineOption = None,
    log_level: LogLevelOption = LogLevel.WARNING,
    form: OutputOption = Output.TABLE,
) -> None:
    """Read every engine once, all at the same time, then exit: 3 when some engines failed, 1 when all did."""
    logs.configure(log_level, context.obj.log_format)
    _pass(context, engine, None, form)


def backfill(
    context: typer.Context,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="A date or time in UTC, or 7d, 12h, 30m.")],
    engine: EngineOption = None,
    log_level: LogLevelOption = LogLevel.WARNING,
    form: OutputOption = Output.TABLE,
) -> None:
    """Read the engines' history from a time on, deep and costly reads included. Exit codes as for sync."""
    logs.configure(log_level, context.obj.log_format)
    _pass(context, engine, moment(since), form)


@dataclass
class _Tally:
    """What came in so far, by engine. Feeds report from their own threads, each about its own engine."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def note(self, engine: str, outcome: Outcome) -> None:
        mine = self.counts.setdefault(engine, dict.fromkeys(_COUNTS, 0))
        for name in _COUNTS:
            mine[name] += getattr(outcome, name)
        self.seen[engine] = self.seen.get(engine, 0) + len(outcome.seen)


def _pass(context: typer.Context, only: str | None, since: datetime | None, form: Output) -> None:
    from runlink.application.runs import end_quiet_runs
    from runlink.bootstrap import tracing_of

    with session.whole(context) as runlink:
        chosen = [engine.name for engine in chosen_engines(runlink.settings, only)]
        if not chosen:
            output.say("no engine is configured; see [engines.NAME] in the configuration")
        with tracing_of(runlink.settings), runlink.lease() as fence:
            registered = runlink.register()
            for change in registered.changes:
                output.say(change)
            tally = _Tally()
            relay, dispatch = runlink.relay(fence), runlink.dispatch(fence)
            relay.enrol()  # before anything happens
            dispatch.enrol()
            every = runlink.feeds(registered, fence, progress=tally.note, backfill_since=since)
            rows = _read(runlink, {name: every[name] for name in chosen}, tally, keep_health=since is None)

            def end_quiet(uow: Any) -> int:
                return end_quiet_runs(uow, registered.rules, runlink.now(), limit=_QUIET_AT_ONCE)

            while runlink.store.write(end_quiet, actor=session.actor()) == _QUIET_AT_ONCE:
                pass
            relay.run()
            dispatch.run()
    _show(rows, form)
    raise typer.Exit(session.exit_code(sum(not row["ok"] for row in rows), len(rows)))


class _Turn(threading.Thread):
    """One engine's one turn. `lost` is set when another process took over the store."""

    def __init__(self, feed: EngineFeed) -> None:
        super().__init__(name=f"runlink-sync-{feed.engine.name}", daemon=True)
        self.feed = feed
        self.lost: BaseException | None = None

    def run(self) -> None:
        try:
            self.feed.run()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self.lost = error


def _read(
    runlink: Runlink, feeds: Mapping[str, EngineFeed], tally: _Tally, *, keep_health: bool
) -> list[dict[str, Any]]:
    turns = [_Turn(feed) for feed in feeds.values()]
    try:
        for turn in turns:
            turn.start()
        _wait(turns, tally)
        if keep_health and feeds:
            health = [feed.health_row() for feed in feeds.values()]
            runlink.store.write(lambda uow: uow.feed_health.store(health), actor=session.actor())
        return [_row(name, feed, tally) for name, feed in feeds.items()]
    finally:
        for feed in feeds.values():
            feed.close()


def _wait(turns: list[_Turn], tally: _Tally) -> None:
    """Until every feed has had its turn; one that hangs beyond its deadline is left behind."""
    bar: _Bar | None = None
    begun = time.monotonic()
    waiting = list(turns)
    try:
        while waiting := [turn for turn in waiting if turn.is_alive()]:
            waiting[0].join(_LOOK_S)
            waiting = [turn for turn in waiting if not (turn.feed.is_overdue() and turn.feed.abandon() is not None)]
            if bar is None and output.draws() and time.monotonic() - begun > _QUICK_S:
                bar = _Bar()
            if bar is not None:
                bar.show(tally, [turn.feed.engine.name for turn in waiting])
    finally:
        if bar is not None:
            bar.close()
    for turn in turns:
        if turn.lost is not None:
            raise turn.lost


class _Bar:
    """A line per engine that is still being read: how many instances were read and how long it takes."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} read"))
        self._progress: Progress = Progress(*columns, TimeElapsedColumn(), console=output.stderr(), transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, tally: _Tally, running: list[str]) -> None:
        """Brings the lines up to date."""
        for name in running:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=None)
        for name, task in self._tasks.items():
            read = tally.seen.get(name, 0)
            self._progress.update(task, completed=read, total=None if name in running else max(read, 1))

    def close(self) -> None:
        """Takes the lines away."""
        self._progress.stop()


def _row(name: str, feed: EngineFeed, tally: _Tally) -> dict[str, Any]:
    health = feed.health
    return {
        "engine": name,
        "ok": health.state == "ok",
        "state": health.state,
        **tally.counts.get(name, dict.fromkeys(_COUNTS, 0)),
        "requests": health.requests,
        "duration_s": health.last_duration_s,
        "error": None if health.state == "ok" else health.last_error,
    }


def _show(rows: list[dict[str, Any]], form: Output) -> None:
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "state": "state",
        "new": "new",
        "changed": "changed",
        "same": "same",
        "linked": "linked",
        "vanished": "vanished",
        "set aside": "quarantined",
        "requests": "requests",
        "took": lambda row: output.took(row["duration_s"]),
    }
    output.listing(rows, columns, form)  # what an engine failed with is in the log, once
