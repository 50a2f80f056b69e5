"""Plugins that behave and plugins that do not, as real modules and real entry points."""

from __future__ import annotations

import logging
import sys
import textwrap
from types import ModuleType
from typing import ClassVar

import pytest

from runlink.application.rules.keys import RuleFailed
from runlink.hosting import PluginError, PluginHost, UnknownEngineType
from runlink.spi import Adapter, EngineInfo, ExecutionStatus, Observation, Polls, Receives, Refetches, hookimpl

ENVIRONMENT = {"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"}

SOUND = """
    from runlink.spi import EngineInfo, Polls, Refetches, hookimpl

    class {cls}(Polls, Refetches):
        name = "{type}"
        config_schema = {{"type": "object"}}
        def check(self):
            return EngineInfo(product="p", version="1")
        def poll(self, cursors):
            return iter(())
        def refetch(self, external_ids):
            return iter(())

    @hookimpl
    def runlink_adapters():
        return [{cls}]
"""


def load(*extra, disabled=(), **environ):
    return PluginHost.load(disabled, extra, environ={**ENVIRONMENT, **environ})


def plugin(*classes, name="acme_plugin", **hooks):
    """A module with a `runlink_adapters` hook that brings these classes."""
    module = ModuleType(name)

    @hookimpl
    def runlink_adapters():
        return classes

    vars(module).update({"runlink_adapters": runlink_adapters, **hooks})
    return module


class Sound(Polls):
    name = "Sound"
    config_schema: ClassVar = {"type": "object", "properties": {"user": {"type": "string"}}}

    def check(self):
        return EngineInfo(product="p", version="1")

    def poll(self, cursors):
        return iter(())


def variant(**members):
    """A class like Sound, but for what is given."""
    return type("Variant", (Sound,), {"name": "variant", **members})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one module and one entry point, the way importlib.metadata sees it."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def do(name, source, version="1.2"):
        module = f"plugin_of_{name.replace('-', '_')}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"dist_{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[runlink]\n{name} = {module}\n")

    yield do
    for module in made:
        sys.modules.pop(module, None)


HOSTILE = {
    "import-fails": ("import no_such_module_at_all", "importing it failed: ModuleNotFoundError: No module named"),
    "exits": ("import sys; sys.exit(3)", "importing it failed: SystemExit: 3"),
    "base-exception": ("raise BaseException('odd')", "importing it failed: BaseException: odd"),
    "misspelt": (
        "from runlink.spi import hookimpl\n@hookimpl\ndef runlink_adapter():\n    return []",
        "it implements 'runlink_adapter', which is no hook; did you mean 'runlink_adapters'?",
    ),
    "unmarked": (
        "def runlink_adapters():\n    return []",
        "runlink_adapters is not marked; write @runlink.spi.hookimpl",
    ),
    "hookless": ("x = 1", "it implements no hook; known hooks: runlink_adapters, runlink_event"),
    "wrong-arguments": (
        "from runlink.spi import hookimpl\n@hookimpl\ndef runlink_adapters(config):\n    return []",
        "its hooks do not fit: PluginValidationError",
    ),
    "hook-raises": (
        "from runlink.spi import hookimpl\n@hookimpl\ndef runlink_adapters():\n    raise SystemExit('no')",
        "its hook runlink_adapters failed: SystemExit: no",
    ),
    "hook-of-nothing": (
        "from runlink.spi import hookimpl\n@hookimpl\ndef runlink_adapters():\n    return 7",
        "its hook runlink_adapters failed: TypeError",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plugin_costs_itself_only(install, caplog, name):
    source, reason = HOSTILE[name]
    install(name, source)
    install("a-good", SOUND.format(cls="Before", type="before"))
    install("z-good", SOUND.format(cls="After", type="after"))
    with caplog.at_level(logging.WARNING, "runlink.hosting"):
        host = PluginHost.load(environ={})
    assert {"before", "after"} <= host.adapters.keys()
    sentence = host.refused[name]
    assert sentence.startswith(f"plugin {name!r} (dist-{name}) is refused: ")
    assert reason in sentence
    assert "\n" not in sentence
    assert [r.getMessage() for r in caplog.records].count(sentence) == 1
    assert next(p for p in host.plugins if p.name == name).refused == sentence
    with pytest.raises(PluginError, match="RUNLINK_STRICT_PLUGINS"):
        PluginHost.load(["no:jenkins", "no:buildbot"], environ={"RUNLINK_STRICT_PLUGINS": "1"})


def test_a_good_plugin_is_told_with_all_that_is_to_know(install):
    install("good", SOUND.format(cls="Good", type="Good"))
    host = PluginHost.load(environ={})
    [info] = [p for p in host.plugins if p.name == "good"]
    assert (info.distribution, info.version, info.refused) == ("dist-good", "1.2", None)
    assert (info.engine_types, info.capabilities) == (("good",), ("poll", "refetch"))
    assert host.adapter_class("GOOD") is host.adapters["good"]


def test_ctrl_c_while_a_plugin_is_imported_is_not_the_plugins_fault(install):
    install("interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginHost.load(environ={})


def test_plugins_are_left_out_on_request(install, caplog):
    install("good", SOUND.format(cls="Good", type="good"))
    install("exits", "import sys; sys.exit(3)")
    host = PluginHost.load(["no:GOOD", "exits", "godo"], environ={"RUNLINK_STRICT_PLUGINS": "0"})
    assert "good" not in host.adapters
    assert not {"good", "exits"} & host.refused.keys()
    assert next(p for p in host.plugins if p.name == "good").refused == "left out by -p no:good"
    assert "there is no plugin 'godo' to leave out; did you mean 'good'?" in caplog.text


def test_without_autoload_only_named_plugins_are_loaded(install, monkeypatch):
    install("good", SOUND.format(cls="Good", type="good"))
    install("other", SOUND.format(cls="Other", type="other"))
    assert load(("x", "plugin_of_other")).adapters.keys() == {"other"}
    assert load().adapters == {}


VERDICTS = {
    "no class": ("Acme", "'Acme' is not a subclass of runlink.spi.Adapter"),
    "other class": (dict, "<class 'dict'> is not a subclass"),
    "wrong version": (variant(spi_version="2"), "Variant was written for SPI version '2', this host speaks '1'"),
    "no name": (variant(name=None), "Variant is named None"),
    "odd name": (variant(name="two words"), "Variant is named 'two words'"),
    "schema is no mapping": (variant(config_schema=[]), "config_schema that is no JSON Schema but list"),
    "schema is no schema": (variant(config_schema={"type": "objekt"}), "config_schema that is no JSON Schema: "),
    "schema of no object": (variant(config_schema={"type": "string"}), "does not describe an object"),
    "schema with host keys": (
        variant(config_schema={"type": "object", "properties": {"url": {}, "include": {}}}),
        "keys that are the host's own: include, url; rename them",
    ),
    "schema that fetches": (
        variant(config_schema={"type": "object", "$ref": "https://example.org/schema"}),
        "leads out of the schema",
    ),
    "secret that is no string": (
        variant(config_schema={"type": "object", "properties": {"pin": {"type": "integer", "x-secret": True}}}),
        "secret 'pin' is no string",
    ),
    "abstract": (
        type("Variant", (Polls,), {"name": "v", "config_schema": {"type": "object"}}),
        "Variant lacks check(), poll()",
    ),
    "too few arguments": (
        variant(poll=lambda self: iter(())),
        "has a poll() that cannot be called as poll(self, cursors)",
    ),
    "too many arguments": (variant(poll=lambda self, cursors, more: iter(())), "missing a required argument: 'more'"),
    "wrong constructor": (variant(__init__=lambda self: None), "cannot be called as __init__(self, context)"),
    "static": (variant(poll=staticmethod(lambda self, cursors: iter(()))), "has a poll that is no plain method"),
    "no method": (variant(close=None), "has a close that is no plain method"),
    "promise not made": (variant(refetch=lambda self, ids: iter(())), "does not inherit runlink.spi.Refetches"),
    "unknown scheme": (
        type("Variant", (Sound, Receives), {"name": "v", "authentication": "magic", "receive": lambda self, d: None}),
        "names the authentication 'magic'",
    ),
}  # fmt: skip


async def _async_poll(self, cursors):
    return iter(())


VERDICTS["async"] = (variant(poll=_async_poll), "has an async poll(); the SPI is synchronous")


@pytest.mark.parametrize("case", VERDICTS)
def test_an_unfit_class_refuses_its_plugin(case):
    unfit, reason = VERDICTS[case]
    host = load(("acme", plugin(Sound, unfit)), ("after", plugin(variant(name="after"))))
    assert host.adapters.keys() == {"after"}
    assert reason in host.refused["acme"]


def test_a_refused_plugin_leaves_nothing_behind():
    @hookimpl
    def runlink_event(event): ...

    host = load(("acme", plugin(dict, runlink_event=runlink_event)))
    assert host.event_subscribers == []
    assert len(host.plugins) == 1


def test_a_class_may_take_more_than_it_has_to():
    class Generous(Sound, Refetches):
        name = "generous"

        def poll(self, cursors=None, *, deep=False):
            return iter(())

        def refetch(self, *external_ids):
            return iter(())

    assert load(("acme", plugin(Generous))).refused == {}


def test_a_taken_engine_type_goes_to_the_first_in_any_case():
    host = load(("one", plugin(Sound)), ("two", plugin(variant(name="SOUND"))), ("3", plugin(variant(), variant())))
    assert host.adapter_class("sound") is Sound
    assert "the engine type 'sound' is taken by plugin 'one'" in host.refused["two"]
    assert "the engine type 'variant' is taken by plugin 'itself'" in host.refused["3"]


def test_a_taken_plugin_name_and_a_plugin_given_twice_are_refused():
    module = plugin(Sound)
    host = load(("one", module), ("one", plugin(variant())), ("again", module), ("none", None))
    assert host.adapters.keys() == {"sound"}
    assert "the plugin name 'one' is taken" in host.refused["one"]
    assert host.refused.keys() == {"one", "again", "none"}


def test_an_unknown_engine_type_is_answered_with_the_known_ones():
    host = load(("one", plugin(Sound)))
    with pytest.raises(UnknownEngineType, match=r"'Soundd'; did you mean 'sound'\?; known types: sound"):
        host.adapter_class("Soundd")
    with pytest.raises(UnknownEngineType, match="no plugin is loaded"):
        load().adapter_class("x")


def test_each_subscriber_is_called_on_its_own():
    heard = []

    @hookimpl
    def runlink_event(event):
        heard.append(event["id"])

    @hookimpl(specname="runlink_event")
    def failing(event):
        raise ValueError("mine")

    host = load(
        ("b", plugin(runlink_event=runlink_event)), ("a", plugin(failing=failing)), ("c", plugin(variant(name="c")))
    )
    subscribers = dict(host.event_subscribers)
    assert list(subscribers) == ["a", "b"]
    with pytest.raises(ValueError, match="mine"):
        subscribers["a"]({"id": 1})
    subscribers["b"]({"id": 2})
    assert heard == [2]


def test_a_plugin_may_be_an_object():
    class Plugin:
        @hookimpl
        def runlink_adapters(self):
            yield Sound

    host = load(("object", Plugin()))
    assert host.adapters == {"sound": Sound}
    assert issubclass(host.adapters["sound"], Adapter)


# --- the hook runlink_link ------------------------------------------------------------------------------------------


def linking(answer):
    @hookimpl
    def runlink_link(observation, engine):
        return answer(observation, engine)

    return plugin(runlink_link=runlink_link)


SEEN = Observation(external_id="1", workflow="w", status=ExecutionStatus.PROCESSING, native_status="RUNNING")


def test_each_plugin_that_finds_keys_is_asked_alone():
    host = load(
        ("One", linking(lambda o, e: [f"{e}/{o.external_id}", "k"])),
        ("two", linking(lambda o, e: "word")),
        ("three", plugin()),
    )
    assert list(host.linkers) == ["two", "one"] or list(host.linkers) == ["one", "two"]
    assert host.linkers["one"](SEEN, "ci") == ["ci/1", "k"]
    assert host.linkers["two"](SEEN, "ci") == ["word"]


def test_no_keys_is_no_failure():
    host = load(("a", linking(lambda o, e: None)), ("b", linking(lambda o, e: ())))
    assert host.linkers["a"](SEEN, "ci") == host.linkers["b"](SEEN, "ci") == []


@pytest.mark.parametrize("error", [ValueError("not this one"), SystemExit(3)])
def test_whatever_a_hook_raises_is_its_rules_failure(error):
    def fail(_observation, _engine):
        raise error

    host = load(("acme", linking(fail)))
    with pytest.raises(RuleFailed, match=f"the hook runlink_link of plugin 'acme' failed: {type(error).__name__}"):
        host.linkers["acme"](SEEN, "ci")


def test_what_is_no_list_of_keys_is_a_failure():
    host = load(("acme", linking(lambda o, e: 5)))
    with pytest.raises(RuleFailed, match="not iterable"):
        host.linkers["acme"](SEEN, "ci")
