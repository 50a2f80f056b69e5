"""`runlink plugins` and `runlink quarantine`: what was brought, and what could not be taken in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runlink.cli import output, session
from runlink.cli.options import EngineOption, LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.hosting.inspection import Finding

app = typer.Typer(help="Plugins, which bring the engine types.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="plugins", rich_help_panel="Set up")
    main.command(rich_help_panel="Look")(quarantine)


@app.command("list")
def list_(
    context: typer.Context,
    refused: Annotated[bool, typer.Option("--refused", help="Only those that are not loaded.")] = False,
    limit: LimitOption = 1000,
    form: OutputOption = Output.TABLE,
) -> None:
    """The plugins that were found: what each can do, and for a refused one why."""
    import logging

    from runlink import bootstrap
    from runlink.config import ConfigError
    from runlink.hosting import PythonUnusable

    given = session.given(context)
    settings = None
    if given.config is not None or given.path.exists():
        try:
            settings = bootstrap.load_settings(given.config)
        except ConfigError as error:
            output.complain(f"{error}\nits plugins.disabled is not regarded here")
    logging.getLogger("runlink.hosting").setLevel(logging.ERROR)  # the table has the same sentences
    host = bootstrap.load_plugins(settings, given.disabled)
    rows = bootstrap.plugin_rows(host)
    engines = settings.engines.values() if settings is not None else ()
    for python in sorted({engine.python for engine in engines if engine.python is not None}):
        try:
            rows += bootstrap.plugin_rows_elsewhere(host, python)
        except PythonUnusable as error:
            output.complain(str(error))
    rows = [row for row in rows if row["refused"] is not None or not refused][:limit]
    columns: dict[str, output.Cell] = {
        "name": "name",
        "version": "version",
        "state": lambda row: "refused" if row["refused"] else "ok",
        "engine types": "engine_types",
        "can": "capabilities",
        "grade": _grade,
    }
    if any(row["python"] for row in rows):
        columns["python"] = "python"
    output.listing(rows, columns, form, empty="no plugin was found; install one, e.g. runlink-jenkins")
    if form is Output.TABLE:
        for row in rows:
            if row["refused"]:
                output.say(f"{row['name']}: {row['refused']}")


def _grade(row: output.Row) -> str:
    if row["refused"]:
        return ""
    return f"{row['grade'] or 'none'}{', experimental' if row['experimental'] else ''}"


@app.command()
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this plugin.")] = None,
    path: Annotated[Path | None, typer.Option("--path", help="Where its sources are, tests included.")] = None,
    python: Annotated[
        Path | None, typer.Option("--python", help="In the environment of this Python, as an engine's `python`.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Look plugins through: hooks, signatures, schema, grade, tests, documentation, clashing dependencies.

    Exit code 1 when something is wrong. What cannot be seen from here is said, and counts as neither.
    """
    import logging

    from runlink import bootstrap
    from runlink.hosting.inspection import inspect, inspect_elsewhere

    logging.getLogger("runlink.hosting").setLevel(logging.ERROR)  # the table has the same sentences
    if python is not None:
        _findings(inspect_elsewhere(python, name, path), form)
        return
    host = bootstrap.load_plugins(None, session.given(context).disabled)
    chosen = [plugin for plugin in host.plugins if name is None or plugin.name == name]
    if name is not None and not chosen:
        there = ", ".join(plugin.name for plugin in host.plugins) or "none"
        raise typer.BadParameter(f"no plugin is called {name!r}; installed: {there}", param_hint="NAME")
    _findings([finding for plugin in chosen for finding in inspect(host, plugin, path)], form)


def _findings(findings: list[Finding], form: Output) -> None:
    rows = [{"plugin": f.plugin, "about": f.about, "ok": f.ok, "text": f.text} for f in findings]
    columns: dict[str, output.Cell] = {
        "plugin": "plugin",
        "about": "about",
        "state": lambda row: {True: "ok", False: "failed", None: "unseen"}[row["ok"]],
        "what": "text",
    }
    output.listing(rows, columns, form, empty="no plugin was found; install one, e.g. runlink-jenkins")
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The engine type, e.g. acme.")],
    path: Annotated[Path | None, typer.Option("--path", help="The new folder. Default: runlink-NAME here.")] = None,
) -> None:
    """Make a distribution for a new engine type, which passes its own tests at once."""
    from runlink.cli.scaffold import write_plugin

    folder = path or Path(f"runlink-{name}")
    files = write_plugin(name, folder)
    output.say(f"{len(files)} files in {folder}; next:")
    output.say(f"  cd {folder} && pip install -e '.[test]' && pytest")


@app.command()
def schema() -> None:
    """Print the JSON Schema of what adapters tell: pages, observations, steps, deliveries and receipts."""
    from runlink.hosting.published import observation_schema

    output.write_json(observation_schema())


def quarantine(
    context: typer.Context, engine: EngineOption = None, limit: LimitOption = 50, form: OutputOption = Output.TABLE
) -> None:
    """Items of the engines' answers that made no sense and were set aside, latest first."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.quarantine(engine=engine, limit=limit)
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "external id": "external_id",
        "feed": "feed",
        "last seen": "last_seen_at",
        "times": "count",
        "reason": "reason",
    }
    output.listing(rows, columns, form, empty="nothing is set aside")
