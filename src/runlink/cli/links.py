"""`runlink link` and `runlink unlink`: links by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import EngineOption

if TYPE_CHECKING:
    from runlink.store import SqlUnitOfWork

RunArgument = Annotated[str, typer.Argument(help="The Run's id or correlation id.")]
InstanceArgument = Annotated[str, typer.Argument(help="The instance's id, or the id its engine gave it.")]


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.command(rich_help_panel="Record")(link)
    main.command(rich_help_panel="Record")(unlink)


def link(context: typer.Context, run: RunArgument, instance: InstanceArgument, engine: EngineOption = None) -> None:
    """Let an instance count for a Run. What it started follows the rules."""
    _tie(context, run, instance, engine, on=True)


def unlink(context: typer.Context, run: RunArgument, instance: InstanceArgument, engine: EngineOption = None) -> None:
    """Take the link off; no rule puts it back."""
    _tie(context, run, instance, engine, on=False)


def _tie(context: typer.Context, run: str, instance: str, engine: str | None, *, on: bool) -> None:
    from runlink.application import runs

    with session.record(context) as runlink:
        rules = runlink.rules()

        def work(uow: SqlUnitOfWork) -> tuple[UUID, UUID, str]:
            ids = lookup.run_id(uow, run), lookup.instance_id(uow, instance, engine)
            (runs.link if on else runs.unlink)(uow, rules, *ids, now=runlink.now())
            after = uow.runs.get(ids[0])
            return *ids, after.status.value if after else "gone"

        run_id, instance_id, status = session.write(runlink, work)
    output.say(f"instance {instance_id} is {'linked to' if on else 'unlinked from'} run {run_id}, which is {status}")
