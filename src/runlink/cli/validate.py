"""`runlink validate`: everything that a start would check, without starting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runlink.cli import output, session

if TYPE_CHECKING:
    from runlink.application.settings import Settings
    from runlink.hosting import PluginHost


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Set up")(validate)


def validate(
    context: typer.Context,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the configuration, for editors, and exit.")
    ] = False,
) -> None:
    """Check the configuration, the plugins and their options; show what a start would change in the store.

    Prints every problem. Exit code 2 when there is one.
    """
    from runlink import bootstrap
    from runlink.config import ConfigError, full_schema

    given = session.given(context)
    if schema:
        output.write_json(full_schema(bootstrap.load_plugins(None, given.disabled).adapters))
        return
    problems: list[str] = []
    try:
        settings = bootstrap.load_settings(given.config)
    except ConfigError as error:
        output.complain(str(error))
        raise typer.Exit(2) from None
    plugins = bootstrap.load_plugins(settings, given.disabled)
    try:
        bootstrap.check_engines(settings, plugins)
    except ConfigError as error:
        problems.extend(error.problems)
    changes, refusals = _store_changes(settings)
    problems.extend(refusals)
    for warning in _warnings(settings, plugins):
        output.say(f"warning: {warning}")
    if problems:
        output.complain(str(ConfigError(problems, str(settings.path))))
        raise typer.Exit(2)
    typer.echo(f"{settings.path} is sound: {_count(settings)}")
    for change in changes:
        typer.echo(f"a start would change the store: {change}")


def _count(settings: Settings) -> str:
    parts = [(len(settings.engines), "engine"), (len(settings.links), "link rule")]
    if settings.items:
        parts.append((len(settings.items), "item rule"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)


def _warnings(settings: Settings, plugins: PluginHost) -> list[str]:
    """What does not stop a start, and is probably not meant."""
    from runlink.application.settings import matches_any
    from runlink.hosting import SecretUnavailable
    from runlink.hosting.secrets import resolve

    found = [sentence for name, sentence in plugins.refused.items() if name]
    for engine in settings.engines.values():
        for key, value in engine.options.items():
            try:
                resolve(value, f"engines.{engine.name}.{key}")
            except SecretUnavailable as error:
                found.append(str(error))
    found += [
        f"link rule {rule.name!r}: no engine's name matches {rule.engine!r}"
        for rule in settings.links
        if settings.engines and not any(matches_any(name, rule.engine) for name in settings.engines)
    ]
    found += [
        f"item rule {item.name!r}: no engine's name matches {item.engine!r}"
        for item in settings.items
        if settings.engines and not any(matches_any(name, item.engine) for name in settings.engines)
    ]
    return found


def _store_changes(settings: Settings) -> tuple[list[str], list[str]]:
    """What registering the configuration would change, and what of it the store refuses."""
    from runlink import bootstrap
    from runlink.application.errors import Unregistrable
    from runlink.hosting import SecretUnavailable
    from runlink.store import NoStore, SchemaMismatch, StoreError

    try:
        store = bootstrap.open_settings_store(settings, migrate=False)
    except (NoStore, SchemaMismatch) as error:
        return [str(error)], []
    except (StoreError, SecretUnavailable) as error:
        output.say(f"warning: the store cannot be opened: {error}")
        return [], []
    try:
        return list(bootstrap.preview(settings, store)), []
    except Unregistrable as error:
        return [], list(error.problems)
    finally:
        store.close()
