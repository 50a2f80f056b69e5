"""A small engine on loopback that replays recorded answers, or asks a handler. Plugin tests come here."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self


class Reply(NamedTuple):
    """One answer. A body that is no bytes is sent as a stream, a chunk for each of its parts.

    fault      what goes wrong on the wire: `cut` ends the connection after half of the body, `reset` before the first
               byte, `hang` sends nothing until the engine stops
    hand_over  called with the connection in place of an answer, for what is no HTTP any more (a websocket); the
               connection ends when it returns
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes | Iterable[bytes] = b""
    fault: Literal["cut", "reset", "hang"] | None = None
    hand_over: Callable[[socket.socket], None] | None = None


Handler = Callable[[str, str, Mapping[str, str], bytes], Reply | tuple[int, Mapping[str, str], bytes]]
"""(method, path with query, headers in lower case, body) -> Reply, or (status, headers, body)."""

_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "content-encoding"})
"""Recorded headers that described the recorded connection, not this one (bodies are recorded decoded)."""


@dataclass(frozen=True)
class ReceivedRequest:
    """One request the engine was sent; `path` has the query, `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class RecordedEngine:
    """A loopback HTTP server: a context manager with `url` and the `requests` it received so far.

    An exchange that is asked for more often than it was recorded repeats its last answer; one that was never recorded
    answers 404 with a sentence. A handler that raises answers 500.
    """

    handler: Handler
    requests: list[ReceivedRequest] = field(default_factory=list)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        engine = self

        class Incoming(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True  # head and body go out apart: else each keep-alive answer waits 40 ms

            def handle_one_request(self) -> None:
                engine._keep(self.connection)
                super().handle_one_request()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Nothing: a test's output is its own."""

            def _serve(self) -> None:
                _answer(engine, self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base's names

        self._connections: set[socket.socket] = set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Incoming)
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="recorded-engine", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Ends every connection, as a restart of the engine would."""
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _keep(self, connection: socket.socket) -> None:
        self._connections = {c for c in self._connections if c.fileno() >= 0} | {connection}


def _answer(engine: RecordedEngine, incoming: http.server.BaseHTTPRequestHandler) -> None:
    body = incoming.rfile.read(int(incoming.headers.get("content-length") or 0))
    headers = {k.lower(): v for k, v in incoming.headers.items()}
    engine.requests.append(ReceivedRequest(incoming.command, incoming.path, headers, body))
    try:
        reply = Reply(*engine.handler(incoming.command, incoming.path, headers, body))
    except Exception as error:  # noqa: BLE001 - the test's own handler; the test sees it as an answer
        reply = Reply(500, {}, f"the handler raised {error!r}".encode())
    try:
        _send(engine, incoming, reply)
    except OSError:  # the client has gone
        incoming.close_connection = True


def _send(engine: RecordedEngine, incoming: http.server.BaseHTTPRequestHandler, reply: Reply) -> None:
    if reply.fault == "hang":
        engine.stopping.wait(60)
    if reply.fault in ("hang", "reset"):
        incoming.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        incoming.connection.close()
        incoming.close_connection = True
        return
    if reply.hand_over is not None and reply.fault is None:
        incoming.close_connection = True
        reply.hand_over(incoming.connection)
        return
    names = {k.lower() for k in reply.headers}
    incoming.send_response_only(reply.status)
    if "date" not in names:
        incoming.send_header("Date", incoming.date_time_string())
    for name, value in reply.headers.items():
        if name.lower() not in _FRAMING:
            incoming.send_header(name, value)
    if isinstance(reply.body, bytes):
        incoming.send_header("Content-Length", str(len(reply.body)))
    else:
        incoming.send_header("Transfer-Encoding", "chunked")
    incoming.end_headers()
    if incoming.command != "HEAD":
        _send_body(incoming, reply)


def _send_body(incoming: http.server.BaseHTTPRequestHandler, reply: Reply) -> None:
    if isinstance(reply.body, bytes):
        size = len(reply.body) // 2 if reply.fault == "cut" else len(reply.body)
        incoming.wfile.write(reply.body[:size])
    else:
        for part in reply.body:
            incoming.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if reply.fault != "cut":
            incoming.wfile.write(b"0\r\n\r\n")
    if reply.fault == "cut":
        incoming.close_connection = True


def serve_exchanges(
    exchanges: Handler | Mapping[str, Any] | Iterable[Mapping[str, Any]],
) -> RecordedEngine:
    """An engine that answers with `exchanges`: recorded ones, or a handler of one's own.

    A recorded exchange is `{"request": {"method", "path"}, "response": {"status", "headers", and one of "json",
    "text", "body" (text, or any JSON), "body_base64"}}`; `path` includes the query and is compared exactly, `url` may
    stand for it. Give a list of them, or a mapping whose values are exchanges or lists of them. Several recordings of
    one request are answered in their order.
    """
    return RecordedEngine(exchanges if callable(exchanges) else _Replay(exchanges))


class _Replay:
    def __init__(self, exchanges: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        self._answers: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        for exchange in _flat(exchanges):
            request = exchange["request"]
            path = request.get("path") or _path_of(request["url"])
            self._answers.setdefault((request.get("method", "GET").upper(), path), []).append(exchange["response"])

    def __call__(
        self, method: str, path: str, _headers_sent: Mapping[str, str], _body_sent: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        with self._lock:
            answers = self._answers.get((method, path)) or self._answers.get(("GET" if method == "HEAD" else "", path))
            if not answers:
                return 404, {"Content-Type": "text/plain"}, f"no exchange was recorded for {method} {path}".encode()
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return int(answer.get("status", 200)), dict(headers_of(answer.get("headers"))), body_of(answer)


def _flat(exchanges: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(exchanges, Mapping):
        if "request" in exchanges and "response" in exchanges:
            yield exchanges
            return
        exchanges = exchanges.values()
    for item in exchanges:
        if isinstance(item, Mapping) and "request" in item:
            yield item
        else:
            yield from _flat(item)


def _path_of(url: str) -> str:
    return "/" + url.split("://", 1)[-1].partition("/")[2]


def headers_of(recorded: Any) -> list[tuple[str, str]]:
    """The recorded headers as pairs."""
    pairs = recorded.items() if isinstance(recorded, Mapping) else recorded or ()
    return [(str(k), str(v)) for k, v in pairs]


def body_of(answer: Mapping[str, Any]) -> bytes:
    """The body that a recorded answer stands for."""
    if "body_base64" in answer:
        return base64.b64decode(answer["body_base64"])
    if "json" in answer:
        return json.dumps(answer["json"]).encode()
    value = answer.get("text", answer.get("body", ""))
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()
