"""The plugin of a small engine, Acme, that speaks JSON over HTTP. Tests install it in a directory of its own."""

import signal
import socket
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlsplit

from runlink.spi import (
    Adapter,
    CredentialsRejected,
    EngineInfo,
    ExecutionStatus,
    Observation,
    Page,
    Polls,
    Refetches,
    Step,
    TransientError,
    Unreadable,
    hookimpl,
)


class Acme(Polls, Refetches):
    name = "acme"
    config_schema: ClassVar = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "site": {"type": "string", "description": "Which site."},
            "token": {"type": "string", "x-secret": True, "description": "The token."},
        },
    }

    def __init__(self, context):
        super().__init__(context)
        token = context.config.get("token", "none")
        self._http = context.http(headers={"Authorization": f"Bearer {token}"})

    def _get(self, path, **query):
        answer = self._http.get(path, params=query)
        if answer.status_code == 401:
            raise CredentialsRejected(f"{self.context.url} refused the token")
        if answer.status_code != 200:
            raise TransientError(f"{self.context.url}{path} answered {answer.status_code}")
        return answer.json()

    def check(self):
        if self.context.config.get("site") == "hangs beside the host":  # a read that the host cannot end
            parts = urlsplit(self.context.url)
            with socket.create_connection((parts.hostname, parts.port)) as read:
                read.sendall(b"GET /api/about HTTP/1.0\r\n\r\n")
                read.recv(1)
        if self.context.config.get("site") == "signals":  # a signal that does not wake the main thread
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return EngineInfo(**self._get("/api/about"))

    def poll(self, cursors) -> Iterator[Page]:
        found = self._get("/api/runs", since=cursors.get("all", ""), deep=str(self.context.backfill))
        yield Page(
            observations=tuple(_observation(run) for run in found["runs"] if "job" in run),
            unreadable=tuple(Unreadable(raw=run, reason="it has no job") for run in found["runs"] if "job" not in run),
            cursors={"all": str(found["at"])},
        )

    def refetch(self, external_ids):
        found = self._get("/api/runs", ids=",".join(external_ids))["runs"]
        known = {run["id"] for run in found}
        gone = tuple(one for one in external_ids if one not in known)
        yield Page(observations=tuple(_observation(run) for run in found), gone=gone)


def _time(text):
    return datetime.fromisoformat(text) if text else None


def _observation(run):
    return Observation(
        external_id=run["id"],
        workflow=run["job"],
        status=ExecutionStatus(run["status"]),
        native_status=run["status"].lower(),
        attempt=run.get("attempt", 1),
        started_at=_time(run.get("started")),
        finished_at=_time(run.get("finished")),
        url=run.get("url"),
        parent=run.get("parent"),
        parameters=run.get("parameters", {}),
        metadata=run.get("metadata"),
        message=run.get("message"),
        steps=tuple(
            Step(external_id=name, name=name, status=ExecutionStatus(status), native_status=status)
            for name, status in run.get("steps", {}).items()
        ),
    )


@hookimpl
def runlink_adapters() -> list[type[Adapter]]:
    return [Acme]
