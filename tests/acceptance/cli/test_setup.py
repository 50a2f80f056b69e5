"""`init`, `validate`, `plugins list`, `db upgrade`: from nothing to a configuration that can be started."""

from __future__ import annotations

import os
import pty
import re
import sqlite3

import pytest
from tests.acceptance.cli.conftest import install, until

INIT = ("init", "--type", "acme", "--url", "http://127.0.0.1:8010")


def test_a_first_configuration_from_options(place):
    said = place.ok(*INIT, "--engine", "ci.one", "--set", "site=left", "--secret", "token=env:ACME_TOKEN",
                    "--automation", "nightly", "--workflow", "nightly/*", "--create-run")  # fmt: skip
    assert (said.out, "runlink.toml is written" in said.err) == ("", True)
    text = place.config.read_text()
    assert '[engines."ci.one"]\ntype = "acme"\nurl = "http://127.0.0.1:8010"\nsite = "left"\n' in text
    assert 'token = { env = "ACME_TOKEN" }' in text
    assert "is sound: 1 engine, 1 link rule" in place.ok("validate").out
    again = place(*INIT)
    assert (again.code, "exists already" in again.err.replace("\n", " ")) == (2, True)
    assert place.config.read_text() == text


def test_the_least_that_must_be_given(place):
    said = place("init")
    assert (said.code, place.config.exists()) == (2, False)
    assert "--type and --url" in said.err
    place.ok(*INIT, "--config", "deep/down.toml")
    assert place.rows("engines", "list", "--config", "deep/down.toml")[0]["name"] == "acme"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--set", "sitte=left"], "engines.acme.sitte: unknown key; did you mean 'site'?"),
        (["--set", "token=clear-text"], "engines.acme.token: is a secret"),
        (["--secret", "token=clear-text"], "a secret itself is never written down"),
        (["--store", "mysql://x"], "store.url: is no database runlink can use"),
        (["--engine", "a b"], "cannot be an engine's name"),
    ],
)
def test_what_is_wrong_is_not_written(place, more, told):
    said = place(*INIT, *more)
    assert said.code == 2
    assert told in " ".join(re.sub("[│╭╮╰╯─]", "", said.err).split())
    assert "clear-text" not in said.err
    assert list(place.path.iterdir()) == []


def test_it_asks_on_a_terminal(place):
    ours, theirs = pty.openpty()
    process = place.child("init", stdin=theirs)
    os.close(theirs)
    answers = (
        ("Type of the engine (", "acne"),
        ("there is no such type", "Acme"),
        ("A name for it [acme]", ""),
        ("Its address", "http://127.0.0.1:8010"),
        ("site (empty: none)", "left"),
        ("token: environment variable", "ACME_TOKEN"),
        ("Automation its instances are Runs of", "nightly"),
        ("Which workflows", ""),
        ("Where an instance tells", ""),
        ("Make a Run when none", "y"),
    )
    for question, answer in answers:
        until(lambda question=question: question in process.said.read_text(), question)
        os.write(ours, answer.encode() + b"\n")
    assert process.wait(30) == 0
    os.close(ours)
    text = place.config.read_text()
    assert '[engines.acme]\ntype = "Acme"\n' in text
    assert 'site = "left"\ntoken = { env = "ACME_TOKEN" }\n' in text
    assert text.endswith('workflow = "*"\nautomation = "nightly"\nrun_key = "parameters.RUN_ID"\ncreate_run = true\n')
    place.ok("validate")


# --- validate -------------------------------------------------------------------------------------------------------


def test_validate_prints_every_problem(place, acme):
    place.configure(("ci", acme), more='[engines.a]\ntype = "acne"\nurl = "http://a"\n', sitte="x")
    said = place("validate")
    assert (said.code, said.out) == (2, "")
    assert "engines.ci.sitte: unknown key; did you mean 'site'?" in said.err
    assert "engines.a.type: no plugin brings the engine type 'acne'; did you mean 'acme'?" in said.err
    assert "runlink.toml has 2 problems:" in said.err
    assert not (place.path / "runlink.db").exists()


def test_validate_says_what_a_start_would_change(place, acme):
    place.configure(("ci", acme))
    assert "a start would change the store: " in place.ok("validate").out
    assert not (place.path / "runlink.db").exists()
    place.ok("sync")
    assert len(place.ok("validate").out.splitlines()) == 1
    place.configure(("cj", acme), more='[[links]]\nautomation = "nightly"\nrun_key = "url"\nengine = "x*"\n')
    said = place.ok("validate")
    assert said.out.splitlines()[1:] == [
        f"a start would change the store: engine cj: new, acme at {acme.url}",
        "a start would change the store: engine ci: deactivated; its instances stay",
        "a start would change the store: automation nightly: new",
    ]
    assert "warning: link rule 'links[0]': no engine's name matches 'x*'" in said.err
    assert [row["name"] for row in place.rows("engines", "list", "--all")] == ["ci", "cj"]
    assert place.rows("automations", "list") == []


def test_a_changed_type_is_refused(place, acme):
    place.configure(("ci", acme))
    place.ok("sync")
    with sqlite3.connect(place.path / "runlink.db") as database:
        database.execute("UPDATE engines SET type = 'jenkins'")
    database.close()
    for command in ("validate", "plan", "sync", "serve"):
        said = place(command)
        assert said.code == 2
        assert "engines.ci.type: is 'acme', and the engine of this name is stored as 'jenkins'" in said.err


def test_validate_warns_of_secrets_that_are_not_there(place, acme, monkeypatch):
    place.configure(("ci", acme))
    monkeypatch.delenv("ACME_TOKEN")
    assert "warning: engines.ci.token: the environment variable ACME_TOKEN is not set" in place.ok("validate").err


def test_the_schema_for_editors(place):
    schema = place.ok("validate", "--schema").json
    assert schema["$id"] == "urn:runlink:config"
    assert any("urn:runlink:config:acme" in str(part) for part in schema["$defs"]["engine"]["allOf"])


# --- plugins --------------------------------------------------------------------------------------------------------


def test_plugins(place, tmp_path, monkeypatch):
    place.configure()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "broken_plugin.py").write_text("raise RuntimeError('no such library')")
    install(tmp_path / "site", "broken", "broken_plugin", "0.1")
    monkeypatch.syspath_prepend(tmp_path / "site")
    rows = {row["name"]: row for row in place.rows("plugins", "list")}
    assert rows["acme"] == {
        "name": "acme", "distribution": "runlink-acme", "version": "2.5", "engine_types": ["acme"],
        "capabilities": ["poll", "refetch"], "grade": None, "experimental": True, "refused": None,
        "python": None,
    }  # fmt: skip
    assert rows["broken"]["refused"] == (
        "plugin 'broken' (runlink-broken) is refused: importing it failed: RuntimeError: no such library"
    )
    assert rows["jenkins"]["refused"] == "left out by -p no:jenkins"
    table = place.ok("plugins", "list")
    assert table.out.splitlines()[0].split() == ["name", "version", "state", "engine", "types", "can", "grade"]
    assert any(line.split()[-2:] == ["none,", "experimental"] for line in table.out.splitlines())
    assert "is refused: importing it failed" in table.err
    assert "acme" not in {row["name"] for row in place.rows("plugins", "list", "--refused")}


def test_plugins_without_a_configuration(place):
    assert "acme" in {row["name"] for row in place.rows("plugins", "list", "-p", "no:jenkins")}


# --- db -------------------------------------------------------------------------------------------------------------


def test_db_upgrade(place):
    place.configure()
    assert place.ok("db", "upgrade").err == "the database is made\n"
    assert place.ok("db", "upgrade").err == "the database is up to date\n"
    with sqlite3.connect(place.path / "runlink.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for command in (("db", "upgrade"), ("status",)):
        said = place(*command)
        assert (said.code, said.out) == (1, "")
        assert "the database is at schema 9999, which this runlink does not know" in said.err
