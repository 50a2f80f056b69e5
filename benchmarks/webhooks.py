"""Durable webhook intake, in requests a second on the clock: against no store at all, and against a commit a request.

The three servers (`webhook_server`) take turns under the same load within each round: 32 connections that each send
the next delivery (1,019 bytes, signed as GitHub does) when the last one was answered. Here time is told on the clock,
not in CPU seconds, because waiting for the disk is what is compared; the median of the rounds' ratios is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import databases
from benchmarks.measure import Figure, progress
from benchmarks.webhook_server import SECRET
from runlink.store import SqlStore

CONNECTIONS = 32
BODY_BYTES = 1019
ROUNDS = 9
ROUND_S = 1.5
MODES = ("no-store", "product", "per-request")


class Load(NamedTuple):
    """What a round came to."""

    per_s: float
    p99_ms: float


def run() -> Iterator[Figure]:
    """Each database, in memory-backed files and on disk."""
    for where, folder in (("memory", Path("/dev/shm")), ("disk", Path(tempfile.gettempdir()))):
        for kind in (databases.sqlite, databases.postgresql):
            with _below(folder), kind(_nothing) as database:
                yield from _compare(f"{database.name}_{where}", where, database)


def _nothing(_store: SqlStore) -> None:
    return


@contextmanager
def _below(folder: Path) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _compare(name: str, where: str, database: databases.Sqlite | databases.Postgresql) -> Iterator[Figure]:
    urls = {mode: database.fresh() for mode in MODES}
    durability = database.durability(urls["product"])
    assert "synchronous=2" in durability or "fsync=on synchronous_commit=on" in durability, durability
    rounds: dict[str, list[Load]] = {mode: [] for mode in MODES}
    numbers = itertools.count()
    with ExitStack() as stack:
        ports = {mode: stack.enter_context(_server(mode, url)) for mode, url in urls.items()}
        for mode in MODES:
            asyncio.run(_load(ports[mode], numbers, 0.5))
        for number in range(ROUNDS):
            order = MODES if number % 2 == 0 else MODES[::-1]
            for mode in order:
                rounds[mode].append(asyncio.run(_load(ports[mode], numbers, ROUND_S)))
            progress(f"{name} {number + 1}: " + ", ".join(f"{m} {rounds[m][-1].per_s:.0f}/s" for m in MODES))
    for url in urls.values():
        database.drop(url)
    per_request_goal = {"sqlite": ">= 2.5", "postgresql": ">= 2"}[database.name]
    yield _figure(
        f"webhooks_{name}_of_no_store", rounds, "no-store", ">= 0.6" if where == "memory" else None, durability
    )
    goal = f"{per_request_goal}, p99 no worse" if where == "disk" else None
    yield _figure(f"webhooks_{name}_of_commit_per_request", rounds, "per-request", goal, durability)


def _figure(name: str, rounds: dict[str, list[Load]], baseline: str, goal: str | None, durability: str) -> Figure:
    ours, theirs = rounds["product"], rounds[baseline]
    ratios = [mine.per_s / other.per_s for mine, other in zip(ours, theirs, strict=True)]
    return Figure(
        name,
        statistics.median(load.per_s for load in ours),
        "deliveries/s",
        statistics.median(load.per_s for load in theirs),
        statistics.median(ratios),
        goal,
        {
            "rounds": [round(ratio, 3) for ratio in ratios],
            "p99_ms": statistics.median(load.p99_ms for load in ours),
            "baseline_p99_ms": statistics.median(load.p99_ms for load in theirs),
            "connections": CONNECTIONS,
            "durability": durability,
        },
    )


@contextmanager
def _server(mode: str, url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.webhook_server", mode, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def _load(port: int, numbers: Iterator[int], seconds: float) -> Load:
    took: list[float] = []
    began = time.perf_counter()
    until = began + seconds
    await asyncio.gather(*(_sender(port, numbers, until, took) for _ in range(CONNECTIONS)))
    elapsed = time.perf_counter() - began
    return Load(len(took) / elapsed, statistics.quantiles(took, n=100)[98] * 1000)


async def _sender(port: int, numbers: Iterator[int], until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        request = _request(next(numbers))
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202"), head
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        took.append(time.perf_counter() - began)
    writer.close()


def _request(number: int) -> bytes:
    start = f'{{"id": "{os.getpid()}-{number}", "status": "success", "filler": "'
    body = (start + "x" * (BODY_BYTES - len(start) - 2) + '"}').encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /hooks/bench HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
