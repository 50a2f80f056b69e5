"""`runlink instances`: what runs and ran in the engines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import (
    BeforeOption,
    EngineOption,
    LimitOption,
    OutputOption,
    SinceOption,
    StatusOption,
    moment,
)
from runlink.cli.output import Output

app = typer.Typer(help="What runs and ran in the engines.", no_args_is_help=True)

FIELDS = (
    "id",
    "engine",
    "external_id",
    "workflow",
    "status",
    "native_status",
    "attempt",
    "started_at",
    "finished_at",
    "duration_seconds",
    "url",
    "parameters",
    "instance_metadata",
    "runs",
)
"""What an instance of a listing carries in JSON."""


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="instances", rich_help_panel="Look")


@app.command("list")
def list_(
    context: typer.Context,
    engine: EngineOption = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", help="Only this workflow; * stands for anything.")
    ] = None,
    status: StatusOption = None,
    linked: Annotated[
        bool | None, typer.Option("--linked/--unlinked", help="Only those that belong to a Run, or to none.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only those of this Run: its id or correlation id.")] = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Instances, newest first."""
    chosen: dict[str, Any] = {
        "engine": engine,
        "workflow": workflow,
        "status": status.value if status else None,
        "linked": linked,
        "since": moment(since) if since else None,
        "before": lookup.page_id(before),
    }
    with session.record(context) as runlink, runlink.store.reading() as uow:
        run_id = lookup.run_id(uow, run) if run else None
        found = uow.reports.instances(**chosen, run_id=run_id, limit=limit)
    if form is Output.JSON:
        output.write_json([{field: row[field] for field in FIELDS} for row in found])
        return
    columns: dict[str, output.Cell] = {
        "id": "id",
        "engine": "engine",
        "workflow": "workflow",
        "external id": "external_id",
        "status": lambda row: row["status"] + (" (vanished)" if row["vanished_at"] else ""),
        "native": "native_status",
        "try": "attempt",
        "started": "started_at",
        "took": lambda row: output.took(row["duration_seconds"]),
        "runs": lambda row: len(row["runs"]) or None,
    }
    output.listing(found, columns, form, empty="no instance is like that")
    output.more(found, limit, "--before")


@app.command()
def show(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="Its id, or the id its engine gave it.")],
    engine: EngineOption = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """One instance: its attempts, its steps, what was observed when, and the Runs it belongs to."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        found = lookup.instance_id(uow, instance, engine)
        row = uow.reports.instances(instance_id=found, limit=1)[0]
        for name in ("attempts", "steps", "observations"):
            row[name] = _without_key(getattr(uow.reports, name)([found]))
        names = ("run_id", "rule", "key", "pinned", "attached_at", "created_by", "is_active")
        row["links"] = [{name: link[name] for name in names} for link in uow.reports.links(instance_id=found)]
    if form is Output.JSON:
        output.write_json(row)
        return
    from runlink.cli.drawing import draw_instance

    output.stdout().print(draw_instance(row))


def _without_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("id", "instance_id")} for row in rows]
