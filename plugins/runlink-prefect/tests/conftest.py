"""What all tests of the plugin use: the recorded Prefect on loopback, and hosts that follow it."""

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from recorded_prefect import RecordedPrefect

from runlink.testing import Host, hosts
from runlink_prefect import PrefectAdapter

SINCE = datetime.fromisoformat("2026-11-22T14:38:00+00:00")


@pytest.fixture
def prefect() -> Iterator[RecordedPrefect]:
    """The recorded Prefect on loopback, before its first moment."""
    with RecordedPrefect() as running:
        yield running


@pytest.fixture
def make_host(prefect: RecordedPrefect) -> Iterator[Callable[..., Host]]:
    """Makes hosts with the clock of the recorded Prefect, whose look-back window begins a day before the story."""
    with hosts(PrefectAdapter, prefect.url, now=prefect.now, since=SINCE) as make:
        yield make


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """A host before its first turn."""
    return make_host()
