"""`runlink runs` and `runlink explain`: Runs, made, listed and explained."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import (
    AutomationOption,
    BeforeOption,
    LimitOption,
    OutputOption,
    SinceOption,
    StatusOption,
    moment,
)
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.bootstrap import Runlink
    from runlink.domain import Run
    from runlink.store import SqlUnitOfWork

app = typer.Typer(help="Runs: executions of automations, whichever engines carry them out.", no_args_is_help=True)

_LOOK_AGAIN_S = 0.5

RunArgument = Annotated[str, typer.Argument(help="The Run's id or correlation id.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, for whoever looks at it later.")]


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="runs", rich_help_panel="Record")
    main.command("explain", rich_help_panel="Look")(show)


@app.command()
def create(
    context: typer.Context,
    automation: Annotated[str, typer.Option("--automation", metavar="NAME", help="Whose Run it is.")],
    key: Annotated[
        str | None, typer.Option("--key", help="Its correlation id, by which rules and people find it.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit 1 unless it completed.")] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0.0, help="With --wait: give up after so many seconds.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Make a Run and print its id. Instances that were seen before and carry its key are linked at once."""
    with session.record(context) as runlink:
        run = session.write(runlink, lambda uow: _create(uow, runlink, automation, key))
        if wait:
            run = _wait(runlink, run, timeout_s)
    if form is Output.JSON:
        facts = ("id", "correlation_id", "attempt", "created_at", "started_at", "finished_at", "error_summary")
        row = {name: getattr(run, name) for name in facts}
        output.write_json({**row, "automation": automation, "status": run.status.value})
    else:
        typer.echo(str(run.id))
    if wait and run.status.value != "COMPLETED":
        output.say(f"run {run.id} is {run.status.value}" + (f": {run.error_summary}" if run.error_summary else ""))
        raise typer.Exit(1)


@app.command()
def start(context: typer.Context, run: RunArgument, automation: AutomationOption = None) -> None:
    """Start a Run by hand; its instances go on to move it."""
    _move(context, run, automation, "start")


@app.command()
def complete(context: typer.Context, run: RunArgument, automation: AutomationOption = None) -> None:
    """Complete a Run by hand; its instances move it no more."""
    _move(context, run, automation, "complete")


@app.command()
def fail(
    context: typer.Context, run: RunArgument, reason: ReasonOption = None, automation: AutomationOption = None
) -> None:
    """Fail a Run by hand, with what is open in it; its instances move it no more."""
    _move(context, run, automation, "fail", reason)


@app.command()
def cancel(
    context: typer.Context, run: RunArgument, reason: ReasonOption = None, automation: AutomationOption = None
) -> None:
    """Cancel a Run by hand, with what is open in it; its instances move it no more, and go on in their engines."""
    _move(context, run, automation, "cancel", reason)


@app.command()
def reopen(context: typer.Context, run: RunArgument, automation: AutomationOption = None) -> None:
    """Give an ended Run back to its instances, as a new attempt."""
    _move(context, run, automation, "reopen")


@app.command("list")
def list_(
    context: typer.Context,
    automation: AutomationOption = None,
    status: StatusOption = None,
    key: Annotated[str | None, typer.Option("--key", help="Only those with this correlation id.")] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Only those that were too long without news.")] = False,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Runs, newest first; --since asks when they were made."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.runs(
            automation=automation,
            status=status.value if status else None,
            correlation_id=key,
            silent=silent,
            since=moment(since) if since else None,
            before=lookup.page_id(before),
            limit=limit,
        )
    columns: dict[str, output.Cell] = {
        "id": "id",
        "automation": "automation",
        "key": "correlation_id",
        "status": lambda row: row["status"] + (" (silent)" if row["silent_since"] else ""),
        "try": "attempt",
        "created": "created_at",
        "started": "started_at",
        "finished": "finished_at",
        "instances": "instances",
        "why": lambda row: row["error_summary"] or row["cancellation_reason"],
    }
    output.listing(rows, columns, form, empty="no run is like that")
    if form is Output.TABLE:
        output.more(rows, limit, "--before")


@app.command()
def show(
    context: typer.Context,
    run: RunArgument,
    automation: AutomationOption = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="TIME", help="What was known then: a date or time in UTC, or 7d, 12h, 30m ago."
        ),
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """Explain a Run: a timeline across engines, what caused each of its statuses, the rule of each link, and doubts."""
    from runlink.application.explaining.explain import explain

    then = moment(as_of) if as_of else None
    with session.record(context) as runlink:
        rules = runlink.rules()
        with runlink.store.reading() as uow:
            told = explain(uow, rules, lookup.run_id(uow, run, automation), now=runlink.now(), as_of=then)
    if form is Output.JSON:
        output.write_json(told)
        return
    from runlink.cli.bars import draw_bars
    from runlink.cli.drawing import draw_run

    console = output.stdout()
    console.print(draw_bars(told["timeline"], min(console.width, 120)), soft_wrap=True)
    console.print()
    console.print(draw_run(told))


def _move(context: typer.Context, text: str, automation: str | None, move: str, reason: str | None = None) -> None:
    from runlink.application.runs import Move, move_run

    with session.record(context) as runlink:
        rules = runlink.rules()

        def work(uow: SqlUnitOfWork) -> Run:
            run_id = lookup.run_id(uow, text, automation)
            return move_run(uow, rules, run_id, Move(move), reason=reason, now=runlink.now())

        run = session.write(runlink, work)
    output.say(f"run {run.id} is {run.status.value}")


def _create(uow: SqlUnitOfWork, runlink: Runlink, name: str, key: str | None) -> Run:
    from runlink.application.runs import create_run_of

    return create_run_of(uow, runlink.settings, name, correlation_id=key, now=runlink.now())


def _wait(runlink: Runlink, run: Run, timeout_s: float | None) -> Run:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while not run.status.is_ended and (until is None or time.monotonic() < until):
        time.sleep(_LOOK_AGAIN_S)
        with runlink.store.reading() as uow:
            run = uow.runs.get(run.id) or run
    return run
