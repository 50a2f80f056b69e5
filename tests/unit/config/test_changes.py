"""What SIGHUP prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runlink.application.policy import Policy
from runlink.application.settings import EngineSettings, LinkRule, Retention, Secret, Settings
from runlink.config import diff


def engine(name, **fields):
    return EngineSettings(**{"name": name, "type": "jenkins", "url": f"http://{name}", **fields})


def settings(*engines, **fields):
    return Settings(**{"store_url": "sqlite:////a.db", "engines": {e.name: e for e in engines}, **fields})


def test_nothing_changed():
    assert diff(settings(engine("a")), settings(engine("a"), path=Path("x"))) == []


def test_every_change_is_a_line_and_no_secret_is_shown():
    old = settings(
        engine("a", options={"token": Secret(env="T"), "depth": 1}),
        engine("gone"),
        engine("old"),
        links=(LinkRule(name="one", inherit="parent"), LinkRule(name="two", inherit="parent")),
        automations={"old": Policy(quiet_s=5.0)},
    )
    new = settings(
        engine("a", poll_interval_s=30.0, include=("x",), options={"token": Secret(file=Path("t")), "user": "u"}),
        engine("b.c"),
        replace(engine("new", renamed_from="old"), url="http://old"),
        links=(LinkRule(name="two", inherit="parent", workflow="w"), LinkRule(name="one", inherit="parent"),
               LinkRule(name="three", inherit="parent")),
        automations={"nightly": Policy(expected=("a",))},
        retention=Retention(outbox_days=1.0),
        disabled_plugins=frozenset({"acme"}),
        store_url="postgresql://db/x",
        store_password=Secret(env="P"),
    )  # fmt: skip
    assert diff(old, new) == [
        "store.url: 'sqlite:////a.db' -> 'postgresql://db/x' (needs a restart)",
        'store.password: (not set) -> { env = "P" } (needs a restart)',
        "engines.gone: removed; the engine is deactivated and its instances stay",
        "engines.a.include: ['*'] -> ['x']",
        "engines.a.poll_interval_s: (not set) -> 30.0",
        "engines.a.depth: 1 -> (not set)",
        'engines.a.token: { env = "T" } -> { file = "t" }',
        "engines.a.user: (not set) -> 'u'",
        'engines."b.c": added (jenkins at http://b.c)',
        "engines.new: renamed from old",
        "links 'two'.workflow: '*' -> 'w'",
        "links 'three': added",
        "links: the order of the rules changed",
        "automations.old.quiet_s: 5.0 -> 30.0",
        "automations.nightly.expected: [] -> ['a']",
        "retention.outbox_days: 14.0 -> 1.0",
        "plugins.disabled: [] -> ['acme'] (needs a restart)",
    ]
