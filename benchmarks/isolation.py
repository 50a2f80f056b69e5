"""An adapter in a process of its own against the same adapter in this one: CPU of both processes together.

The same 20,000 observations in pages of 1,000: read alone, and taken into a store. Then what a request costs, and what
a process does: time to start, memory.
"""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import observations
from benchmarks.measure import Figure, compared, cpu_of_tree
from runlink.hosting.isolation import isolated
from runlink.spi import Adapter, EngineInfo, Observation, Page, Polls
from runlink.testing import Host

ROUNDS = 5
REQUESTS = 500
STARTS = 5


class Paged(Polls):
    """Tells what it made before it was asked, so that nothing is measured but the way."""

    name = "paged"
    config_schema: ClassVar = {"type": "object"}

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._told = observations.first()
        self._http = context.http()

    def check(self) -> EngineInfo:
        """Not measured."""
        return EngineInfo(product="Paged", version="1")

    def poll(self, cursors: Any) -> Iterator[Page]:
        """All of it; with the cursor `requests`, that many of them."""
        if "requests" in cursors:
            for _ in range(int(cursors["requests"])):
                self._http.get("/").raise_for_status()
            yield Page()
            return
        for page in observations.pages(self._told):
            yield Page(observations=page)


def run() -> Iterator[Figure]:
    """Five figures; a ratio below 1 says how much more the process costs."""
    apart, _ = _rounds(_read)  # here it is nothing: the observations are there
    each_us = statistics.median(apart) / observations.ROWS * 1e6
    yield Figure("isolation_pages_cpu", each_us, "µs of CPU of both processes per observation, on its way alone")
    apart, here = _rounds(_ingest)
    unit = "observations per CPU-second of both processes"
    yield compared("isolation_ingest_sqlite", apart, here, rows=observations.ROWS, unit=unit)
    with _server() as url:
        apart, here = _rounds(_ask, url)
    yield compared("isolation_requests", apart, here, rows=REQUESTS, unit="requests per CPU-second of both processes")
    yield from _process()


def _rounds(work: Callable[[Host], None], url: str = "http://127.0.0.1:1") -> tuple[list[float], list[float]]:
    """CPU seconds of the isolated adapter and of the other, taking turns."""
    spent: dict[type[Adapter], list[float]] = {isolated(Paged): [], Paged: []}
    for _ in range(ROUNDS):
        for adapter_class, seconds in spent.items():
            with Host(adapter_class, url, now=lambda: datetime.now(UTC)) as host:
                host.check()
                before = cpu_of_tree(os.getpid())
                work(host)
                seconds.append(cpu_of_tree(os.getpid()) - before)
    apart, here = spent.values()
    return apart, here


def _read(host: Host) -> None:
    told: list[Observation] = []
    for page in host.adapter.poll({}):
        told = list(page.observations)
    assert len(told) == observations.PAGE


def _ingest(host: Host) -> None:
    assert host.turn().new == observations.ROWS


def _ask(host: Host) -> None:
    host.hosted.guard.begin_turn(None)
    for _ in host.adapter.poll({"requests": str(REQUESTS)}):
        pass


def _process() -> Iterator[Figure]:
    took: list[float] = []
    for _ in range(STARTS):
        began = time.monotonic()
        with Host(isolated(Paged), "http://127.0.0.1:1", now=lambda: datetime.now(UTC)) as host:
            took.append(time.monotonic() - began)
            host.adapter.check()
            if len(took) == STARTS:
                for _ in host.adapter.poll({}):
                    pass
                status = Path(f"/proc/{host.hosted.process.pid}/status").read_text("ascii")  # type: ignore[union-attr]
    yield Figure(
        "isolation_start", statistics.median(took), "s on the clock until an adapter is made", goal="under 2 s"
    )
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    yield Figure("isolation_memory", int(peak[1]) / 1024, "MB of a child, peak, with 20,000 observations in it")


class _server:  # noqa: N801 - used as a function
    def __enter__(self) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_args: Any) -> None:
                pass

        self._served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._served.daemon_threads = True
        threading.Thread(target=self._served.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._served.server_address[1]}"

    def __exit__(self, *_error: object) -> None:
        self._served.shutdown()
        self._served.server_close()
