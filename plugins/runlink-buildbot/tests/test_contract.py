"""Every promise of the adapter interface, kept against a scripted Buildbot."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from scripted_buildbot import BuildbotEngine

from runlink.spi import ExecutionStatus
from runlink.testing import AdapterContract, EngineSettings, record, replay
from runlink_buildbot import BuildbotAdapter


class TestBuildbot(AdapterContract):
    adapter = BuildbotAdapter
    engine = BuildbotEngine
    config: ClassVar[Mapping[str, Any]] = {"user": "runlink", "password": "p4ss-0f-buildbot"}
    exempt: ClassVar[Mapping[str, str]] = {
        "test_an_unknown_native_status_is_named": "Buildbot has words for ends alone; see test_translate"
    }


# --- recordings ---------------------------------------------------------------------------------------------------


def test_what_is_recorded_makes_the_same_tables(tmp_path):
    with BuildbotEngine() as buildbot:
        parent = buildbot.start()
        for number in range(40):
            run = buildbot.start(pending=number % 5 == 0, parent=parent)
            buildbot.advance(1)
            if number % 4:
                buildbot.end(run, ExecutionStatus.FAILED if number % 3 else ExecutionStatus.COMPLETED)
        settings = EngineSettings(name="ci", type="buildbot", url=buildbot.url)
        since = buildbot.now - timedelta(days=1)
        live = record(BuildbotAdapter, settings, tmp_path / "one", since=since, now=lambda: buildbot.now)
        assert live.error is None
        assert live.instances == 41
        assert live.requests == buildbot.requests
    again = replay(BuildbotAdapter, tmp_path / "one")
    assert again.is_same, again.differences
    assert again.tables == live.tables
