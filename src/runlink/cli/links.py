"""`runlink link` and `runlink unlink`: links by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import EngineOption

if TYPE_CHECKING:
    from runlink.bootstrap import Runlink
    from runlink.store import SqlUnitOfWork

RunArgument = Annotated[str, typer.Argument(help="The Run's id or correlation id.")]
InstanceArgument = Annotated[str, typer.Argument(help="The instance's id, or the id its engine gave it.")]


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.command(rich_help_panel="Record")(link)
    main.command(rich_help_panel="Record")(unlink)


def link(context: typer.Context, run: RunArgument, instance: InstanceArgument, engine: EngineOption = None) -> None:
    """Let an instance count for a Run, whatever the rules say; print the rule that would have made the link.

    What the instance started follows the rules. The rule goes to stdout, as TOML.
    """
    from runlink.application import runs
    from runlink.application.linking.inbox import made_by, rule_of_file

    with session.record(context) as runlink:
        rules = runlink.rules()

        def work(uow: SqlUnitOfWork) -> tuple[UUID, UUID, str | None, str | None]:
            ids = lookup.run_id(uow, run), lookup.instance_id(uow, instance, engine)
            tie = runs.link(uow, rules, *ids, now=runlink.now())
            rule = tie.rule if tie.rule in rules.by_name else rule_of_file(uow, rules, *ids)
            return *ids, rule, None if rule is not None else made_by(uow, rules, *ids)

        run_id, instance_id, rule, learnt = session.write(runlink, work)
        _tell(runlink, run_id, f"instance {instance_id} is linked to")
    if learnt is not None:
        output.say("this rule would have made the link:")
        typer.echo(learnt, nl=False)
    elif rule is not None:
        output.say(f"the rule {rule!r} makes this link; now it is yours, and no rule takes it off")
    else:
        output.say("no rule can make this link: nothing in the instance leads to the Run; pass the run id on to it")


def unlink(context: typer.Context, run: RunArgument, instance: InstanceArgument, engine: EngineOption = None) -> None:
    """Take the link off, and what the instance handed down to those it started; no rule puts it back."""
    from runlink.application import runs

    with session.record(context) as runlink:
        rules = runlink.rules()

        def work(uow: SqlUnitOfWork) -> tuple[UUID, UUID, int]:
            ids = lookup.run_id(uow, run), lookup.instance_id(uow, instance, engine)
            return *ids, len(runs.unlink(uow, rules, *ids, now=runlink.now())) - 1

        run_id, instance_id, heirs = session.write(runlink, work)
        _tell(runlink, run_id, f"instance {instance_id} is unlinked from")
    if heirs:
        output.say(f"with it went what it had started: {heirs} {'link' if heirs == 1 else 'links'}")


def _tell(runlink: Runlink, run_id: UUID, done: str) -> None:
    with runlink.store.reading() as uow:
        run = uow.runs.get(run_id)
    output.say(f"{done} run {run_id}, which is {run.status.value if run else 'gone'}")
