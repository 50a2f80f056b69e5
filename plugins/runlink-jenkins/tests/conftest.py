"""What all tests of the plugin use: the fake server on loopback, and a host of a few lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from fake_jenkins import FakeJenkins
from small_host import Bench

from runlink.testing import serve_exchanges

# On a busy machine what is drawn takes its time: neither a slow draw nor a slow example is a fault.
settings.register_profile("busy", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def loopback() -> Iterator[Bench]:
    """One loopback server for the whole session; each test puts its own Jenkins behind it."""
    bench = Bench()
    with serve_exchanges(bench.handle) as engine:
        bench.url = engine.url
        bench.engine = engine
        yield bench


@pytest.fixture
def bench(loopback: Bench) -> Iterator[Bench]:
    """The loopback server with an empty Jenkins behind it."""
    loopback.jenkins = FakeJenkins()
    loopback.engine.requests.clear()
    yield loopback
    loopback.close_adapters()
