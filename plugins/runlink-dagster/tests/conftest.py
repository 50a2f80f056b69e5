"""What all tests of the plugin use: the fake Dagster behind respx, adapters over it, and a host of a few lines."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import respx

sys.path.insert(0, str(Path(__file__).parent))

from fake_dagster import FakeDagster, Row, full

import runlink.testing
from runlink.spi import Observation, Page
from runlink_dagster import DagsterAdapter

URL = "http://dagster.test"


class Host:
    """What the real host does with an adapter, as far as a plugin can tell: the turn, the cursors, the table."""

    def __init__(self, adapter: DagsterAdapter) -> None:
        self.adapter = adapter
        self.cursors: dict[str, str] = {}
        self.table: dict[str, Row] = {}
        self.gone: list[str] = []

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
        self.gone.extend(page.gone)
        for each in page.observations:
            self._fold(each)

    def _fold(self, seen: Observation) -> None:
        told = {name: getattr(seen, name) for name in seen.__struct_fields__}
        known = self.table.setdefault(seen.external_id, dict.fromkeys(told))
        known.update({name: value for name, value in told.items() if value is not None})


@pytest.fixture
def engine() -> Iterator[FakeDagster]:
    fake = FakeDagster()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="dagster.test").mock(side_effect=fake.answer)
        yield fake


@pytest.fixture
def make_adapter() -> Iterator[Callable[..., DagsterAdapter]]:
    """Makes adapters whose look-back window begins a day before the recorded story."""
    made: list[DagsterAdapter] = []

    def make(url: str = URL, **options: Any) -> DagsterAdapter:
        options = {"since": datetime(2026, 11, 22, tzinfo=UTC)} | options
        made.append(runlink.testing.build(DagsterAdapter, url, **options))
        return made[-1]

    yield make
    for each in made:
        runlink.testing.close(each)


@pytest.fixture
def adapter(engine: FakeDagster, make_adapter: Callable[..., DagsterAdapter]) -> DagsterAdapter:
    return make_adapter()


@pytest.fixture
def make_host(engine: FakeDagster, make_adapter: Callable[..., DagsterAdapter]) -> Callable[..., Host]:
    return lambda **options: Host(make_adapter(**options))


@pytest.fixture
def make_run() -> Callable[..., Row]:
    """Makes a run that succeeded: number N was created at second N and updated ten seconds later."""

    def make(number: int, status: str = "SUCCESS", **changes: Any) -> Row:
        at = 1_795_445_000.0 + number
        row: Row = {"runId": f"00000000-0000-0000-0000-{number:012}", "status": status, "jobName": "etl", "tags": []}
        row |= {"parentRunId": None, "rootRunId": None, "creationTime": at, "updateTime": at + 10}
        ended = status in ("SUCCESS", "FAILURE", "CANCELED")
        row |= {"startTime": at + 1, "endTime": at + 10 if ended else None}
        row["stepStats"] = [
            {"stepKey": "load", "status": "SUCCESS", "startTime": at + 2, "endTime": at + 3, "attempts": []}
        ]
        return full(row | changes)

    return make
