"""`runlink items preview` and `drift`: what item rules make of stored steps, and where steps stopped fitting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runlink.cli import lookup, output, session
from runlink.cli.options import EngineOption, LimitOption, OutputOption
from runlink.cli.output import Output


def register(items: typer.Typer) -> None:
    """Adds the commands of this module to `runlink items`."""
    items.command()(preview)
    items.command()(drift)


def preview(
    context: typer.Context,
    instance: Annotated[str, typer.Option("--instance", help="The instance's id, or the id its engine gave it.")],
    engine: EngineOption = None,
    rule: Annotated[
        Path | None, typer.Option("--rule", metavar="FILE", help="Try the [[items]] of this file, not those in force.")
    ] = None,
    form: OutputOption = Output.TABLE,
) -> None:
    """What the item rules make of the stored steps of an instance; nothing is written.

    Says of each step whether it counts, which batch and item it is, what would be made, and what does not fit and why.
    Exit code 1 when something does not fit.
    """
    from runlink.application.items.preview import preview as told_of
    from runlink.config import load_items

    tried = load_items(rule) if rule is not None else ()
    with session.record(context) as runlink:
        rules = runlink.rules()
        with runlink.store.reading() as uow:
            found = lookup.instance_id(uow, instance, engine)
            told = told_of(uow, rules, found, runlink.now(), tried=tried)
    if form is Output.JSON:
        output.write_json(told)
    else:
        _say(told)
    if any(verdict["drift"] for run in told["runs"] for verdict in run["rules"]):
        raise typer.Exit(1)


def drift(
    context: typer.Context,
    engine: EngineOption = None,
    fitting: Annotated[bool, typer.Option("--all", help="Also what fits.")] = False,
    limit: LimitOption = 1000,
    form: OutputOption = Output.TABLE,
) -> None:
    """Workflows whose steps do not fit their item rule, as the latest instance shows; exit code 1 if any."""
    with session.record(context) as runlink, runlink.store.reading() as uow:
        rows = uow.reports.items_drift(engine=engine, fitting_too=fitting, limit=limit)
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "workflow": "workflow",
        "rule": "rule",
        "since": "drifted_since",
        "instance": "external_id",
        "steps": "counted",
        "unfit": "unfit",
        "differing": "differing",
        "why": "reason",
    }
    output.listing(rows, columns, form, empty="the steps of all workflows fit their item rules")
    if any(row["drifted_since"] for row in rows):
        raise typer.Exit(1)


def _say(told: dict[str, Any]) -> None:
    output.say(f"{told['engine']} {told['workflow']} {told['external_id']}, {told['status']}")
    if not told["steps_read"]:
        output.say("none of its steps is stored")
    for run in told["runs"]:
        whose = (
            f"run {run['run_key']}" if run["run_id"] else "it counts for no run; for one that would have the key RUN"
        )
        made = f"new batches: {run['makes_batches']}; new items: {run['makes_items']}"
        output.say(f"{whose} of {run['automation']}; {made}")
        if not run["rules"]:
            output.say("no item rule is for this workflow and automation")
        columns: dict[str, output.Cell] = {
            "step": "name",
            "status": "status",
            "rule": "rule",
            "batch": "batch",
            "number": "number",
            "key": "key",
            "payload": "payload",
            "": lambda row: ("new" if row["makes"] else "found") if row["number"] is not None else None,
            "note": lambda row: row["problem"] or row["differs"],
        }
        if run["steps"]:
            output.table(run["steps"], columns)
        for verdict in run["rules"]:
            if verdict["drift"]:
                output.say(f"rule {verdict['rule']!r} does not fit: {verdict['drift']}")
