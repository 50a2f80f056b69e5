"""`runlink relink`: the rules applied to what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from runlink.cli import lookup, output, session
from runlink.cli.engines import unknown_engine
from runlink.cli.options import EngineOption, OutputOption, moment
from runlink.cli.output import Output
from runlink.cli.plan import RULES
from runlink.cli.progress import instances_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from runlink.application.ports import UnitOfWork
    from runlink.application.relink import Relinked
    from runlink.application.rules import Rules
    from runlink.bootstrap import Runlink


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
    made = sum(run["created"] for run in found["runs"])
    would = "would be " if dry_run else ""
    output.say(f"{done.instances} instances; {would}new Runs: {made}; Runs {would}changed: {done.runs_changed}")


def _relinked(runlink: Runlink, begin: Any, engine: str | None, after: UUID | None, *, dry_run: bool) -> Relinked:
    from runlink.application import relink as relinking

    with runlink.store.reading() as uow:
        stored = {one.name: one.id for one in uow.engines.list(limit=10_000, include_inactive=True)}
        if engine is not None and engine not in stored:
            raise unknown_engine(engine, stored)
        engine_id = None if engine is None else stored[engine]
        total = uow.ledger.count_instances(since=begin, engine_id=engine_id)
    rules = _registering(runlink) if dry_run else _registered(runlink)
    last = [after]
    with instances_bar(total) as show:

        def progress(done: Relinked) -> None:
            last[0] = done.last
            show(done)

        try:
            return relinking.relink(
                runlink.store,
                rules,
                actor=session.actor(),
                now=runlink.now,
                since=begin,
                engine_id=engine_id,
                after=after,
                dry_run=dry_run,
                progress=progress,
            )
        except KeyboardInterrupt:
            if last[0] is not None:
                output.say(f"stopped; what was done stays. Go on with --after {last[0]}")
            raise


def _registering(runlink: Runlink) -> Callable[[UnitOfWork], Rules]:
    """The rules, within a transaction that is taken back."""
    from runlink.application.registry import register as registering

    linkers = runlink.plugins.linkers
    return lambda uow: registering(uow, runlink.settings, linkers).rules


def _registered(runlink: Runlink) -> Callable[[UnitOfWork], Rules]:
    rules = runlink.register().rules
    return lambda _uow: rules


def _told(runlink: Runlink, done: Relinked, *, dry_run: bool) -> dict[str, Any]:
    from runlink.application.plan import rule_rows, run_rows

    return {
        "dry_run": dry_run,
        "instances": done.instances,
        "rules": rule_rows(runlink.settings, done),
        "runs": run_rows(done),
        "runs_changed": done.runs_changed,
        "last": done.last,
    }
