"""`runlink plugins list` and `runlink quarantine`: what was brought, and what could not be taken in."""

from __future__ import annotations

from typing import Annotated

import typer

from runlink.cli import output, session
from runlink.cli.options import EngineOption, LimitOption, OutputOption
from runlink.cli.output import Output

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

    given = session.given(context)
    settings = None
    if given.config is not None or given.path.exists():
        try:
            settings = bootstrap.load_settings(given.config)
        except ConfigError as error:
            output.complain(f"{error}\nits plugins.disabled is not regarded here")
    logging.getLogger("runlink.hosting").setLevel(logging.ERROR)  # the table has the same sentences
    host = bootstrap.load_plugins(settings, given.disabled)
    rows = [row for row in bootstrap.plugin_rows(host) if row["refused"] is not None or not refused][:limit]
    columns: dict[str, output.Cell] = {
        "name": "name",
        "version": "version",
        "state": lambda row: "refused" if row["refused"] else "ok",
        "engine types": "engine_types",
        "can": "capabilities",
    }
    output.listing(rows, columns, form, empty="no plugin was found; install one, e.g. runlink-jenkins")
    if form is Output.TABLE:
        for row in rows:
            if row["refused"]:
                output.say(f"{row['name']}: {row['refused']}")


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
