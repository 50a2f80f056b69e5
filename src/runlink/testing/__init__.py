"""What plugin authors test with.

An adapter in its real surroundings, and an engine that replays recorded answers:

    with runlink.testing.serve_exchanges(exchanges) as engine:
        adapter = runlink.testing.build(AcmeAdapter, engine.url, config={"token": "t"})
        pages = list(adapter.poll({}))
        assert runlink.testing.requests_made(adapter) == 1

Every promise of the interface, against an engine whose life the kit plays through the author's translation:

    class TestAcme(runlink.testing.AdapterContract):
        adapter = AcmeAdapter
        engine = AcmeEngine   # a runlink.testing.ScriptedEngine

A recorded story, looked at rarely and with crashes, by a host whose turns are the daemon's:

    class TestStory(runlink.testing.StoryContract):
        moments = range(1, 15)   # with fixtures `make_host` (made by runlink.testing.hosts) and `at`

What `runlink record` wrote, as a fixture:

    assert runlink.testing.replay(AcmeAdapter, "tests/recordings/one-sync").is_same
"""

from runlink.application.settings import EngineSettings
from runlink.hosting.isolation import isolated
from runlink.testing.adapters import build, close, requests_made
from runlink.testing.contract import AdapterContract, PromiseBroken, promise, promises
from runlink.testing.engine import ReceivedRequest, RecordedEngine, Reply, serve_exchanges
from runlink.testing.host import Crash, Host
from runlink.testing.recording import Recorded, RecordingError, Replayed, record, replay
from runlink.testing.scripted import FEATURES, Request, ScriptedEngine, ScriptedRun, ScriptedStep, ScriptedTry
from runlink.testing.story import StoryContract, hosts

__all__ = [
    "FEATURES",
    "AdapterContract",
    "Crash",
    "EngineSettings",
    "Host",
    "PromiseBroken",
    "ReceivedRequest",
    "Recorded",
    "RecordedEngine",
    "RecordingError",
    "Replayed",
    "Reply",
    "Request",
    "ScriptedEngine",
    "ScriptedRun",
    "ScriptedStep",
    "ScriptedTry",
    "StoryContract",
    "build",
    "close",
    "hosts",
    "isolated",
    "promise",
    "promises",
    "record",
    "replay",
    "requests_made",
    "serve_exchanges",
]
