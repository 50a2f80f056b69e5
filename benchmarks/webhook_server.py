"""The servers that `webhooks` loads, each a process: `python -m benchmarks.webhook_server MODE URL`, port on stdout.

product      the server of `runlink serve` with its intake, all that stands before it included
no-store     the same server, the same authentication, and 202 without storing anything
per-request  the same, and a transaction of its own for each request
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from runlink.application.registry import register
from runlink.application.rows import DeliveryRow
from runlink.application.settings import EngineSettings, Secret, ServerSettings, Settings, WebhookSettings
from runlink.bootstrap import collect_less_often
from runlink.hosting.authentication import Authenticator, Door
from runlink.http import HttpServer, Service, create_app
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
    server = HttpServer(ServerSettings(listen="127.0.0.1:0"))
    service = Service(store=store, settings=settings.server, now=lambda: datetime.now(UTC))
    server.start(create_app(service, more=lambda endpoints, _threads: hooks.routes(endpoints), on_hub=server.on_hub))
    print(urlsplit(server.url).port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
