"""`runlink db upgrade`: the store's schema, brought up to this program's."""

from __future__ import annotations

import typer

from runlink.cli import output, session

app = typer.Typer(help="The database.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="db", rich_help_panel="Set up")


@app.command()
def upgrade(context: typer.Context) -> None:
    """Set up the database, or upgrade its schema. `serve` and every other command do so by themselves."""
    from runlink import bootstrap
    from runlink.store import NoStore, SchemaMismatch

    settings = session.settings_of(context)
    try:
        bootstrap.open_settings_store(settings, migrate=False).close()
    except NoStore:
        bootstrap.open_settings_store(settings).close()
        output.say("the database is made")
    except SchemaMismatch:
        bootstrap.open_settings_store(settings).close()
        output.say("the database is upgraded")
    else:
        output.say("the database is up to date")
