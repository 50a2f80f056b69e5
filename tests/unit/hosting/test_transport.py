"""Both clients under the guard, against real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.hosting.servers import answering, dripping, raw_server, sending, silent

from runlink.application.settings import Secret
from runlink.hosting import Guard, transport
from runlink.spi import ConfigRejected, TransientError
from runlink.testing import serve_exchanges

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
SOON_S = 10  # with a busy machine in mind; what is not ended goes on for 30 s
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"


def hello(method, path, headers, body):
    return 200, {"Content-Type": "text/plain"}, b"hello"


def in_thread(call):
    """Runs `call` in a thread; returns the thread and the list its exception goes to."""
    raised = []

    def run():
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def test_a_request_is_answered_counted_and_names_runlink(make):
    with serve_exchanges(hello) as engine:
        hosted = make(engine.url + "/")
        assert hosted.adapter.get("/a?b=1") == (200, "hello")
        assert hosted.adapter.get("/a") == (200, "hello")
        assert hosted.guard.requests == 2
        assert [r.path for r in engine.requests] == ["/a?b=1", "/a"]


def test_the_clock_skew_comes_from_date_headers(make):
    def ahead(method, path, headers, body):
        return 200, {"Date": "Fri, 02 Jan 2026 00:01:00 GMT"}, b""

    with serve_exchanges(ahead) as engine:
        hosted = make(engine.url, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
        assert hosted.guard.skew_s is None
        hosted.adapter.get("/")
        assert hosted.guard.skew_s == pytest.approx(60.5, abs=1)


@pytest.mark.parametrize(
    "serve",
    [silent, answering(b"HTTP/1.1 200 OK\r\n"), answering(HEAD), answering(LAST),
     answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")],
    ids=["no answer", "half a head", "no body", "no body, last answer", "unframed body"],
)  # fmt: skip
def test_close_from_another_thread_ends_a_blocked_read_soon(make, serve):
    with raw_server(serve) as (address, arrived):
        hosted = make(f"http://{address}")
        thread, raised = in_thread(lambda: hosted.adapter.get("/"))
        assert arrived.wait(SOON_S)
        hosted.close()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert isinstance(raised[0], TransientError)
        assert str(raised[0]).startswith("closed")


def test_close_ends_a_tls_handshake_that_hangs(make):
    with raw_server(silent) as (address, arrived):
        hosted = make(f"https://{address}", verify_tls=False)
        thread, raised = in_thread(lambda: hosted.adapter.get("/"))
        assert arrived.wait(SOON_S)
        hosted.close()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert isinstance(raised[0], TransientError)


def test_close_ends_a_connect_that_hangs(make):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        hosted = make(f"http://127.0.0.1:{port}")
        thread, raised = in_thread(lambda: hosted.adapter.get("/"))
        while hosted.guard.requests == 0:
            thread.join(0.001)
        hosted.close()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert isinstance(raised[0], TransientError)
        for filler in fillers:
            filler.close()


def test_after_close_every_request_is_refused(make):
    with serve_exchanges(hello) as engine:
        hosted = make(engine.url)
        hosted.adapter.get("/")
        hosted.close()
        hosted.close()
        with pytest.raises(TransientError, match="closed"):
            hosted.adapter.get("/")
        assert len(engine.requests) == 1


@pytest.mark.parametrize(
    "serve",
    [silent, dripping(HEAD), dripping(b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n"), dripping(b"HTTP/1.1 200 OK\r\n\r\n")],
    ids=["silent", "body drips", "head drips", "endless body"],
)
def test_nothing_passes_the_deadline_of_the_turn(make, serve):
    with raw_server(serve) as (address, _):
        hosted = make(f"http://{address}")
        started = time.monotonic()
        hosted.guard.begin_turn(started + 0.3)
        with pytest.raises(TransientError, match="turn's time is up"):
            hosted.adapter.get("/")
        assert time.monotonic() - started < SOON_S


def test_a_request_waits_no_longer_than_its_timeout(make):
    with raw_server(silent) as (address, _):
        hosted = make(f"http://{address}", request_timeout_s=0.2)
        with pytest.raises(TransientError, match=r"no answer for 0\.2 s"):
            hosted.adapter.get("/")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
    ids=["hangs up", "no http", "cut short", "not gzip"],
)
def test_faults_are_transient_with_a_plain_sentence(make, answer):
    with raw_server(sending(answer)) as (address, _):
        hosted = make(f"http://{address}")
        with pytest.raises(TransientError, match=f"(GET http|reading from ).*{address}") as caught:
            hosted.adapter.get("/")
        assert "\n" not in str(caught.value)


def test_a_refused_connection_and_an_unknown_name_are_transient(make):
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        address = f"127.0.0.1:{closed_soon.getsockname()[1]}"
    with pytest.raises(TransientError, match="Connection refused"):
        make(f"http://{address}").adapter.get("/")
    with pytest.raises(TransientError, match="could not be looked up"):
        make(f"http://{'x' * 64}.test").adapter.get("/")


def test_an_address_without_a_known_scheme_is_refused_for_good():
    with pytest.raises(ConfigRejected, match=r"http:// or https://"):
        transport.GuardedClient(Guard(), "gopher://127.0.0.1", True).get("/")


def test_secrets_never_stand_in_errors(make, monkeypatch):
    monkeypatch.setenv("ENG_TOKEN", "hunter2/x")
    with raw_server(sending(b"")) as (address, _):
        hosted = make(f"http://{address}", options={"token": Secret(env="ENG_TOKEN")})
        with pytest.raises(TransientError) as caught:
            hosted.adapter.get("/job/hunter2/x")
        assert "hunter2" not in str(caught.value)


def test_a_server_with_an_unknown_certificate_is_refused_unless_told_otherwise(make):
    certificate = Path(__file__).with_name("loopback-only.pem")  # a certificate for 127.0.0.1 and its key, for tests
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection, over):
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with raw_server(serve) as (address, _):
        assert make(f"https://{address}", verify_tls=False).adapter.get("/") == (200, "ok")
        assert make(f"https://{address}", verify_tls=certificate).adapter.get("/") == (200, "ok")
        with pytest.raises(TransientError, match=r"(?i)certificate verify failed"):
            make(f"https://{address}").adapter.get("/")


def test_a_missing_certificate_file_is_a_wrong_configuration(make, tmp_path):
    with pytest.raises(ConfigRejected, match="verify_tls"):
        make("https://127.0.0.1:1", verify_tls=tmp_path / "none.pem").adapter.get("/")


def test_tls_settings_are_shared():
    assert transport.ssl_context(True) is transport.ssl_context(True)
    assert transport.ssl_context(True) is not transport.ssl_context(False)


def test_connections_are_used_again_and_forgotten_when_they_end(make):
    with serve_exchanges(hello) as engine:
        hosted = make(engine.url)
        for _ in range(3):
            hosted.adapter.get("/")
        assert len(hosted.guard._held) == 1
        hosted.close()
        assert not hosted.guard._held


def test_the_host_settles_what_is_its_own():
    with pytest.raises(TypeError, match="proxy, verify"):
        transport.GuardedClient(Guard(), "http://h", True, verify=False, proxy="http://p")
