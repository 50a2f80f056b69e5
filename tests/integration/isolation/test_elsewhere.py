"""A plugin that is installed in another virtual environment alone, with what it needs and the host could not bear."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.engines.puppets import until
from tests.integration.isolation.conftest import TOKEN, is_there

from runlink import bootstrap
from runlink.application.settings import EngineSettings, Secret
from runlink.config import ConfigError
from runlink.hosting import PluginHost, build_adapter
from runlink.hosting.checking import check_engines
from runlink.spi import Receives, Refetches

PLUGIN = """
import lunar_client  # of a version that nobody else can use

from runlink.spi import EngineInfo, ExecutionStatus, Observation, Page, Polls, Receives, Receipt, hookimpl


class Lunar(Polls, Receives):
    name = "lunar"
    default_poll_interval_s = 42.0
    authentication = "basic"
    config_schema = {
        "type": "object",
        "properties": {"crater": {"type": "string"}, "token": {"type": "string", "x-secret": True}},
        "required": ["crater"],
    }

    def check(self):
        return EngineInfo(product="Lunar", version=lunar_client.VERSION, warnings=(self.context.config["token"],))

    def poll(self, cursors):
        crater = self.context.config["crater"]
        yield Page(observations=(Observation(external_id="1", workflow=crater, status=ExecutionStatus.COMPLETED,
                                             native_status="landed"),))

    def receive(self, delivery):
        return Receipt(refetch=(delivery.body.decode(),))


@hookimpl
def runlink_adapters():
    return [Lunar]
"""


def install(site: Path, name: str, source: str) -> None:
    (site / f"runlink_{name}.py").write_text(source)
    info = site / f"runlink_{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: runlink-{name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[runlink]\n{name} = runlink_{name}\n")


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A real virtual environment with nothing in it."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def lunar(tmp_path_factory):
    """One with runlink, the plugin, a plugin that does not load, and the client in a version of its own.

    What the tests run with is seen from there by a `.pth` file, so that nothing has to be fetched.
    """
    folder = tmp_path_factory.mktemp("lunar") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "tests.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    (site / "lunar_client.py").write_text('VERSION = "2.0"\n')
    install(site, "lunar", PLUGIN)
    install(site, "broken", "import no_such_module\n")
    return folder / "bin" / "python"


def settings(python: Path, **more) -> EngineSettings:
    fields = {"name": "moon", "type": "Lunar", "url": "http://127.0.0.1:1", "options": {"crater": "Tycho"}, **more}
    return EngineSettings(isolation="process", python=python, **fields)


@pytest.fixture(scope="module")
def plugins():
    return PluginHost.load(environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})


def test_the_host_needs_neither_the_plugin_nor_its_client(plugins, lunar, monkeypatch):
    monkeypatch.setitem(sys.modules, "lunar_client", None)  # here it cannot even be imported
    monkeypatch.setenv("MOON_TOKEN", TOKEN)
    engine = settings(lunar, options={"crater": "Tycho", "token": Secret(env="MOON_TOKEN")})
    bootstrap.check_engine(engine, plugins)
    adapter_class = plugins.adapter_for(engine)
    assert (adapter_class.name, adapter_class.default_poll_interval_s) == ("lunar", 42.0)
    assert issubclass(adapter_class, Receives)
    assert not issubclass(adapter_class, Refetches)
    assert plugins.adapter_for(engine) is adapter_class
    now = datetime.now(UTC)
    hosted = build_adapter(adapter_class, engine, now=lambda: now, since=now)
    try:
        assert Path(f"/proc/{hosted.process.pid}/cmdline").read_bytes().startswith(f"{lunar}\0".encode())
        info = hosted.adapter.check()
        assert (info.version, hosted.redact(info.warnings[0])) == ("2.0", "[secret]")
        (page,) = hosted.adapter.poll({})
        assert [o.workflow for o in page.observations] == ["Tycho"]
    finally:
        hosted.close()
    until(lambda: not is_there(hosted.process.pid), "its end")


def test_its_keys_are_checked_by_its_own_schema(plugins, lunar):
    with pytest.raises(ConfigError) as raised:
        bootstrap.check_engine(settings(lunar, options={"krater": "x", "token": "plain"}), plugins)
    problems = "\n".join(raised.value.problems)
    assert "engines.moon.krater: unknown key" in problems
    assert "engines.moon.crater: is missing" in problems
    assert "engines.moon.token: is a secret and may not stand in the file" in problems


def test_engines_test_reaches_through_it(plugins, lunar):
    (row,) = check_engines(
        [settings(lunar, options={"crater": "x", "token": "t"})], plugins, timeout_s=60, now=lambda: datetime.now(UTC)
    )
    assert (row["ok"], row["product"], row["isolation"], row["python"]) == (True, "Lunar", "process", str(lunar))
    assert row["start_s"] > 0


def test_its_plugins_are_listed(plugins, lunar):
    told = {plugin.name: plugin for plugin in plugins.elsewhere(lunar)}
    assert (told["lunar"].version, told["lunar"].capabilities) == ("1.5", ("poll", "receive"))
    assert "No module named 'no_such_module'" in told["broken"].refused


def test_a_program_may_stand_before_the_python(plugins, lunar, tmp_path):
    program = tmp_path / "with-less-rights"
    program.write_text(f'#!/bin/sh\nexec env -i LUNAR=1 {lunar} "$@"\n')
    program.chmod(0o755)
    (row,) = check_engines(
        [settings(program, options={"crater": "x", "token": "t"})], plugins, timeout_s=60, now=lambda: datetime.now(UTC)
    )
    assert (row["ok"], row["product"]) == (True, "Lunar")


# --- what is wrong with an environment -------------------------------------------------------------------------------


def problem(plugins, python, **more):
    with pytest.raises(ConfigError) as raised:
        bootstrap.check_engine(settings(python, **more), plugins)
    (line,) = raised.value.problems
    return line


def test_a_python_that_is_not_there(plugins, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    assert problem(plugins, python) == (
        f"engines.moon.python: {python} is not there; make it with `python3 -m venv`, and install runlink and the "
        "plugin there"
    )


def test_a_folder_is_no_python(plugins, tmp_path):
    told = problem(plugins, tmp_path)
    assert told.startswith(f"engines.moon.python: {tmp_path} is no program; give the path of a Python")


def test_a_file_that_cannot_be_run(plugins, tmp_path):
    (tmp_path / "python").write_text("no program")
    assert problem(plugins, tmp_path / "python").endswith("cannot be run: Permission denied")


def test_an_environment_without_runlink(plugins, bare):
    assert problem(plugins, bare) == (
        f"engines.moon.python: {bare} has no runlink that can run adapters; install the same version there"
    )


def test_an_environment_without_the_plugin(plugins, lunar):
    told = problem(plugins, lunar, type="venus")
    assert told.startswith(f"engines.moon.type: no plugin of {lunar} brings the engine type 'venus'; install it there")
    assert "lunar" in told
    assert "plugin 'broken' (runlink-broken) is refused: importing it failed" in told


STRANGER = """#!{python}
import json, os, socket, struct, time
sock = socket.socket(fileno=0)
body = json.dumps({{"type": "Hello", "protocol": 99, "spi": "7", "runlink": "9.9"}}).encode()
sock.sendall(struct.pack("!I", len(body)) + body)
sock.recv(1 << 16)
"""


def test_a_runlink_that_speaks_otherwise(plugins, tmp_path):
    python = tmp_path / "python"
    python.write_text(STRANGER.format(python=sys.executable))
    python.chmod(0o755)
    told = problem(plugins, python)
    assert "has runlink 9.9 (SPI 7, protocol 99), which this one (SPI 1, protocol 1) cannot talk to" in told
    assert told.endswith("install the same version there")


def test_a_plugin_that_was_installed_meanwhile_is_seen_after_another_look(lunar, tmp_path):
    plugins = PluginHost.load(environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})
    python = tmp_path / "python"
    assert "is not there" in problem(plugins, python)
    python.symlink_to(lunar)
    assert "is not there" in problem(plugins, python)
    plugins.look_again()
    assert "no runlink" in problem(plugins, python)  # a link beside the environment is the Python that it was made of
