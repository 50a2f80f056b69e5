"""`runlink doctor` and `runlink backup`: is the installation well, and a copy of its store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from runlink.cli import output, session
from runlink.cli.options import OutputOption
from runlink.cli.output import Output


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.command(rich_help_panel="Look")(doctor)
    main.command(rich_help_panel="Record")(backup)


def doctor(
    context: typer.Context,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each engine.")] = 30.0,
    form: OutputOption = Output.TABLE,
) -> None:
    """Examine configuration, plugins, store, daemon and engines; tell what is wrong, each with its remedy.

    Changes nothing. Exit code 0 when all is well, 3 when there are only warnings, 1 when something must be mended.
    """
    from runlink.doctor import Severity, examine

    given = session.given(context)
    findings = list(examine(given.config, disabled=given.disabled, timeout_s=timeout_s, now=session.now))
    columns: dict[str, output.Cell] = {
        "severity": "severity", "about": "about", "problem": "problem", "remedy": "remedy",
    }  # fmt: skip
    output.listing([asdict(one) for one in findings], columns, form, empty="all is well")
    if findings:
        raise typer.Exit(1 if any(one.severity is Severity.ERROR for one in findings) else 3)


def backup(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the copy is to be; a file that is not there yet.")
    ],
) -> None:
    """Copy the store to a file, also while `serve` is running, and check the copy. SQLite only."""
    from runlink.store.backup import backup as copy

    with session.record(context) as runlink, output.progress("copying", "pages") as advance:
        size = copy(runlink.store, file, advance)
    output.say(f"{file} holds {size:,} bytes, and is whole")
