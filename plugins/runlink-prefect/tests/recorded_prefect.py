"""The recorded Prefect behind a loopback server: at any moment of its story, with faults."""

import email.utils
import functools
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import recorded_story
from prefect_stream import Stream, serve
from prefect_tables import Row, Tables, json_of, moment

from runlink.testing import Reply, serve_exchanges

Fault = Callable[[str, str, Any], Reply | None]


class RecordedPrefect:
    """A context manager with `url`. `tables` may be changed; `at` sets them to another moment.

    fault    (method, path, body) -> an answer in place of the true one
    token    what the websocket asks for
    asked    (path, body) of each request so far; `paths` takes them
    streams  what each subscriber of the stream asked for
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self.fault: Fault = lambda _method, _path, _body: None
        self.token: str | None = None
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.streams: list[Row] = []
        self.lock = threading.Lock()
        self._server = serve_exchanges(self._handle)

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.at(recorded_story.BEGIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def drop_connections(self) -> None:
        """Ends every connection, as a restart would."""
        self._server.drop_connections()

    def now(self) -> datetime:
        return moment(self.tables.now)

    def at(self, when: str) -> None:
        """Its tables at this moment."""
        with self.lock:
            self.tables = recorded_story.tables_at(when, self.url)

    def wait(self, seconds: float) -> None:
        """Its clock moves on, and nothing else does."""
        self.tables.now = (self.now() + timedelta(seconds=seconds)).isoformat()

    def run(self, name: str) -> Row:
        """The flow run with this run id."""
        return next(row for row in self.tables.rows["flow_runs"] if row["parameters"].get("run_id") == name)

    def paths(self) -> list[str]:
        """What was asked for since the last call, without `/api/`."""
        taken, self.asked = self.asked, []
        return [path.removeprefix("/api/") for path, _ in taken]

    def _handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts, content = urlsplit(path), json_of(body)
        with self.lock:
            self.asked.append((parts.path, content))
            self.headers.append(headers)
            reply = self.fault(method, parts.path, content)
            if reply is None and parts.path == "/api/events/out":
                return Reply(hand_over=functools.partial(self._stream, parts.path, headers))
            if reply is None:
                reply = self._answer(method, parts.path, dict(parse_qsl(parts.query)), content)
        date = email.utils.format_datetime(self.now().astimezone(), usegmt=False)
        return reply._replace(headers={"Date": date, "Content-Type": "application/json", **reply.headers})

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Reply:
        status, answer = self.tables.answer(method, [part for part in path.split("/") if part][1:], query, body)
        return Reply(status, {}, json.dumps(answer).encode())

    def _stream(self, path: str, headers: Mapping[str, str], connection: Any) -> None:
        def events(asked: Row) -> list[Row]:
            with self.lock:
                if asked not in self.streams:
                    self.streams.append(asked)
                now = {"occurred": {"since": recorded_story.BEGIN, "until": self.tables.now}}
                return self.tables.select_events(now | asked)

        stream = Stream(connection, path, headers)
        serve(stream, token=self.token, select_events=events, stopping=self._server.stopping.is_set)
