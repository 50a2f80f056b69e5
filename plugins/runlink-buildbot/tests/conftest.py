"""The Buildbot in memory behind respx (`master`), adapters over it, and a host of a few lines."""

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import respx

sys.path.insert(0, str(Path(__file__).parent))

from fake_buildbot import FakeBuildbot, Row, recording

import runlink.testing
from runlink.spi import Observation, Page
from runlink_buildbot import BuildbotAdapter

URL = "http://buildbot.test"


class Host:
    """What the real host does with an adapter, as far as a plugin can tell: the turn, the cursors, the table."""

    def __init__(self, adapter: BuildbotAdapter) -> None:
        self.adapter = adapter
        self.cursors: dict[str, str] = {}
        self.table: dict[str, Row] = {}
        self.gone: set[str] = set()

    def turn(self, *, pages: int | None = None) -> list[Page]:
        """A poll, then a refetch of the open instances it did not show and of the ended ones without steps.

        `pages`: the crash comes after so many.
        """
        seen: list[Page] = []
        for page in self.adapter.poll(dict(self.cursors)):
            if pages is not None and len(seen) == pages:
                return seen
            seen.append(page)
            self.take(page)
        shown = {each.external_id for page in seen for each in page.observations}
        again = [
            name
            for name, known in self.table.items()
            if (name not in shown and known["finished_at"] is None) or (known["finished_at"] and known["steps"] is None)
        ]
        for page in self.adapter.refetch(again):
            self.take(page)
        return seen

    def take(self, page: Page) -> None:
        assert page.unreadable == ()
        self.cursors.update({name: cursor for name, cursor in page.cursors.items() if cursor is not None})
        self.gone.update(page.gone)
        for each in page.observations:
            self._fold(each)

    def _fold(self, seen: Observation) -> None:
        told = {name: getattr(seen, name) for name in seen.__struct_fields__}
        known = self.table.setdefault(seen.external_id, dict.fromkeys(told) | {"tries": {}})
        known["tries"].update({attempt.number: attempt for attempt in told.pop("attempts")})
        known.update({name: value for name, value in told.items() if value is not None})


@pytest.fixture
def master() -> Iterator[FakeBuildbot]:
    fake = FakeBuildbot()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="buildbot.test").mock(side_effect=fake.answer)
        yield fake


@pytest.fixture
def adapter(master: FakeBuildbot) -> Iterator[BuildbotAdapter]:
    built = new_adapter()
    yield built
    runlink.testing.close(built)


def new_adapter(url: str = URL, **options: Any) -> BuildbotAdapter:
    """An adapter whose look-back window begins a day before the recorded story."""
    options = {"since": datetime.fromisoformat("2026-11-22T14:49:00+00:00")} | options
    return runlink.testing.build(BuildbotAdapter, url, **options)


@pytest.fixture
def make_adapter() -> Iterator[Callable[..., BuildbotAdapter]]:
    made: list[BuildbotAdapter] = []

    def make(**options: Any) -> BuildbotAdapter:
        made.append(new_adapter(**options))
        return made[-1]

    yield make
    for each in made:
        runlink.testing.close(each)


@pytest.fixture
def make_host(make_adapter: Callable[..., BuildbotAdapter]) -> Callable[..., Host]:
    return lambda **options: Host(make_adapter(**options))


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
