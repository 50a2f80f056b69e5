"""The servers that `webhooks` loads, each a process: `python -m benchmarks.webhook_server MODE URL`, port on stdout.

product      runlink's intake
no-store     the same server, the same authentication, and 202 without storing anything
per-request  the same, and a transaction of its own for each request
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette

from runlink.application.ports import DeliveryRow
from runlink.application.registry import register
from runlink.application.settings import EngineSettings, Secret, Settings, WebhookSettings
from runlink.bootstrap import collect_less_often
from runlink.hosting.authentication import Authenticator, Door
from runlink.http.hooks import Hooks
from runlink.store import SqlStore, open_store
from runlink.store.unit_of_work import SqlUnitOfWork

SECRET = "a secret of the benchmark"
WEBHOOK = WebhookSettings(secrets=(Secret(env="BENCH_SECRET"),), authentication="github")


class NoStore:
    """Takes everything and keeps nothing."""

    async def put(self, _row: DeliveryRow) -> bool:
        return True

    async def close(self) -> None:
        return


class PerRequest:
    """What a plain application does: each request inserts and commits, on a thread and a connection of a pool."""

    def __init__(self, store: SqlStore) -> None:
        connections = 1 if store.url.get_backend_name() == "sqlite" else 8
        self._threads = ThreadPoolExecutor(connections)
        self._pool: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(connections):
            self._pool.put(store.writing.connect())

    async def put(self, row: DeliveryRow) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._write, row)

    def _write(self, row: DeliveryRow) -> bool:
        connection = self._pool.get()
        try:
            with connection.begin():
                return bool(SqlUnitOfWork(connection, "bench").deliveries.add([row]))
        finally:
            self._pool.put(connection)

    async def close(self) -> None:
        return


def main() -> None:
    """Serves until it is killed."""
    mode, url = sys.argv[1:]
    os.environ["BENCH_SECRET"] = SECRET
    collect_less_often()
    store = open_store(url)
    engine = EngineSettings(name="bench", type="bench", webhook=WEBHOOK)
    settings = Settings(store_url=url, engines={"bench": engine})
    registered = store.write(lambda uow: register(uow, settings), actor="config")
    door = Door(registered.engines["bench"].id, Authenticator("github", WEBHOOK, "bench"), 1 << 20)
    hooks = Hooks(store, lambda: {"bench": door}, now=lambda: datetime.now(UTC))
    if mode != "product":
        hooks._writer = NoStore() if mode == "no-store" else PerRequest(store)  # type: ignore[assignment]  # noqa: SLF001
    # asyncio switches Nagle's delay off (40 ms a request) for sockets that say they are TCP; create_server's do not
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(Starlette(routes=hooks.routes()), log_config=None, access_log=False, lifespan="off")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
