"""Loopback servers that misbehave below HTTP: tests of the guard come here."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[tuple[str, threading.Event]]:
    """Runs `serve(connection, over)` for each connection; yields the address and an event set once one has arrived."""
    arrived, over = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            arrived.set()
            serve(connection, over)

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", arrived
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Accepts and never answers."""
    over.wait(30)


def answering(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Reads a request, sends `head`, and then nothing."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        over.wait(30)

    return serve


def dripping(
    head: bytes, drop: bytes = b"x", every_s: float = 0.02
) -> Callable[[socket.socket, threading.Event], None]:
    """Reads a request, sends `head`, then a drop again and again, never enough and never late."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while not over.wait(every_s):
            connection.sendall(drop)

    return serve


def sending(answer: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Reads a request, sends the answer, and hangs up."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return serve
