"""The published schema, and the example that shows every key of it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import pytest
from jsonschema import Draft202012Validator

from runlink.application.policy import Policy
from runlink.application.settings import EngineSettings, ItemRule, LinkRule, Retention, Secret
from runlink.config import base_schema, full_schema, load, with_password
from runlink.spi import Adapter

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


class Acme(Adapter):
    name = "acme"
    config_schema: ClassVar = {
        "type": "object",
        "additionalProperties": False,
        "$defs": {"depth": {"type": "integer"}},
        "properties": {"token": {"type": "string", "x-secret": True}, "depth": {"$ref": "#/$defs/depth"}},
        "required": ["token"],
    }

    def check(self): ...


def keys(schema):
    """Every key the schema has, `$defs` included, secrets' own env and file too."""
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from keys(part)
    for part in schema.get("$defs", {}).values():
        yield from keys(part)
    for part in schema.get("oneOf", ()):
        yield from keys(part)


def test_the_example_is_valid_and_shows_the_defaults():
    settings = load(EXAMPLE, {})
    jenkins, buildbot = settings.engines["jenkins-prod"], settings.engines["buildbot"]
    assert jenkins.options == {"user": "runlink", "token": Secret(env="JENKINS_TOKEN")}
    shown = {"name", "poll_interval_s", "type", "url", "options", "exclude", "renamed_from", "webhook"}
    for field in fields(EngineSettings):
        if field.name not in shown:
            assert getattr(jenkins, field.name) == getattr(buildbot, field.name), field.name
    assert settings.retention == Retention()
    assert settings.store_url.endswith("/runlink.db")
    shown = {"expected", "tolerate", "silent_after_s", "retry_grace_s"}
    for field in fields(Policy):
        if field.name not in shown:
            assert getattr(settings.automations["nightly"], field.name) == getattr(Policy(), field.name), field.name
    assert settings.items[0].leaves is ItemRule(name="x").leaves


@pytest.mark.parametrize("key", sorted(set(keys(base_schema()))))
def test_the_example_shows_every_key(key):
    assert re.search(rf"(^|[\[{{.# ]){key}\s*(=|\]|\.)", EXAMPLE.read_text("utf-8"), re.MULTILINE), key


def test_the_examples_starter_is_a_configuration_of_its_own(tmp_path):
    lines = EXAMPLE.read_text("utf-8").splitlines()
    starter = [line[4:] for line in lines[: lines.index("# Secrets stand here by reference only: " + rest(lines))]
               if line.startswith("#   ") or line == "#"]  # fmt: skip
    path = tmp_path / "runlink.toml"
    path.write_text("\n".join(starter))
    assert len([line for line in starter if line.strip()]) <= 10
    settings = load(path, {})
    assert (list(settings.engines), settings.links[0].automation) == (["jenkins-prod"], "nightly")


def rest(lines):
    mark = "# Secrets stand here by reference only: "
    return next(line for line in lines if line.startswith(mark)).removeprefix(mark)


def test_the_schema_has_exactly_the_keys_of_the_settings_with_their_defaults():
    definitions = base_schema()["$defs"]
    for cls, schema, but in (
        (EngineSettings, definitions["engine"], {"name", "options"}),
        (LinkRule, definitions["link"], set()),
        (Retention, base_schema()["properties"]["retention"], set()),
    ):
        assert schema["properties"].keys() == {f.name for f in fields(cls)} - but
        for field in fields(cls):
            declared = schema["properties"].get(field.name, {}).get("default")
            if declared is not None:
                default = list(field.default) if isinstance(field.default, tuple) else field.default
                assert declared == default, field.name


def test_the_base_schema_is_one_and_describes_every_engine_key():
    schema = base_schema()
    Draft202012Validator.check_schema(schema)
    assert all("description" in part for part in schema["$defs"]["engine"]["properties"].values())


def test_the_full_schema_knows_the_keys_of_plugins():
    schema = full_schema({"acme": Acme})
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    def valid(table):
        return validator.is_valid(tomllib.loads(f'[engines.e]\ntype = "ACME"\nurl = "http://h"\n{table}'))

    assert valid('token = { env = "T" }\ndepth = 2')
    assert not valid('token = "plain"')
    assert not valid('token = { env = "T" }\ndepth = "two"')
    assert not valid('token = { env = "T" }\nother = 1')
    assert not valid("")
    assert valid('token = { file = "t" }\npoll_interval_s = 3')
    assert Acme.config_schema["properties"]["token"] == {"type": "string", "x-secret": True}


def test_the_password_joins_the_address_quoted():
    assert with_password("postgresql://me@db:5/x?y=1", "p@ss/") == "postgresql://me:p%40ss%2F@db:5/x?y=1"
