"""`runlink subscriptions`: who is told of runlink's own events, what waits for them, and what they never took."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import LimitOption, OutputOption
from runlink.cli.output import Output

app = typer.Typer(help="Who is told of events, by POST.", no_args_is_help=True)


class State(StrEnum):
    """What became of an event."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"


NameArgument = Annotated[str, typer.Argument(help="The subscription.")]


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="subscriptions", rich_help_panel="Look")


@app.command("list")
def list_(context: typer.Context, limit: LimitOption = 1000, form: OutputOption = Output.TABLE) -> None:
    """Each subscription: how many events wait, were sent and are dead, and why the last was not taken."""
    with session.record(context) as runlink:
        with runlink.store.reading() as uow:
            counts = {row["name"]: row for row in uow.subscriptions.counts()}
        configured = {one.name: one for one in runlink.settings.subscriptions}
    rows: list[dict[str, Any]] = []
    nothing = {"waiting": 0, "sent": 0, "dead": 0, "last_sent_at": None, "last_error": None}
    for name in sorted({*configured, *counts}):
        settings = configured.get(name)
        rows.append(
            {
                "name": name,
                "url": settings.url if settings else None,
                "events": list(settings.events) if settings else [],
                "configured": settings is not None,
                **{key: counts.get(name, nothing)[key] for key in nothing},
            }
        )
    columns: dict[str, output.Cell] = {
        "name": "name",
        "url": "url",
        "events": "events",
        "waiting": "waiting",
        "sent": "sent",
        "dead": "dead",
        "last sent": "last_sent_at",
        "last error": "last_error",
    }
    output.listing(rows[:limit], columns, form, empty="nobody is told; see [[subscriptions]] in the configuration")


@app.command()
def events(
    context: typer.Context,
    name: NameArgument,
    state: Annotated[State | None, typer.Option("--state", help="Only these: waiting, sent or dead.")] = None,
    before: Annotated[
        int | None, typer.Option("--before", metavar="POSITION", help="Only older rows than this one: the next page.")
    ] = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """What a subscription was, is to be, or could not be told, newest first."""
    with session.record(context) as runlink:
        _check(runlink.settings.subscriptions, name)
        with runlink.store.reading() as uow:
            found = uow.subscriptions.events(name, state=state.value if state else None, before=before, limit=limit)
    columns: dict[str, output.Cell] = {
        "position": "position",
        "type": "type",
        "run": "run_id",
        "occurred": "occurred_at",
        "state": "state",
        "tries": "attempts",
        "due": "due_at",
        "sent": "sent_at",
        "reason": "reason",
    }
    output.listing(found, columns, form, empty="no event is like that")
    if form is Output.TABLE:
        output.more(found, limit, "--before", "position")


@app.command()
def retry(
    context: typer.Context,
    name: NameArgument,
    positions: Annotated[list[int] | None, typer.Argument(help="Which dead events. Default: all of them.")] = None,
) -> None:
    """Send dead events once more. A running daemon does so within seconds."""
    with session.record(context) as runlink:
        _check(runlink.settings.subscriptions, name)
        count = session.write(runlink, lambda uow: uow.subscriptions.retry(name, positions or None, session.now()))
    output.say(f"{count} to be sent again")


def _check(subscriptions: Any, name: str) -> None:
    from runlink.application.problems import suggestion

    names = [one.name for one in subscriptions]
    if name not in names:
        there = ", ".join(names) or "none"
        raise typer.BadParameter(f"no subscription is called {name!r}{suggestion(name, names)}; configured: {there}")
