"""A new configuration while the daemon runs: `Runlink.reload`, over a real file."""

import threading
from typing import ClassVar

import pytest
from tests.engines.puppets import Counting, Puppet, until

from runlink.bootstrap import Runlink, load_settings, open_settings_store
from runlink.config import ConfigError
from runlink.domain import ValidationError
from runlink.hosting import PluginHost
from runlink.spi import hookimpl


class Logged(Counting):
    """Remembers the adapters that were made and closed, by engine."""

    made: ClassVar = []
    closed: ClassVar = []

    def __init__(self, context):
        super().__init__(context)
        self.made.append((context.engine, id(self)))

    def close(self):
        self.closed.append((self.context.engine, id(self)))


class Other(Puppet):
    name = "other"


class Plugin:
    @hookimpl
    def runlink_adapters(self):
        return [Logged, Other]


@pytest.fixture
def runlink(tmp_path, migrated_file):
    Logged.made, Logged.closed = [], []
    path = tmp_path / "runlink.toml"
    (tmp_path / "runlink.db").write_bytes(migrated_file.read_bytes())
    text = f'[store]\nurl = "sqlite:///{tmp_path}/runlink.db"\n'

    def write(*engines, more=""):
        tables = "".join(
            f'[engines.{name}]\ntype = "{kind}"\nurl = "http://127.0.0.1:1"\npoll_interval_s = 1\n{extra}\n'
            for name, kind, extra in engines
        )
        path.write_text(text + tables + more)

    write(("a", "puppet", ""), ("b", "puppet", ""))
    settings = load_settings(path, {})
    plugins = PluginHost.load(extra=[("test", Plugin())], environ={"RUNLINK_DISABLE_PLUGIN_AUTOLOAD": "1"})
    runlink = Runlink(settings, plugins, open_settings_store(settings))
    runlink.write = write
    with runlink.lease() as fence:
        runlink.fence = fence
        runlink.running = runlink.daemon(runlink.register(), fence)
        thread = threading.Thread(target=runlink.running.run, daemon=True)
        thread.start()
        try:
            until(lambda: [feed.health.state for feed in runlink.running.feeds.values()] == ["ok", "ok"])
            yield runlink
        finally:
            runlink.running.stop()
            thread.join(10)
        assert not thread.is_alive()
    runlink.close()


def engines(runlink):
    with runlink.store.reading() as uow:
        return {engine.name: engine.is_active for engine in uow.engines.list(include_inactive=True)}


def test_added_removed_changed_and_unchanged(runlink):
    before = dict(runlink.running.feeds)
    (made_a,) = [one for one in Logged.made if one[0] == "a"]
    runlink.write(("a", "puppet", ""), ("c", "puppet", ""))
    lines = runlink.reload(runlink.running, runlink.fence)
    assert len(lines) == 2
    assert set(runlink.running.feeds) == {"a", "c"}
    assert runlink.running.feeds["a"] is before["a"]
    until(lambda: runlink.running.feeds["c"].health.state == "ok")
    until(lambda: [name for name, _ in Logged.closed] == ["b"])
    assert engines(runlink) == {"a": True, "b": False, "c": True}
    runlink.write(("a", "puppet", ""), ("c", "puppet", "lookback_s = 60"), ("b", "puppet", ""))
    former = runlink.running.feeds["c"]
    runlink.reload(runlink.running, runlink.fence)
    until(lambda: runlink.running.feeds["b"].health.state == runlink.running.feeds["c"].health.state == "ok")
    assert runlink.running.feeds["c"] is not former
    assert runlink.running.feeds["c"].engine.id == former.engine.id
    assert [one for one in Logged.made if one[0] == "a"] == [made_a], "what did not change keeps its adapter"
    assert made_a not in Logged.closed
    assert engines(runlink) == {"a": True, "b": True, "c": True}
    with runlink.store.reading() as uow:
        assert len(uow.engines.list(include_inactive=True)) == 3, "b is the same row again"


@pytest.mark.parametrize(
    ("engines_", "error"),
    [
        ([("a", "puppet", ""), ("d", "no-such-type", "")], ConfigError),
        ([("a", "puppet", 'colour = "red"'), ("d", "puppet", "poll_interval_s = -1")], ConfigError),
        ([("a", "other", ""), ("d", "puppet", "")], ValidationError),
    ],
    ids=["unknown type", "bad value", "type of an engine changed"],
)
def test_a_bad_file_keeps_the_old(runlink, engines_, error):
    feeds, settings, rows = dict(runlink.running.feeds), runlink.settings, engines(runlink)
    runlink.write(*engines_)
    with pytest.raises(error):
        runlink.reload(runlink.running, runlink.fence)
    assert runlink.running.feeds == feeds
    assert runlink.settings is settings
    assert engines(runlink) == rows
    turns = feeds["b"].health.last_success_at
    until(lambda: feeds["b"].health.last_success_at > turns)


def test_new_links_reach_the_feeds_that_stay(runlink):
    feed = runlink.running.feeds["a"]
    runlink.write(
        ("a", "puppet", ""),
        ("b", "puppet", ""),
        more='[[links]]\nautomation = "Nightly"\nrun_key = "external_id"\ncreate_run = true\n',
    )
    runlink.reload(runlink.running, runlink.fence)
    assert runlink.running.feeds["a"] is feed

    def runs():
        with runlink.store.reading() as uow:
            return uow.runs.list()

    until(runs, "a Run by the new rule")


def test_a_reload_of_the_same_file_changes_nothing(runlink):
    feeds = dict(runlink.running.feeds)
    assert runlink.reload(runlink.running, runlink.fence) == []
    assert runlink.running.feeds == feeds
    assert Logged.closed == []
