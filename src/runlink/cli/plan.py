"""`runlink plan`: what the configuration as it stands in the file would do to what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import OutputOption, SinceOption, moment
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.store import SqlStore


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Set up")(plan)


def plan(context: typer.Context, since: SinceOption = None, form: OutputOption = Output.TABLE) -> None:
    """Show what the configuration would do, before it does: engines, links and Runs by rule, requests. Changes nothing.

    All stored instances are looked at, or those since a time. JSON is one object. A daemon may be running.
    """
    from runlink import bootstrap

    begin = None if since is None else moment(since)
    settings = session.settings_of(context)
    plugins = bootstrap.load_plugins(settings, session.given(context).disabled)
    bootstrap.check_engines(settings, plugins)
    with bootstrap.store_to_look_at(settings) as store:
        runlink = bootstrap.Runlink(settings, plugins, store)
        found = _planned(runlink, store, begin)
    if form is Output.JSON:
        output.write_json(found)
    else:
        _show(found)


def _planned(runlink: Any, store: SqlStore, since: Any) -> dict[str, Any]:
    from runlink.application.linking.relink import EVER
    from runlink.application.plan import plan as look

    begin = since or EVER
    with store.reading() as uow:
        total = uow.ledger.count_instances(since=begin, engine_id=None)
    with output.progress("asking the rules", "instances") as advance:
        return look(
            store,
            runlink.settings,
            runlink.plugins.linkers,
            runlink.paces(),
            actor=session.actor(),
            now=runlink.now,
            since=begin,
            progress=lambda done: advance(done.instances, total),
        )


def _show(found: Mapping[str, Any]) -> None:
    for change in found["changes"]:
        typer.echo(change)
    if not found["changes"]:
        output.say("engines and automations stay as they are")
    output.say(f"link rules, over {found['instances']} stored instances:")
    output.table(found["rules"], RULES)
    for line in new_and_missing_runs(found):
        typer.echo(line)
    output.say("requests:")
    output.table(found["engines"], _ENGINES)
    output.say("nothing was changed; `runlink serve` registers engines, `runlink relink --since TIME` links")


def new_and_missing_runs(found: Mapping[str, Any]) -> Iterator[str]:
    """The Runs that are made, and those that instances wait for, a line for each automation and rule."""
    for run in found["runs"]:
        yield f"automation {run['automation']}: {run['created']} new Runs: {_named(run, run['created'])}"
    for row in found["waiting"]:
        count = f"{row['instances']} instance{' waits' if row['instances'] == 1 else 's wait'}"
        named = _named(row, row["keys"])
        yield f"rule {row['rule']}: {count} for a Run of {row['automation']} with correlation id {named}"


def _named(row: Mapping[str, Any], count: int) -> str:
    return output.shown(row["correlation_ids"]) + (", …" if count > len(row["correlation_ids"]) else "")


RULES: dict[str, output.Cell] = {
    "rule": lambda row: row["rule"] if row["in_file"] else f"{row['rule']} (no longer in the file)",
    "instances": "instances",
    "workflows": "workflows",
    "link": "linked",
    "unlink": "unlinked",
    "failed": "failed",
    "why failed": lambda row: row["reason"] or "",
    "most": lambda row: ", ".join(f"{one['workflow']} ({one['instances']})" for one in row["most"][:3]),
}
_ENGINES: dict[str, output.Cell] = {
    "engine": "engine",
    "requests an hour": "requests_per_hour",
    "basis": "basis",
    "limit an hour": "max_requests_per_hour",
    "headroom": "headroom_per_hour",
}
