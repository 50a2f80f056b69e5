"""The plugin's keys of an engine, checked against the plugin's schema."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from runlink.application.settings import EngineSettings, Secret
from runlink.hosting import check_options
from runlink.spi import Adapter


class Acme(Adapter):
    name = "acme"
    config_schema: ClassVar = {
        "type": "object",
        "properties": {
            "user": {"type": "string"},
            "depth": {"type": "integer", "minimum": 1},
            "token": {"type": "string", "minLength": 40, "x-secret": True},
            "login": {
                "type": "object",
                "properties": {"password": {"type": "string", "x-secret": True}},
                "additionalProperties": False,
            },
            "keys": {"type": "array", "items": {"type": "string", "x-secret": True}},
        },
        "required": ["user"],
    }

    def check(self): ...


def problems(name="a-b", **options):
    return check_options(Acme, EngineSettings(name=name, type="acme", url="http://h", options=options))


def test_sound_options_have_no_problems():
    secret = Secret(env="T")
    assert problems(user="u", depth=2, token=secret, login={"password": Secret(file=Path("p"))}, keys=[secret]) == []


def test_every_problem_is_told_at_once_with_its_path():
    assert problems("x.y", depth=0, tokn=1, poll_intervall_s=3) == [
        'engines."x.y".depth: 0 is less than 1',
        "engines.\"x.y\".poll_intervall_s: unknown key; did you mean 'poll_interval_s'?",
        "engines.\"x.y\".tokn: unknown key; did you mean 'token'?",
        'engines."x.y".user: is missing',
    ]


@pytest.mark.parametrize("options", [{"token": "hunter2"}, {"keys": ["hunter2"]}, {"login": {"password": "hunter2"}}])
def test_a_secret_that_stands_in_the_file_is_refused_and_not_shown(options):
    [line] = problems(user="u", **options)
    assert "is a secret and may not stand in the file; give { env = " in line
    assert "hunter2" not in line


def test_a_reference_where_no_secret_belongs_is_refused():
    assert problems(user=Secret(env="U")) == ["engines.a-b.user: is not a secret; write its value here"]


def test_nested_unknown_keys_are_named():
    [line] = problems(user="u", login={"pasword": Secret(env="P")})
    assert line.startswith("engines.a-b.login.pasword:")


def test_a_schema_may_allow_further_keys():
    opened = type("Open", (Acme,), {"config_schema": {**Acme.config_schema, "additionalProperties": True}})
    assert check_options(opened, EngineSettings(name="e", type="a", url="u", options={"user": "u", "any": 1})) == []
