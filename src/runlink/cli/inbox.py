"""`runlink inbox`: what is not linked yet, and what it may belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import AutomationOption, EngineOption, OutputOption, SinceOption, moment
from runlink.cli.output import Output


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Record")(inbox)


def inbox(
    context: typer.Context,
    engine: EngineOption = None,
    automation: AutomationOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many of each side.")] = 50,
    form: OutputOption = Output.TABLE,
) -> None:
    """Instances without a Run and Runs without an instance, each with what it may belong to and why.

    An instance in which a rule found a key that no Run has says what it waits for.
    `runlink link RUN INSTANCE` takes a suggestion. JSON is one object with `instances` and `runs`.
    """
    from runlink.application.linking.inbox import inbox as look

    begin = None if since is None else moment(since)
    with session.record(context) as runlink:
        rules = runlink.rules()
        with runlink.store.reading() as uow:
            found = look(uow, rules, engine=engine, automation=automation, since=begin, limit=limit)
            nothing = not found["instances"] and not found["runs"]
            is_new = nothing and not uow.reports.instances(limit=1)
    if form is Output.JSON:
        output.write_json(found)
        return
    if is_new:
        output.say("nothing was ever synced; start with `runlink sync` or `runlink serve`")
    elif nothing:
        output.say("nothing waits: every instance has a Run, and every Run an instance")
    if found["instances"]:
        output.say(f"instances without a Run: {len(found['instances'])}")
        output.table(found["instances"], _INSTANCES)
    if found["runs"]:
        output.say(f"Runs without an instance: {len(found['runs'])}")
        output.table(found["runs"], _RUNS)
    for side in ("instances", "runs"):
        if len(found[side]) == limit:
            output.say(f"that is the limit of {limit} {side}; give a higher --limit, or --since")


def _best(row: Mapping[str, Any], name: str) -> Any:
    return row["suggestions"][0][name] if row["suggestions"] else ""


def _why(row: Mapping[str, Any]) -> str:
    return "; ".join(_best(row, "reasons"))


def _run(row: Mapping[str, Any]) -> Any:
    return _best(row, "correlation_id") or _best(row, "run_id")


def _waits_for(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"a Run of {one['automation']} with correlation id {one['correlation_id']}" for one in row["waits_for"]
    )


_INSTANCES: dict[str, output.Cell] = {
    "id": "id",
    "engine": "engine",
    "workflow": "workflow",
    "external id": "external_id",
    "status": "status",
    "began": lambda row: row["queued_at"] or row["started_at"],
    "waits for": _waits_for,
    "perhaps of": _run,
    "score": lambda row: _best(row, "score"),
    "because": _why,
}
_RUNS: dict[str, output.Cell] = {
    "id": "id",
    "automation": "automation",
    "correlation id": "correlation_id",
    "status": "status",
    "made": "created_at",
    "perhaps": lambda row: f"{_best(row, 'engine')} {_best(row, 'external_id')}".strip(),
    "score": lambda row: _best(row, "score"),
    "because": _why,
}
