"""`runlink record` and `runlink replay`: one sync as files without secrets, and the same tables made of them again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import OutputOption, moment
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.testing.recording import Recorded

_DIFFERENCES = 20
"""So many are shown in a table; JSON has all."""


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.command(rich_help_panel="Look")(record)
    main.command(rich_help_panel="Look")(replay)


def record(
    context: typer.Context,
    engine: Annotated[str, typer.Argument(help="Which engine of the configuration.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A new folder. Default: recording-ENGINE here.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Where to begin. Default: the engine's lookback.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Sync an engine once and write its exchanges down, without secrets: for tests and bug reports.

    The store of the configuration is left alone. Exit code 1 when the sync failed; its exchanges are written all the
    same.
    """
    from runlink import bootstrap
    from runlink.cli.engines import chosen_engines
    from runlink.testing.recording import record as record_engine

    settings = session.settings_of(context)
    (chosen,) = chosen_engines(settings, engine)
    plugins = bootstrap.load_plugins(settings, session.given(context).disabled)
    bootstrap.check_engine(chosen, plugins)
    begins = moment(since) if since else session.now() - timedelta(seconds=chosen.lookback_s)
    folder = to or Path(f"recording-{engine}")
    with _counted(f"recording {engine}") as on_exchange:
        found = record_engine(
            plugins.adapter_for(chosen), chosen, folder, since=begins, now=session.now, on_exchange=on_exchange
        )
    _show(_row(found), form)
    output.say(
        f"written to {found.folder}; look through it before you hand it on: names and messages of runs stand there"
    )
    if found.error:
        output.complain(found.error)
        raise typer.Exit(1)


def replay(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `runlink record` wrote.")],
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="KEY", help="Leave out a recorded key of the engine. May be repeated."),
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Make the same tables of a recording, in a store of its own, and compare them with those of the live sync.

    Nothing is sent to any engine. Exit code 1 when something differs.
    """
    from runlink import bootstrap
    from runlink.testing.recording import about_of
    from runlink.testing.recording import replay as replay_recording

    logging.getLogger("runlink.hosting").setLevel(logging.ERROR)  # plugins that are refused are not our matter
    about = about_of(folder)
    plugins = bootstrap.load_plugins(None, session.given(context).disabled)
    adapter_class = plugins.adapter_class(about["engine"]["type"])
    found = replay_recording(adapter_class, folder, **dict.fromkeys(without or (), None))
    row = {**_row(found), "missing": found.missing, "unused": found.unused, "differences": found.differences}
    _show(row, form)
    if form is Output.TABLE:
        if found.error:
            output.say(f"it ends as recorded: {found.error}" if found.is_same else f"it ends with: {found.error}")
        for line in (*(f"not recorded: {name}" for name in found.missing), *(found.differences or ())[:_DIFFERENCES]):
            output.say(line)
        if found.differences is None:
            output.say("the recording carries no tables to compare with")
    if not found.is_same:
        raise typer.Exit(1)


def _row(found: Recorded) -> dict[str, Any]:
    statuses: dict[str, int] = {}
    for instance in found.tables["instances"].values():
        statuses[instance["status"]] = statuses.get(instance["status"], 0) + 1
    return {
        "folder": str(found.folder),
        "product": found.product,
        "requests": found.requests,
        "instances": found.instances,
        "statuses": dict(sorted(statuses.items())),
        "steps": sum(len(row["steps"]) for row in found.tables["instances"].values()),
        "attempts": sum(len(row["attempts"]) for row in found.tables["instances"].values()),
        "set_aside": len(found.tables["set_aside"]),
        "error": found.error,
    }


def _show(row: dict[str, Any], form: Output) -> None:
    if form is Output.JSON:
        output.write_json(row)
        return
    columns: dict[str, output.Cell] = {
        "product": "product",
        "requests": "requests",
        "instances": "instances",
        "statuses": lambda row: ", ".join(f"{count} {status}" for status, count in row["statuses"].items()),
        "attempts": "attempts",
        "steps": "steps",
        "set aside": "set_aside",
    }
    if "differences" in row:
        columns |= {
            "unused": "unused",
            "differences": lambda row: "" if row["differences"] is None else len(row["differences"]),
        }
    output.table([row], columns)


@contextmanager
def _counted(doing: str) -> Iterator[Callable[[int], None]]:
    """How many exchanges there were so far, on a terminal."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} exchanges"), TimeElapsedColumn())
    with Progress(*columns, console=output.stderr(), transient=True, disable=not output.draws()) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda count: bar.update(task, completed=count)
