"""The command as such: exit codes, where options may stand, what failures look like, how quickly it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from runlink.cli import app, options
from runlink.domain import ExecutionStatus

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
LISTINGS = (
    "engines", "instances", "runs", "automations", "batches", "items", "executions", "deliveries", "subscriptions",
    "plugins", "tokens", "audit",
)  # fmt: skip


def commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*path, name))
    if not getattr(command, "commands", {}):
        yield path, command


def test_help_loads_no_heavy_room():
    heavy = ("sqlalchemy", "alembic", "httpx", "jsonschema", "jmespath", "pluggy", "msgspec", "runlink.domain")
    code = f"import sys, runlink.cli; print([m for m in {heavy!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_statuses_are_those_of_the_domain():
    assert list(options.Status) == list(ExecutionStatus)


def test_each_command_and_option_stands_in_the_reference():
    text = DOCS.read_text("utf-8")
    missing = []
    root = typer.main.get_command(app)
    missing += [name for parameter in root.params for name in parameter.opts if f"`{name}" not in text]
    for path, command in commands():
        heading = f"### runlink {' '.join(path)}\n"
        if heading not in text:
            missing.append(heading)
            continue
        section = text.split(heading)[1].partition("\n## ")[0].partition("\n### ")[0]
        for parameter in command.params:
            named = [*parameter.opts, *parameter.secondary_opts] if parameter.param_type_name == "option" else []
            named = named or [parameter.name.upper()]
            missing += [f"{' '.join(path)} {name}" for name in named if name != "--help" and f"`{name}" not in section]
    assert missing == []


def test_each_listing_has_json_and_a_limit():
    for path, command in commands():
        if path[-1] == "list" or path in (("quarantine",), ("status",)):
            names = {name for parameter in command.params for name in parameter.opts}
            assert {"-o", "--output", "--limit"} <= names, path
    assert {path[0] for path, _ in commands() if path[-1] == "list"} == set(LISTINGS)


def test_no_command_has_the_name_of_a_global_option():
    for path, command in commands():
        names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert not names & {"--config", "-p", "--version"}, path


def test_version(place):
    said = place.ok("--version")
    assert said.out == "runlink 0.1.0\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["instances", "list", "--status", "DONE"],
        ["instances", "list", "--limit", "0"],
        ["instances", "list", "--since", "yesterday"],
        ["instances", "list", "--since", "2999-01-01"],
        ["instances", "list", "--before", "7"],
        ["sync", "--engine", "none"],
        ["engines", "test", "none"],
        ["backfill"],
        ["-p", "acme", "plugins", "list"],
        ["runs", "create"],
        ["items", "add", "no-such-file", "--batch", "b"],
    ],
)
def test_wrong_usage_is_2(place, acme, arguments):
    place.configure(("ci", acme))
    said = place(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err


def test_no_configuration(place):
    said = place("status")
    assert (said.code, said.out) == (2, "")
    assert "there is no such file; `runlink init` writes a first one" in said.err


def test_a_bad_configuration_names_every_problem(place, acme):
    place.configure(("ci", acme), more='[retentoin]\n[engines.x]\ntype = "acme"\n')
    for command in ("serve", "sync", "instances list"):
        said = place(*command.split())
        assert (said.code, said.out) == (2, "")
        assert "retentoin: unknown key; did you mean 'retention'?" in said.err
        assert "engines.x.url: is missing" in said.err


def test_global_options_may_stand_behind_the_command(place, acme):
    place.configure(("ci", acme))
    place.config.rename(place.path / "other.toml")
    assert place.ok("engines", "list", "-o", "json", "--config", "other.toml").json[0]["name"] == "ci"
    assert place.ok("--config=other.toml", "engines", "list", "-o", "json").json[0]["name"] == "ci"
    said = place("sync", "--config", "other.toml", "-p", "no:acme")
    assert said.code == 2
    assert "no plugin brings the engine type 'acme'" in said.err


def test_the_environment_names_the_configuration(place, acme, monkeypatch):
    place.configure(("ci", acme))
    place.config.rename(place.path / "other.toml")
    monkeypatch.setenv("RUNLINK_CONFIG", "other.toml")
    assert place.rows("engines", "list")[0]["name"] == "ci"


def test_a_store_that_is_none(place, acme):
    place.configure(("ci", acme))
    (place.path / "runlink.db").write_text("no database, " * 500)
    said = place("status")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: sqlite:///")
    assert "Traceback" not in said.err


def test_a_bug_asks_to_be_reported(place, acme):
    place.configure(("ci", acme))

    @app.command("buggy", hidden=True)
    def buggy():
        raise RuntimeError("nobody thought of this")

    try:
        said = place("buggy")
    finally:
        app.registered_commands.pop()
    assert said.code == 1
    assert "RuntimeError: nobody thought of this" in said.err
    assert "this is a bug in runlink; please report it" in said.err


def test_a_closed_pipe_is_quiet(place, acme):
    place.configure(("ci", acme))
    for number in range(400):
        acme.add(f"job-{number}", "job", "COMPLETED", message="m" * 200)
    place.ok("sync")
    process = place.child("instances", "list", "--limit", "400", "-o", "json", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"[\n"
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.said.read_text() == ""


def test_json_is_alone_on_stdout(place, new_engine):
    good, bad = new_engine(), new_engine()
    bad.mode = "down"
    place.configure(("good", good), ("bad", bad))
    said = place("sync", "-o", "json", "--log-level", "debug")
    assert said.code == 3
    assert [row["engine"] for row in said.json] == ["good", "bad"]
    assert "lost: " in said.err
