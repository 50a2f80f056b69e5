"""What all tests of the plugin use: the fake Dagster behind respx, and hosts that follow it."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import respx

sys.path.insert(0, str(Path(__file__).parent))

from fake_dagster import FakeDagster, Row, full

from runlink.testing import Host, hosts
from runlink_dagster import DagsterAdapter

URL = "http://dagster.test"


@pytest.fixture
def engine() -> Iterator[FakeDagster]:
    fake = FakeDagster()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="dagster.test").mock(side_effect=fake.answer)
        yield fake


@pytest.fixture
def make_host(engine: FakeDagster) -> Iterator[Callable[..., Host]]:
    """Makes hosts with the fake's clock, whose look-back window begins a day before the recorded story."""
    with hosts(DagsterAdapter, URL, now=engine.now, since=datetime(2026, 11, 22, tzinfo=UTC)) as make:
        yield make


@pytest.fixture
def make_adapter(make_host: Callable[..., Host]) -> Callable[..., DagsterAdapter]:
    return lambda **options: make_host(**options).adapter


@pytest.fixture
def adapter(make_host: Callable[..., Host]) -> DagsterAdapter:
    built: DagsterAdapter = make_host().adapter
    return built


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
