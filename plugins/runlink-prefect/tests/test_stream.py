"""The websocket itself, against a server that does what servers and networks do."""

import contextlib
import functools
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect_stream import Stream
from websockets.frames import Opcode

import runlink.testing
from runlink.spi import CredentialsRejected, TransientError
from runlink.testing import Reply, serve_exchanges
from runlink_prefect import PrefectAdapter
from runlink_prefect.stream import connected

CERTIFICATE = Path(__file__).resolve().parents[3] / "tests/unit/hosting/loopback-only.pem"
"""Of 127.0.0.1, with its key, for tests: the one that the host's own are made with."""


@contextlib.contextmanager
def opened(play, url=None, *, ping_after_s=15.0, **settings):
    """A socket to a server that plays once it is greeted, on a connection of the host's."""

    def handle(_method, path, headers, _body):
        return Reply(hand_over=lambda connection: play(greeted(Stream(connection, path, headers))))

    with contextlib.ExitStack() as stack:
        address = url or stack.enter_context(serve_exchanges(handle)).url
        adapter = runlink.testing.build(PrefectAdapter, address, **settings)
        stack.callback(runlink.testing.close, adapter)
        client = adapter.context.http()
        now = functools.partial(datetime.now, UTC)
        path = "api/events/out"
        websocket = stack.enter_context(connected(client, path, "prefect", now, ping_after_s=ping_after_s))
        websocket.send('"hello"')
        yield websocket


def greeted(stream):
    assert next(message for message in stream.messages() if message is not None) == "hello"
    return stream


def heard(websocket):
    """All messages, until the server ends the stream."""
    found = []
    while (messages := websocket.wait(5.0)) is not None:
        assert messages
        found += messages
    return found


def test_a_message_in_fragments():
    def play(stream):
        stream._protocol.send_text(b'{"a": ', fin=False)
        stream._flush()
        stream._protocol.send_continuation(b"1}", fin=True)
        stream.send({"b": 2})
        stream.close(1000, "")

    with opened(play) as websocket:
        assert heard(websocket) == [b'{"a": 1}', b'{"b": 2}']


def test_a_large_message_and_many_small_ones():
    def play(stream):
        stream.send({"a": "x" * 300_000})
        for n in range(300):
            stream.send({"n": n})
        stream.close(1001, "going away")

    with opened(play) as websocket:
        messages = heard(websocket)
    assert len(messages) == 301
    assert len(messages[0]) > 300_000


@pytest.mark.parametrize("code", [1000, 1001, 1012])
def test_a_normal_end(code):
    with opened(lambda stream: stream.close(code, "bye")) as websocket:
        assert websocket.wait(5.0) is None


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [(1008, CredentialsRejected, "Invalid token"), (1011, TransientError, "1011"), (1002, TransientError, "1002")],
)
def test_an_end_with_a_reason(code, error, words):
    with opened(lambda stream: stream.close(code, "Invalid token")) as websocket, pytest.raises(error, match=words):
        websocket.wait(5.0)


def test_an_end_without_a_word():
    with opened(lambda stream: None) as websocket, pytest.raises(TransientError, match="without a word"):
        websocket.wait(5.0)


def test_what_is_no_websocket_frame():
    def play(stream):
        stream._connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\n\r\n" * 10)
        for _ in stream.messages():
            pass

    with opened(play) as websocket, pytest.raises(TransientError, match="broke off"):
        heard(websocket)


def test_a_silent_server_is_pinged_and_its_answer_is_enough():
    pings = []

    def play(stream):
        pings.extend(frame for frame in frames(stream) if frame.opcode is Opcode.PING)

    with opened(play, ping_after_s=0.5) as websocket:
        while len(pings) < 2:  # the second one is not sent before the first was answered
            assert websocket.wait(0.05) == []


def test_a_server_that_answers_no_ping_is_lost():
    gone = threading.Event()
    with (
        opened(lambda stream: gone.wait(10), ping_after_s=0.02) as websocket,
        pytest.raises(TransientError, match="not even an answer to a ping"),
    ):
        websocket.wait(5.0)
    gone.set()


def test_whoever_comes_late_still_hears_what_was_said():
    """The host may take its time with a page: what came meanwhile counts, and no ping was missed."""
    said = threading.Event()

    def play(stream):
        stream.send({"a": 1})
        said.set()
        for _ in stream.messages():
            pass

    with opened(play, ping_after_s=0.0001) as websocket:
        assert said.wait(5)
        assert websocket.wait(5.0) == [b'{"a": 1}']


def frames(stream):
    """What the subscriber sends, the control frames too; they are answered."""
    while data := stream._connection.recv(65536):
        stream._protocol.receive_data(data)
        stream._flush()
        yield from stream._protocol.events_received()


def test_over_tls():
    """One record may hold several frames: what TLS has decoded already makes no socket readable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def serve(listener):
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            head = secured.recv(65536).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            stream = greeted(Stream(secured, "/api/events/out", headers))
            for n in range(200):
                stream._protocol.send_text(b"%d" % n)
            secured.sendall(b"".join(stream._protocol.data_to_send()))
            stream.close(1000, "")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with opened(None, url, verify_tls=CERTIFICATE) as websocket:
            assert heard(websocket) == [b"%d" % n for n in range(200)]
        thread.join()
