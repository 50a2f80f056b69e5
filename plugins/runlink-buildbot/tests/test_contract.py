"""Every promise of the adapter interface, kept against a scripted Buildbot."""

from collections.abc import Mapping
from typing import Any, ClassVar

from scripted_buildbot import BuildbotEngine

from runlink.testing import AdapterContract, isolated
from runlink_buildbot import BuildbotAdapter


class TestBuildbot(AdapterContract):
    adapter = BuildbotAdapter
    engine = BuildbotEngine
    config: ClassVar[Mapping[str, Any]] = {"user": "runlink", "password": "p4ss-0f-buildbot"}


class TestBuildbotApart(AdapterContract):
    """The same through the boundary of a process, with fewer lives: each adapter that is made is one more to start."""

    adapter = isolated(BuildbotAdapter)
    engine = BuildbotEngine
    config = TestBuildbot.config
    exempt: ClassVar[Mapping[str, str]] = {
        "test_ten_thousand_runs_in_bounded_memory": "it is this process that is measured; pages come one by one",
    }
    examples = 2
