"""`runlink relink`: the rules applied to what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from runlink.cli import lookup, output, session
from runlink.cli.engines import unknown_engine
from runlink.cli.options import EngineOption, OutputOption, moment
from runlink.cli.output import Output
from runlink.cli.plan import RULES, new_and_missing_runs

if TYPE_CHECKING:
    from runlink.application.linking.relink import Relinked
    from runlink.application.rules.rules import Rules
    from runlink.bootstrap import Runlink
    from runlink.domain import Engine


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Record")(relink)


def relink(
    context: typer.Context,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Instances that began since: a date or time, or 7d, 12h.")
    ],
    engine: EngineOption = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ID", help="Go on behind this instance, where an earlier one ended."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    form: OutputOption = Output.TABLE,
) -> None:
    """Apply the link rules to stored instances: link what they say now, take off what they no longer say.

    Links and unlinks made by hand stay. Touched Runs follow. A daemon may be running, and it may be done again.
    """
    begin = moment(since)
    behind = lookup.as_id(after)
    if after is not None and behind is None:
        raise typer.BadParameter(f"{after!r} is no id", param_hint="'--after'")
    with session.whole(context) as runlink:
        done = _relinked(runlink, begin, engine, behind, dry_run=dry_run)
    found = _told(runlink, done, dry_run=dry_run)
    if form is Output.JSON:
        output.write_json(found)
        return
    output.table(found["rules"], RULES)
    for line in new_and_missing_runs(found):
        typer.echo(line)
    made = sum(run["created"] for run in found["runs"])
    touched = f"{done.instances} instances; new Runs: {made}; Runs that get or lose instances: {done.runs_touched}"
    output.say(f"{touched}; nothing was changed" if dry_run else f"{touched}; Runs changed: {done.runs_changed}")


def _relinked(runlink: Runlink, begin: Any, engine: str | None, after: UUID | None, *, dry_run: bool) -> Relinked:
    from runlink.application.linking import relink as relinking

    with runlink.store.reading() as uow:
        stored = {one.name: one.id for one in uow.engines.list(limit=10_000, include_inactive=True)}
        if engine is not None and engine not in stored:
            raise unknown_engine(engine, stored)
        engine_id = None if engine is None else stored[engine]
        total = uow.ledger.count_instances(since=begin, engine_id=engine_id)
    rules, engines = _registering(runlink) if dry_run else (runlink.register().rules, None)
    last = [after]
    with output.progress("asking the rules", "instances") as advance:

        def progress(done: Relinked) -> None:
            last[0] = done.last
            advance(done.instances, total)

        try:
            return relinking.relink(
                runlink.store,
                rules,
                actor=session.actor(),
                now=runlink.now,
                since=begin,
                engine_id=engine_id,
                after=after,
                trial=engines,
                progress=progress,
            )
        except KeyboardInterrupt:
            if last[0] is not None:
                output.say(f"stopped; what was done stays. Go on with --after {last[0]}")
            raise


def _registering(runlink: Runlink) -> tuple[Rules, dict[UUID, Engine]]:
    """The rules and engines as registering would have them."""
    from runlink.application.registry import registering

    with runlink.store.reading() as uow:
        found = registering(uow, runlink.settings, runlink.plugins.linkers)
    return found.rules, {engine.id: engine for engine in found.engines.values()}


def _told(runlink: Runlink, done: Relinked, *, dry_run: bool) -> dict[str, Any]:
    from runlink.application.plan import rule_rows, run_rows, waiting_rows

    return {
        "dry_run": dry_run,
        "instances": done.instances,
        "rules": rule_rows(runlink.settings, done),
        "runs": run_rows(done),
        "waiting": waiting_rows(runlink.settings, done),
        "runs_touched": done.runs_touched,
        "runs_changed": None if dry_run else done.runs_changed,
        "last": done.last,
    }
