"""(c) A poll of 217 jobs in which nothing happened: CPU, requests, rows written.

Baseline: the least that could be done, one GET of the same query on an open session of requests, decoded by msgspec and
thrown away. What is above it is the host's guard, the comparison with the cursors, and four reads of the store.
Measured on a store with few builds and on one with 20,000, because an idle poll should not pay for history.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from benchmarks import fake_jenkins
from benchmarks.jenkins_client import client
from benchmarks.measure import Figure, cpu
from runlink.store import SqlStore
from runlink_jenkins.listing import FIRST_LEVELS, probe_tree

JOBS = 217
FEW, MANY = 5, 92
POLLS, ROUNDS = 20, 10


def run() -> Iterator[Figure]:
    """Three figures with few builds, and the CPU with many."""
    for builds, name in ((FEW, "idle_poll"), (MANY, "idle_poll_with_20000_builds")):
        yield from _idle(builds, name)


def _idle(builds: int, name: str) -> Iterator[Figure]:
    product: list[float] = []
    baseline: list[float] = []
    with (
        fake_jenkins.running(JOBS, builds) as (url,),
        tempfile.TemporaryDirectory(prefix="runlink-bench-") as folder,
        client(Path(folder), url) as one,
        requests.Session() as session,
    ):
        assert one.poll().new == JOBS * builds
        one.poll()
        asked, wrote = one.requests(), _written(one.runlink.store)
        query = f"{url}/api/json?tree={quote(probe_tree(FIRST_LEVELS), safe='[]{},*')}"
        session.trust_env = False
        for _ in range(ROUNDS):
            with cpu() as spent:
                for _ in range(POLLS):
                    one.poll()
            product.append(spent() / POLLS * 1000)
            with cpu() as spent:
                for _ in range(POLLS):
                    assert len(msgspec.json.decode(session.get(query, timeout=30).content)["jobs"]) == JOBS
            baseline.append(spent() / POLLS * 1000)
        polls = ROUNDS * POLLS
        ours, bare = statistics.median(product), statistics.median(baseline)
        yield Figure(f"{name}_cpu", ours, "ms of CPU per poll of 217 jobs", bare, bare / ours, more={"polls": polls})
        yield Figure(f"{name}_requests", (one.requests() - asked) / polls, "requests per poll", goal="1")
        yield Figure(f"{name}_rows_written", _written(one.runlink.store) - wrote, "rows in all polls", goal="0")


def _written(store: SqlStore) -> int:
    with store.unit_of_work() as uow:
        driver: Any = uow.connection.connection.dbapi_connection
        return int(driver.total_changes)
