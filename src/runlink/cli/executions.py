"""`runlink executions`: how batches and items fared in Runs, with each item's history."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import BeforeOption, LimitOption, OutputOption, SinceOption, StatusOption, moment
from runlink.cli.output import Output

app = typer.Typer(help="How batches and items fared in Runs.", no_args_is_help=True)


class Kind(StrEnum):
    """Whose executions."""

    ITEMS = "items"
    BATCHES = "batches"


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="executions", rich_help_panel="Look")


@app.command("list")
def list_(
    context: typer.Context,
    kind: Annotated[Kind, typer.Option("--of", help="Executions of items or of batches.")] = Kind.ITEMS,
    run: Annotated[str | None, typer.Option("--run", help="Only those of this Run: its id or correlation id.")] = None,
    batch: Annotated[str | None, typer.Option("--batch", metavar="NAME", help="Only those of this batch.")] = None,
    status: StatusOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Executions, newest first; --since asks when they started."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        listing = uow.reports.item_executions if kind is Kind.ITEMS else uow.reports.batch_executions
        rows = listing(
            run_id=lookup.run_id(uow, run) if run else None,
            batch=batch,
            status=status.value if status else None,
            since=moment(since) if since else None,
            before=lookup.page_id(before),
            limit=limit,
        )
    own: dict[str, output.Cell] = {"items": "items"}
    if kind is Kind.ITEMS:
        own = {"number": "sequence_number", "try": _tries, "error": "error_message"}
    columns: dict[str, output.Cell] = {
        "id": "id",
        "automation": "automation",
        "batch": "batch",
        "status": "status",
        "started": "started_at",
        "finished": "finished_at",
        **own,
    }
    output.listing(rows, columns, form, empty="no execution is like that")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


@app.command()
def show(
    context: typer.Context,
    execution: Annotated[str, typer.Argument(help="The id of an item's or a batch's execution.")],
    form: OutputOption = Output.TABLE,
) -> None:
    """One execution: of an item with its payload and history, of a batch with its items."""
    from runlink.application.errors import Missing

    wanted = lookup.as_id(execution)
    with session.record(context) as runlink, runlink.store.reading() as uow:
        row: dict[str, Any]
        if wanted is not None and (found := uow.reports.item_executions(execution_id=wanted)):
            item = uow.items.get(found[0]["item_id"])
            history = uow.item_state_history.list(item_execution_id=wanted, limit=10_000)
            row = {
                **found[0],
                "payload": item.payload if item else None,
                "history": [
                    {
                        "changed_at": record.changed_at,
                        "previous_status": record.previous_status,
                        "new_status": record.new_status,
                        "created_by": record.created_by,
                    }
                    for record in history
                ],
            }
        elif wanted is not None and (found := uow.reports.batch_executions(execution_id=wanted)):
            executed = uow.reports.item_executions(batch_execution_id=wanted, limit=10_000)
            row = {**found[0], "executions": executed}
        else:
            raise Missing(f"no execution has the id {execution!r}; see `runlink executions list`")
    if form is Output.JSON:
        output.write_json(row)
        return
    for name, value in row.items():
        if name not in ("history", "executions"):
            typer.echo(f"{name + ':':20}{output.shown(value)}".rstrip())
    if row.get("history"):
        typer.echo()
        output.table(
            row["history"],
            {"changed": "changed_at", "from": "previous_status", "to": "new_status", "by": "created_by"},
        )
    if row.get("executions"):
        typer.echo()
        output.table(
            row["executions"],
            {"id": "id", "number": "sequence_number", "status": "status", "try": _tries, "error": "error_message"},
        )


def _tries(row: output.Row) -> str:
    most = row["max_attempts"]
    return f"{row['attempt_count']}" + (f" of {most}" if most is not None else "")
