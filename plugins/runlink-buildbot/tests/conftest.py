"""The Buildbot in memory behind respx (`master`), adapters over it, and hosts that follow it."""

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import respx

sys.path.insert(0, str(Path(__file__).parent))

from fake_buildbot import FakeBuildbot, Row, recording

from runlink.testing import Host, hosts
from runlink_buildbot import BuildbotAdapter

URL = "http://buildbot.test"


@pytest.fixture
def master() -> Iterator[FakeBuildbot]:
    fake = FakeBuildbot()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="buildbot.test").mock(side_effect=fake.answer)
        yield fake


@pytest.fixture
def make_host(master: FakeBuildbot) -> Iterator[Callable[..., Host]]:
    """Makes hosts with the recorded Buildbot's clock, whose look-back window begins a day before the story."""
    since = datetime.fromisoformat("2026-11-22T14:49:00+00:00")
    with hosts(BuildbotAdapter, URL, now=lambda: master.now, since=since) as make:
        yield make


@pytest.fixture
def make_adapter(make_host: Callable[..., Host]) -> Callable[..., BuildbotAdapter]:
    return lambda **options: make_host(**options).adapter


@pytest.fixture
def adapter(make_host: Callable[..., Host]) -> BuildbotAdapter:
    built: BuildbotAdapter = make_host().adapter
    return built


@pytest.fixture
def recorded() -> Callable[[str], Row]:
    return recording


@pytest.fixture
def request_row() -> Callable[..., Row]:
    """Makes a build request that waits, of builder `ok`."""

    def make(number: int, at: int = 1_795_445_389, **changes: Any) -> Row:
        row = {"buildrequestid": number, "buildsetid": number, "builderid": 3, "submitted_at": at, "priority": 0}
        row |= {"claimed": False, "claimed_at": None, "claimed_by_masterid": None, "waited_for": False}
        return row | {"complete": False, "complete_at": None, "results": -1, "properties": {}} | changes

    return make


@pytest.fixture
def ended_row(request_row: Callable[..., Row]) -> Callable[..., Row]:
    """Makes a build request that was submitted five seconds before it ended."""
    return lambda number, at, results=0: request_row(
        number, at - 5, claimed=True, complete=True, complete_at=at, results=results
    )
