"""The server's side of `/api/events/out`: websockets without input and output, on a connection that was handed over."""

import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

Message = dict[str, Any]


class Stream:
    """One subscriber. `messages` gives what it says, None for a while without a word; it ends with the connection."""

    def __init__(self, connection: socket.socket, path: str, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._protocol = ServerProtocol(subprotocols=["prefect"])
        request = Request(path, Headers([(name.title(), value) for name, value in headers.items()]))
        self._protocol.receive_data(request.serialize())
        (asked,) = self._protocol.events_received()
        self._protocol.send_response(self._protocol.accept(asked))
        self._flush()

    def send(self, message: Message) -> None:
        self._protocol.send_text(json.dumps(message).encode())
        self._flush()

    def close(self, code: int, reason: str) -> None:
        self._protocol.send_close(code, reason)
        self._flush()
        for _ in self.messages(time.monotonic() + 1):
            if self._protocol.close_rcvd is not None:
                return

    def messages(self, until: float = float("inf")) -> Iterator[Message | None]:
        while time.monotonic() < until:
            if not select.select([self._connection], [], [], 0.02)[0]:
                yield None
                continue
            data = self._connection.recv(65536)
            if not data:
                return
            self._protocol.receive_data(data)
            self._flush()
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    yield json.loads(frame.data)
            if self._protocol.close_expected():
                return

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)


def serve(
    stream: Stream,
    *,
    token: str | None,
    select_events: Callable[[Message], list[Message]],
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """What Prefect 3.9.1 does: a greeting, a filter, what was, and then what comes. `until` is *now* unless it is said,
    and nothing comes after that."""
    told: set[str] = set()
    asked: Message | None = None
    greeted = False
    for message in stream.messages():
        if stopping():
            return
        if message is not None and not greeted:
            if message.get("type") != "auth" or (token is not None and message.get("token") != token):
                stream.close(1008, "Invalid token")
                return
            stream.send({"type": "auth_success"})
            greeted = True
        elif message is not None:
            asked = message["filter"]
        if asked is not None:
            for event in select_events(asked):
                if event["id"] not in told:
                    told.add(event["id"])
                    stream.send({"type": "event", "event": event})
