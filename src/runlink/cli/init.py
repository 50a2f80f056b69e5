"""`runlink init`: a first configuration, asked for on a terminal or given by options."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runlink.cli import output, session

if TYPE_CHECKING:
    from runlink.hosting import PluginHost


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Set up")(init)


@dataclass
class _Answers:
    """What goes into the file. `options` are the plugin's keys, their values as TOML."""

    store: str = "sqlite:///runlink.db"
    engine: str = ""
    type: str = ""
    url: str = ""
    options: dict[str, str] = field(default_factory=dict)
    automation: str | None = None
    workflow: str = "*"
    run_key: str = "parameters.RUN_ID"
    create_run: bool = False


def init(
    context: typer.Context,
    engine_type: Annotated[str | None, typer.Option("--type", help="The engine's type; see plugins list.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The engine's address.")] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="A name for it. Default: its type.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the engine. May be repeated.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="KEY=env:VAR|file:PATH", help="Where a secret is. May be repeated."),
    ] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="The database.")] = _Answers.store,
    automation: Annotated[
        str | None, typer.Option("--automation", metavar="NAME", help="Link instances to Runs of this automation.")
    ] = None,
    workflow: Annotated[
        str, typer.Option("--workflow", metavar="PATTERN", help="With --automation: which workflows.")
    ] = _Answers.workflow,
    run_key: Annotated[
        str, typer.Option("--run-key", metavar="JMESPATH", help="With --automation: where a Run's id is found.")
    ] = _Answers.run_key,
    create_run: Annotated[bool, typer.Option("--create-run", help="With --automation: make missing Runs.")] = False,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask for what is not given, on a terminal.")] = True,
) -> None:
    """Write a first configuration to --config (default: runlink.toml). Never overwrites one."""
    from runlink import bootstrap

    path = session.given(context).path.expanduser().absolute()
    if path.exists():
        raise typer.BadParameter(f"{path} exists already; edit it, or name another file with --config")
    answers = _Answers(store, engine or "", engine_type or "", url or "", {}, automation, workflow, run_key, create_run)
    answers.options = _options(option or (), secret or ())
    plugins = bootstrap.load_plugins(None, session.given(context).disabled)
    if ask and sys.stdin.isatty():
        _ask(answers, plugins)
    missing = [name for name, value in (("--type", answers.type), ("--url", answers.url)) if not value]
    if missing:
        raise typer.BadParameter(f"without a terminal to ask on, give {' and '.join(missing)}")
    answers.engine = answers.engine or answers.type.lower()
    _write(path, _text(answers), plugins)
    output.say(f"{path} is written; go on with `runlink validate`, `runlink engines test` and `runlink serve`")


def _options(given: Sequence[str], secrets: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="'--set'")
        found[key.strip()] = _as_toml(value)
    for text in secrets:
        key, equals, place = text.partition("=")
        kind, colon, name = place.partition(":")
        if not equals or not key or not colon or not name or kind not in ("env", "file"):
            raise typer.BadParameter(
                f"{key or text!r} needs KEY=env:VARIABLE or KEY=file:PATH; a secret itself is never written down",
                param_hint="'--secret'",
            )
        found[key.strip()] = f"{{ {kind} = {_quoted(name)} }}"
    return found


def _as_toml(value: str) -> str:
    """A value as it stands when it is TOML, else as text."""
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return _quoted(value)
    return value if read.keys() == {"value"} and "\n" not in value else _quoted(value)


# --- asking ---------------------------------------------------------------------------------------------------------


def _ask(answers: _Answers, plugins: PluginHost) -> None:
    known = ", ".join(plugins.adapters) or "none: install a plugin first"
    while not answers.type:
        answers.type = typer.prompt(f"Type of the engine ({known})", err=True).strip()
        if answers.type.lower() not in plugins.adapters:
            output.say(f"there is no such type; known are: {known}")
            answers.type = ""
    answers.engine = answers.engine or _asked("A name for it", answers.type.lower())
    answers.url = answers.url or _asked("Its address (https://…)", None)
    adapter = plugins.adapters.get(answers.type.lower())
    if adapter is not None:
        _ask_options(answers, adapter.config_schema)
    if answers.automation is None:
        answers.automation = _asked("Automation its instances are Runs of (empty: link nothing yet)", "") or None
        if answers.automation:
            answers.workflow = _asked("Which workflows (a pattern; * is all)", answers.workflow)
            answers.run_key = _asked("Where an instance tells its Run's id (JMESPath)", answers.run_key)
            answers.create_run = typer.confirm("Make a Run when none has the id?", default=False, err=True)


def _ask_options(answers: _Answers, schema: Mapping[str, Any]) -> None:
    """The keys of text without a default, secrets by where they are."""
    required = schema.get("required", ())
    for key, about in schema.get("properties", {}).items():
        if key in answers.options or about.get("type") != "string" or "default" in about:
            continue
        output.say(about.get("description", ""))
        none = None if key in required else ""
        if about.get("x-secret"):
            name = _asked(
                f"{key}: environment variable that holds it" + ("" if none is None else " (empty: none)"), none
            )
            if name:
                answers.options[key] = f"{{ env = {_quoted(name)} }}"
        elif value := _asked(key + ("" if none is None else " (empty: none)"), none):
            answers.options[key] = _quoted(value)


def _asked(question: str, default: str | None) -> str:
    return str(typer.prompt(question, default=default, show_default=bool(default), err=True)).strip()


# --- writing --------------------------------------------------------------------------------------------------------


def _text(answers: _Answers) -> str:
    from runlink.application.problems import toml_path

    lines = [
        "# Written by `runlink init`. Check changes with `runlink validate`; a running `serve` takes them on SIGHUP.",
        "",
        "[store]",
        f"url = {_quoted(answers.store)}",
        "",
        f"[{toml_path(('engines', answers.engine))}]",
        f"type = {_quoted(answers.type)}",
        f"url = {_quoted(answers.url)}",
        *(f"{toml_path((key,))} = {value}" for key, value in answers.options.items()),
        "",
    ]
    rule = [
        "[[links]]",
        f"engine = {_quoted(answers.engine)}",
        f"workflow = {_quoted(answers.workflow)}",
        f"automation = {_quoted(answers.automation or 'nightly')}",
        f"run_key = {_quoted(answers.run_key)}",
        *(["create_run = true"] if answers.create_run else []),
    ]
    if answers.automation is None:
        lines.append("# Which Runs its instances belong to:")
        rule = [f"# {line}" for line in rule]
    return "\n".join([*lines, *rule, ""])


def _quoted(text: str) -> str:
    """A TOML string."""
    return re.sub("\x7f", r"\\u007f", json.dumps(text, ensure_ascii=False))


def _write(path: Path, text: str, plugins: PluginHost) -> None:
    """Writes the file once it was found sound. Raises ConfigError, then nothing is written."""
    from runlink import bootstrap
    from runlink.config import ConfigError, load

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, trial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            bootstrap.check_engines(load(Path(trial), {}), plugins)
        except ConfigError as error:
            raise ConfigError(error.problems, "what you gave") from None
        finally:
            Path(trial).unlink()
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror or error}") from None
