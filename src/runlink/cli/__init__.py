"""The `runlink` command. Operators come here; each module has one group of commands, `session` opens what they need.

Exit codes: 0 done; 1 failure; 2 wrong usage or configuration; 3 some engines failed, not all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from runlink.cli import (
    access,
    db,
    deliveries,
    doctor,
    engines,
    executions,
    inbox,
    init,
    instances,
    links,
    plan,
    plugins,
    recording,
    relink,
    runs,
    serve,
    status,
    subscriptions,
    sync,
    validate,
    work,
)
from runlink.cli.failure import report
from runlink.cli.options import LogFormat, LogLevel
from runlink.cli.session import Globals

__all__ = ["app", "main"]

app = typer.Typer(
    name="runlink",
    help="One record of every run, whichever engine ran it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    init,
    validate,
    doctor,
    plan,
    serve,
    sync,
    status,
    engines,
    instances,
    runs,
    inbox,
    links,
    relink,
    work,
    executions,
    deliveries,
    subscriptions,
    recording,
    plugins,
    access,
    db,
):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"runlink {version('runlink')}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="RUNLINK_CONFIG", help="The configuration file. Default: runlink.toml here."),
    ] = None,
    plugin: Annotated[
        list[str] | None, typer.Option("-p", metavar="no:NAME", help="Leave a plugin out. May be repeated.")
    ] = None,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", envvar="RUNLINK_LOG_FORMAT", case_sensitive=False, help="json: for programs."),
    ] = LogFormat.TEXT,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    names = plugin or []
    for name in names:
        if not name.startswith("no:") or len(name) < 4:
            raise typer.BadParameter(f"{name!r}: only no:NAME is understood", param_hint="'-p'")
    from runlink.cli import logs

    logs.configure(LogLevel.WARNING, log_format)
    context.obj = Globals(config, tuple(name.removeprefix("no:") for name in names), log_format)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits. The global options may also stand behind the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            _called(_globals_first(given))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush finds somebody
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last place: told, with the right exit code
        sys.exit(report(error))


def _called(arguments: list[str]) -> None:
    """The command. Where everything is to be JSON, so is a wrong usage, which typer would draw."""
    if not _wants_json(arguments):
        app(args=arguments, prog_name="runlink")
        return
    from runlink.cli import logs
    from runlink.cli.output import complain

    logs.configure(LogLevel.WARNING, LogFormat.JSON)
    try:
        code = app(args=arguments, prog_name="runlink", standalone_mode=False)
    except typer.Abort:
        complain("aborted")
        sys.exit(1)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        complain(error.format_message())  # a usage error of click, whose classes typer keeps to itself
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _wants_json(arguments: list[str]) -> bool:
    """Whether `--log-format json` is given, or the variable says so; the last one counts."""
    given = os.environ.get("RUNLINK_LOG_FORMAT", "")
    for place, word in enumerate(arguments):
        if word == "--":
            break
        if word == "--log-format":
            given = arguments[place + 1] if place + 1 < len(arguments) else ""
        elif word.startswith("--log-format="):
            given = word.partition("=")[2]
    return given.lower() == LogFormat.JSON


def _globals_first(arguments: list[str]) -> list[str]:
    """The arguments with the global options in front, wherever they stood before `--`."""
    first: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for word in waiting:
        if word == "--":
            rest += [word, *waiting]
        elif word in ("--config", "-p", "--log-format"):
            first += [word, *([value] if (value := next(waiting, None)) is not None else [])]
        elif word.startswith(("--config=", "-pno:", "--log-format=")):
            first.append(word)
        else:
            rest.append(word)
    return first + rest
