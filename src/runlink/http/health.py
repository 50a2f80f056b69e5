"""`/health/live` and `/health/ready`, for probes: without a token, and without telling anything.

Live: the process answers. Ready: the store answers, too. An engine that is down makes neither fail: runlink is there to
say so, and a restart would mend nothing.
"""

from __future__ import annotations

from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runlink.http.endpoints import Threads
from runlink.http.problems import problem_of, store_unavailable
from runlink.http.service import Service

READY_S: Final = 3.0
"""How long the store may take to answer."""


class Health:
    """The endpoints."""

    def __init__(self, service: Service, threads: Threads) -> None:
        self._service = service
        self._threads = threads

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """The store answers."""
        try:
            with anyio.fail_after(READY_S):
                await self._threads.read(self._look)
        except TimeoutError:
            return store_unavailable().response()
        except Exception as error:  # noqa: BLE001 - told as a problem
            return problem_of(error).response()
        return JSONResponse({"status": "ok"})

    def _look(self) -> None:
        with self._service.store.reading() as uow:
            uow.event_log.bounds()
