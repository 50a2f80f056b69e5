"""Every promise of the adapter interface, kept against a scripted Buildbot."""

from collections.abc import Mapping
from typing import Any, ClassVar

from scripted_buildbot import BuildbotEngine

from runlink.testing import AdapterContract
from runlink_buildbot import BuildbotAdapter


class TestBuildbot(AdapterContract):
    adapter = BuildbotAdapter
    engine = BuildbotEngine
    config: ClassVar[Mapping[str, Any]] = {"user": "runlink", "password": "p4ss-0f-buildbot"}
