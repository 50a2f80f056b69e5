"""A thousand tiny engines in one process, and the adapter that reads one: what the host itself costs per engine.

`/e/N` answers the state of engine N, which never changes; `/when-polled` answers when each was asked.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, ClassVar

from runlink.spi import Cursors, EngineInfo, Page, Polls

POLLED = "/when-polled"


class TinyAdapter(Polls):
    """One request a poll; nothing is new while the answer's mark is the cursor."""

    name: ClassVar[str] = "tiny"
    config_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._http = context.http()

    def check(self) -> EngineInfo:
        """No request: the poll follows at once."""
        return EngineInfo(product="Tiny", version="1")

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """The state's mark, compared."""
        mark = self._http.get("").raise_for_status().json()["mark"]
        if cursors.get("all") != mark:
            yield Page(cursors={"all": mark})


@contextmanager
def running() -> Iterator[str]:
    """The server; gives its address."""
    command = [sys.executable, "-m", "benchmarks.fake_engines"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


async def _serve() -> None:
    polled: dict[str, list[float]] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                path = request.split(b" ", 2)[1].decode().rstrip("/")
                if path == POLLED:
                    body = json.dumps(polled).encode()
                else:
                    polled.setdefault(path, []).append(time.monotonic())
                    body = b'{"mark":"1"}'
                date = format_datetime(datetime.now(UTC), usegmt=True)
                head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
