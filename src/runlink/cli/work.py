"""`runlink automations`, `batches` and `items`: what is to be executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import items as rules_of_items
from runlink.cli import lookup, output, session
from runlink.cli.options import AutomationOption, BeforeOption, LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.domain import Automation
    from runlink.store import SqlUnitOfWork

automations = typer.Typer(help="Automations: what Runs are executions of.", no_args_is_help=True)
batches = typer.Typer(help="Batches: named groups of items of an automation.", no_args_is_help=True)
items = typer.Typer(help="Items: single pieces of work.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    rules_of_items.register(items)
    for app, name in ((automations, "automations"), (batches, "batches"), (items, "items")):
        main.add_typer(app, name=name, rich_help_panel="Record")


def _file(option: str, text: str) -> Any:
    return typer.Option(option, metavar="FILE", help=f"{text} - is stdin.")


@automations.command("create")
def create_automation(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Unique among the automations.")],
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    batch_schema: Annotated[Path | None, _file("--batch-schema", "JSON Schema file of its batches' payloads.")] = None,
    item_schema: Annotated[Path | None, _file("--item-schema", "JSON Schema file of its items' payloads.")] = None,
) -> None:
    """Make an automation and print its id."""
    from runlink.domain import Automation

    schemas = {"batch_schema": _json_file(batch_schema), "item_schema": _json_file(item_schema)}
    made = Automation(name=name, description=description, **schemas)
    with session.record(context) as runlink:
        session.write(runlink, lambda uow: uow.automations.add(made))
    typer.echo(str(made.id))


@automations.command("list")
def list_automations(
    context: typer.Context,
    name: Annotated[str | None, typer.Option("--name", help="Only the one of this name.")] = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Automations, newest first."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.automations(name=name, before=lookup.page_id(before), limit=limit)
    columns: dict[str, output.Cell] = {
        "id": "id",
        "name": "name",
        "description": "description",
        "batch schema": lambda row: row["batch_schema"] is not None,
        "item schema": lambda row: row["item_schema"] is not None,
        "created": "created_at",
    }
    output.listing(rows, columns, form, empty="there is no automation")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


@batches.command("create")
def create_batch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Unique within its automation.")],
    automation: Annotated[str, typer.Option("--automation", metavar="NAME", help="Whose batch it is.")],
    payload: Annotated[Path | None, _file("--payload", "JSON file; checked against the batch schema.")] = None,
) -> None:
    """Make a batch and print its id."""
    from runlink.domain import Batch

    content = _json_file(payload)

    def work(uow: SqlUnitOfWork) -> Batch:
        owner = lookup.automation(uow, automation)
        if payload is not None or owner.batch_schema is not None:
            owner.validate_batch_payload(content)
        made = Batch(automation_id=owner.id, name=name, payload=content)
        uow.batches.add(made)
        return made

    with session.record(context) as runlink:
        made = session.write(runlink, work)
    typer.echo(str(made.id))


@batches.command("list")
def list_batches(
    context: typer.Context,
    automation: AutomationOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Only those of this name.")] = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Batches, newest first."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.batches(automation=automation, name=name, before=lookup.page_id(before), limit=limit)
    columns: dict[str, output.Cell] = {
        "id": "id",
        "automation": "automation",
        "name": "name",
        "items": "items",
        "payload": "payload",
        "created": "created_at",
    }
    output.listing(rows, columns, form, empty="there is no batch")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


BatchOption = Annotated[str, typer.Option("--batch", help="The batch's name or id.")]
BatchAutomationOption = Annotated[
    str | None, typer.Option("--automation", metavar="NAME", help="Whose batch, where several have the name.")
]


@items.command("add")
def add_items(
    context: typer.Context,
    batch: BatchOption,
    file: Annotated[Path, typer.Argument(help="JSON Lines; - is stdin.")] = Path("-"),
    automation: BatchAutomationOption = None,
) -> None:
    """Add the lines of a JSON Lines file to a batch, an item each, behind those that are there.

    Each line is a payload and must fit the automation's item schema. All are added, or none when a line is wrong.
    """
    from runlink.cli.jsonlines import payloads

    lines = payloads(file)

    def work(uow: SqlUnitOfWork) -> tuple[int, int]:
        from runlink.domain import Item

        row = lookup.batch(uow, batch, automation)
        owner = uow.automations.get(row["automation_id"])
        content = lines.checked(_check_of(owner))
        uow.ledger.lock_automations([row["automation_id"]])
        first = uow.reports.next_sequence_number(row["id"])
        for number, payload in enumerate(content, start=first):
            uow.items.add(Item(batch_id=row["id"], sequence_number=number, payload=payload))
        return first, len(content)

    with session.record(context) as runlink:
        first, count = session.write(runlink, work)
    output.say(f"{count} items were added to batch {batch}" + (f", from number {first} on" if count else ""))


@items.command("list")
def list_items(
    context: typer.Context,
    batch: BatchOption,
    automation: BatchAutomationOption = None,
    after: Annotated[
        int | None, typer.Option("--after", metavar="NUMBER", help="Only those behind this number.")
    ] = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Items of a batch, by their number."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.items(lookup.batch(uow, batch, automation)["id"], after=after, limit=limit)
    columns: dict[str, output.Cell] = {
        "id": "id",
        "number": "sequence_number",
        "payload": "payload",
        "created": "created_at",
    }
    output.listing(rows, columns, form, empty="the batch has no item like that")
    if form is Output.TABLE:
        output.more(rows, limit, "--after", "sequence_number")


def _check_of(automation: Automation | None) -> Callable[[Any], None]:
    return automation.validate_item_payload if automation is not None else lambda _payload: None


def _json_file(path: Path | None) -> Any:
    from runlink.cli.jsonlines import one_value

    return None if path is None else one_value(path)
