"""`runlink deliveries`: what engines pushed, what became of it, and once more."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import BeforeOption, EngineOption, LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.store import SqlUnitOfWork

app = typer.Typer(help="What engines pushed to /hooks.", no_args_is_help=True)


class State(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


StateOption = Annotated[State | None, typer.Option("--state", help="Only these: waiting, done or dead.")]


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="deliveries", rich_help_panel="Look")


@app.command("list")
def list_(
    context: typer.Context,
    engine: EngineOption = None,
    state: StateOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Deliveries, newest first: done, waiting (to be tried again at `due`), or dead, with the reason."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        found = uow.deliveries.list(
            engine=engine, state=state.value if state else None, before=lookup.page_id(before), limit=limit
        )
    columns: dict[str, output.Cell] = {
        "id": "id",
        "engine": "engine",
        "received": "received_at",
        "state": "state",
        "tries": "attempts",
        "due": "due_at",
        "bytes": "bytes",
        "their id": "external_id",
        "reason": "reason",
    }
    output.listing(found, columns, form, empty="no delivery is like that")
    if form is Output.TABLE:
        output.more(found, limit, "--before")


@app.command()
def show(
    context: typer.Context,
    delivery: Annotated[str, typer.Argument(help="Its id, or the id its sender gave it.")],
    engine: EngineOption = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """One delivery: what became of it, its headers (without secrets) and its body."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        row = _found(uow, delivery, engine)
        headers, body = uow.deliveries.content(row["id"]) or ([], b"")
    row = {**row, "headers": headers, "body": _readable(body)}
    if form is Output.JSON:
        output.write_json(row)
        return
    facts = {name: value for name, value in row.items() if name not in ("headers", "body") and value is not None}
    lines = [{"name": name, "value": output.shown(value)} for name, value in facts.items()]
    lines += [{"name": f"{name}:", "value": value} for name, value in headers]
    output.table(lines, {"": "name", " ": "value"})
    typer.echo(output.clean(row["body"]))


@app.command()
def replay(
    context: typer.Context,
    deliveries: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that are dead; with --engine, of that engine.")] = False,
    engine: EngineOption = None,
) -> None:
    """Have deliveries taken in once more, as if they had just come. A running daemon does so within seconds."""
    if bool(deliveries) == dead:
        raise typer.BadParameter("give ids, or --dead")
    with session.record(context) as runlink:
        with runlink.store.reading() as uow:
            if dead:
                rows = uow.deliveries.list(engine=engine, state=State.DEAD, limit=1_000_000)
            else:
                rows = [_found(uow, one, engine) for one in deliveries or ()]
        ids = [row["id"] for row in rows]
        count = session.write(runlink, lambda uow: uow.deliveries.replay(ids, session.now())) if ids else 0
        running = runlink.is_running()
    output.say(f"{count} to be taken in again" + ("" if running or not count else "; no daemon runs: `runlink serve`"))


def _found(uow: SqlUnitOfWork, text: str, engine: str | None) -> dict[str, Any]:
    from runlink.application.errors import Missing
    from runlink.domain import ValidationError

    rows = uow.deliveries.list(delivery=lookup.as_id(text) or text, engine=engine, limit=2)
    if not rows and lookup.as_id(text) is not None:
        rows = uow.deliveries.list(delivery=text, engine=engine, limit=2)  # the sender's id may be a UUID, too
    if not rows:
        raise Missing(f"no delivery has the id {text!r}; see `runlink deliveries list`")
    if len(rows) > 1:
        raise ValidationError(f"several engines have a delivery of the id {text!r}; give --engine")
    return rows[0]


def _readable(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")
