"""`runlink engines`: the engines of the configuration and of the record, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import output, session
from runlink.cli.options import LimitOption, OutputOption
from runlink.cli.output import Output

if TYPE_CHECKING:
    from runlink.application.settings import EngineSettings, Settings

app = typer.Typer(help="The engines.", no_args_is_help=True)


def register(main: typer.Typer) -> None:
    """Adds the commands of this module."""
    main.add_typer(app, name="engines", rich_help_panel="Look")


@app.command("list")
def list_(
    context: typer.Context,
    engine_type: Annotated[str | None, typer.Option("--type", help="Only engines of this type.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that left the configuration.")] = False,
    limit: LimitOption = 1000,
    form: OutputOption = Output.TABLE,
) -> None:
    """The engines that are configured; with --all also those that are only in the record."""
    with session.record(context) as runlink:
        with runlink.store.reading() as uow:
            stored = {engine.name: engine for engine in uow.engines.list(limit=10_000, include_inactive=True)}
        configured = runlink.settings.engines
    rows: list[dict[str, Any]] = []
    for name in sorted({*configured, *stored} if every else configured):
        settings, engine = configured.get(name), stored.get(name)
        rows.append(
            {
                "id": engine.id if engine else None,
                "name": name,
                "type": settings.type if settings else engine and engine.type,
                "url": settings.url if settings else engine and engine.url,
                "product": engine.product if engine else None,
                "product_version": engine.product_version if engine else None,
                "configured": settings is not None,
                "is_active": engine is not None and engine.is_active,
            }
        )
    rows = [row for row in rows if engine_type is None or row["type"] == engine_type.lower()][:limit]
    columns: dict[str, output.Cell] = {
        "name": "name",
        "type": "type",
        "url": "url",
        "product": lambda row: " ".join(filter(None, (row["product"], row["product_version"]))),
        "configured": "configured",
    }
    output.listing(rows, columns, form, empty="no engine is configured; see [engines.NAME] in the configuration")


@app.command("test")
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this engine.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each engine.")] = 60.0,
    form: OutputOption = Output.TABLE,
) -> None:
    """Reach each engine, prove the credentials, show product, version and warnings.

    Exit code 3 when some engines failed, 1 when all did.
    """
    from runlink import bootstrap
    from runlink.hosting.checking import check_engines

    settings = session.settings_of(context)
    host = bootstrap.load_plugins(settings, session.given(context).disabled)
    bootstrap.check_engines(settings, host)
    chosen = chosen_engines(settings, name)
    if not chosen:
        output.say("no engine is configured")
        return
    rows = check_engines(chosen, host, timeout_s=timeout_s, now=session.now)
    columns: dict[str, output.Cell] = {
        "engine": "engine",
        "state": lambda row: "ok" if row["ok"] else "failed",
        "product": lambda row: " ".join(filter(None, (row["product"], row["version"]))),
        "took": lambda row: output.took(row["duration_s"]),
        "process": lambda row: None if row["start_s"] is None else f"its own, begun in {output.took(row['start_s'])}",
        "error": "error",
    }
    output.listing(rows, columns, form)
    for row in rows:
        for warning in row["warnings"]:
            output.say(f"{row['engine']}: warning: {warning}")
    raise typer.Exit(session.exit_code(sum(not row["ok"] for row in rows), len(rows)))


def chosen_engines(settings: Settings, name: str | None) -> Sequence[EngineSettings]:
    """The engines of the configuration, or the one of this name. Raises BadParameter."""
    if name is None:
        return list(settings.engines.values())
    if name not in settings.engines:
        raise unknown_engine(name, settings.engines)
    return [settings.engines[name]]


def unknown_engine(name: str, known: Iterable[str]) -> typer.BadParameter:
    """The refusal of a name that no engine has, with those that there are."""
    from runlink.application.problems import suggestion

    names = list(known)
    there = ", ".join(names) or "none"
    return typer.BadParameter(f"no engine is called {name!r}{suggestion(name, names)}; configured: {there}")
