"""Health, metrics, the access log, and requests that are too large, too slow or not HTTP."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.http.conftest import problem

from runlink.application.settings import ServerSettings
from runlink.hosting.meters import Budget
from runlink.http import HttpServer, ServerRefused, Service, create_app, guard, server
from runlink.http.metrics import NAMES
from runlink.http.problems import KINDS, problem_of
from runlink.http.push_metrics import Arrivals
from runlink.store.feed_health import FeedHealthRow

DOCS = Path(__file__).parents[3] / "docs"
RUNS = "/api/v1/runs"


def headings(page):
    return set(re.findall(r"^#+ `?([^`\n]+)`?$", (DOCS / page).read_text("utf-8"), re.MULTILINE))


def test_probes_need_no_token_no_name_and_tell_nothing(serve):
    served = serve(auth="required")
    for path in ("/health/live", "/health/ready", "/healthz", "/readyz"):
        answer = served.client().get(path, headers={"Host": "10.1.2.3:8765"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_the_store_it_lives_but_is_not_ready_and_recovers(new_url, kind, clock, serve, store, monkeypatch):
    if kind == "postgresql":
        served = serve()
        with store.writing.connect() as connection:
            me = connection.exec_driver_sql("SELECT current_database()").scalar_one()
            gone = f"ALTER DATABASE {me} ALLOW_CONNECTIONS false"
        admin = kill_and_run(store, me, gone)
        try:
            problem(served.client().get("/health/ready"), "store-unavailable")
            problem(served.get(RUNS), "store-unavailable")
            refused = served.post("/api/v1/automations", json={"name": "a"})
            assert problem(refused, "store-unavailable")
            assert refused.headers["retry-after"] == "5"
            assert served.client().get("/health/live").status_code == 200
        finally:
            admin(f"ALTER DATABASE {me} ALLOW_CONNECTIONS true")
    else:
        served = serve()
        path = Path(store.url.database)
        store.writing.dispose()
        store._reading.dispose()
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        try:
            problem(served.client().get("/health/ready"), "store-unavailable")
            problem(served.get(RUNS), "store-unavailable")
            assert served.client().get("/health/live").status_code == 200
        finally:
            path.rmdir()
            path.with_suffix(".away").rename(path)
    assert served.client().get("/health/ready").status_code == 200
    assert served.post("/api/v1/automations", json={"name": "a"}).status_code == 201


def kill_and_run(store, database, statement):
    """Runs statements beside the store's own connections, which it first ends."""
    import psycopg

    url = store.url.set(database="postgres").render_as_string(hide_password=False)

    def run(text):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(text)
            if text.endswith("false"):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
                )

    run(statement)
    return run


class Measured:
    """A server over feeds of which one is ill."""

    def __init__(self, store, clock, record):
        common = {"feed": "poll", "since": clock(), "last_news_at": None, "relists": 0, "last_error": None}
        rows = [
            FeedHealthRow(engine_id=record.engine.id, state="ok", last_success_at=clock(), failures=0,
                          last_duration_s=0.25, requests=12, skew_s=-1.5, **common),
            FeedHealthRow(engine_id=record.engine.id, state="faulty", last_success_at=None, failures=3,
                          last_duration_s=None, requests=0, skew_s=None, **{**common, "feed": "watch"}),
        ]  # fmt: skip
        settings = ServerSettings(listen="127.0.0.1:0")
        self.server = HttpServer(settings)
        service = Service(
            store=store,
            settings=settings,
            now=clock,
            feeds=lambda: rows,
            budgets=lambda: {record.engine.id: Budget(left=7, per_minute=60.0)},
            answers=lambda: {record.engine.id: {"200": 11, "none": 1}},
            arrivals=Arrivals().collect,
        )
        self.server.start(create_app(service, on_hub=self.server.on_hub))

    def families(self):
        answer = httpx.get(self.server.url + "metrics", trust_env=False)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return {family.name: family for family in text_string_to_metric_families(answer.text)}


def test_metrics_name_engines_and_never_runs(store, clock, record):
    measured = Measured(store, clock, record)
    try:
        families = measured.families()
        ready = httpx.get(measured.server.url + "health/ready", trust_env=False)
    finally:
        measured.server.stop()
        assert measured.server.join(10)
    assert ready.status_code == 200, "an engine that is ill does not make runlink unready"
    names = {name.removesuffix("_total") for name in NAMES}
    assert set(families) == names
    up = {sample.labels["feed"]: sample.value for sample in families["runlink_engine_up"].samples}
    assert up == {"poll": 1.0, "watch": 0.0}
    assert families["runlink_poll_duration_seconds"].samples[0].labels == {
        "engine": "ci",
        "type": "acme",
        "feed": "poll",
    }
    asked = {sample.labels["code"]: sample.value for sample in families["runlink_api_requests"].samples}
    assert asked == {"200": 11.0, "none": 1.0}
    [left] = families["runlink_rate_limit_remaining"].samples
    assert (left.labels, left.value) == ({"engine": "ci", "type": "acme"}, 7.0)
    assert families["runlink_plugin_errors"].samples[0].value == 3
    assert {sample.labels["state"]: sample.value for sample in families["runlink_runs"].samples} == {"PENDING": 1}
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    assert labels == {"engine", "type", "feed", "state", "le", "code"}


def test_each_metric_and_each_problem_has_a_heading():
    assert set(NAMES) <= headings("reference/metrics.md")
    assert set(KINDS) <= headings("reference/http-api.md")


def test_each_request_is_logged_without_query_or_secret(served, record, caplog):
    caplog.set_level(logging.DEBUG, "runlink.http.access")
    served.client("operator").post(f"{RUNS}/{record.run.id}/start")
    served.client("viewer").get(RUNS, params={"search": "needle"})
    served.close()  # a request is logged after its answer was sent
    facts = [one.facts for one in caplog.records if one.name == "runlink.http.access"]
    assert [(one["method"], one["status"], one["actor"]) for one in facts] == [
        ("POST", 200, "token:operator"),
        ("GET", 200, "token:viewer"),
    ]
    assert facts[0]["path"] == f"{RUNS}/{record.run.id}/start"
    for secret in (*served.tokens.values(), "needle"):
        assert secret not in caplog.text


def test_a_bug_is_told_without_a_word_of_it(caplog):
    found = problem_of(ZeroDivisionError("secret figures"))
    assert (found.status, found.name) == (500, "internal")
    assert "figures" not in found.detail
    assert "ZeroDivisionError" in caplog.text


def test_a_large_body_is_refused_before_it_is_read(serve):
    served = serve(max_body_bytes=2000)
    problem(served.post("/api/v1/automations", json={"name": "a", "description": "x" * 3000}), "too-large")

    def parts():
        for _ in range(100):
            yield b"x" * 1000

    answer = served.post("/api/v1/automations", content=parts(), headers={"Content-Type": "application/json"})
    problem(answer, "too-large")
    assert served.get("/api/v1/automations").json()["items"] == []


def ask(served, text):
    """What comes back for bytes that are sent as they are, until the server closes."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(text)
        told = b""
        while data := connection.recv(65536):
            told += data
    return told


def test_a_body_that_does_not_arrive_is_not_waited_for(served, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.1)
    head = (
        f"POST /api/v1/automations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.tokens['admin']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    )
    told = ask(served, head.encode())
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"urn:runlink:problem:timeout" in told


@pytest.mark.parametrize("text", [b"", b"GET /health/live HTTP/1.1\r\nHost: loc"])
def test_a_head_that_does_not_arrive_is_not_waited_for(served, monkeypatch, text):
    monkeypatch.setattr(server, "HEADERS_S", 0.1)
    told = ask(served, text)
    if not text:  # nobody asked anything
        assert told == b""
        return
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in told
    assert json.loads(told.partition(b"\r\n\r\n")[2])["type"] == "urn:runlink:problem:timeout"


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(served, text):
    assert ask(served, text).startswith(b"HTTP/1.1 400 ")
    assert served.client().get("/health/live").status_code == 200


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/api/v1/../../etc/passwd", "//api"])
def test_a_path_leads_nowhere_else(served, path):
    told = ask(served, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 404 ")


def test_an_address_that_is_taken_is_told(served):
    with pytest.raises(ServerRefused, match=r"cannot listen at 127\.0\.0\.1:\d+: Address already in use; set server"):
        HttpServer(ServerSettings(listen=served.url.removeprefix("http://")))


def test_it_answers_over_tls(serve, tmp_path):
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    served = serve(tls_certificate=certificate, tls_key=key)
    trusted = ssl.create_default_context(cafile=certificate)
    answer = httpx.get(served.url + "/health/live", verify=trusted, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"]


def test_a_certificate_that_cannot_be_used_is_told(tmp_path, store, clock):
    (tmp_path / "bad.pem").write_text("no certificate")
    settings = ServerSettings(listen="127.0.0.1:0", tls_certificate=tmp_path / "bad.pem", tls_key=tmp_path / "bad.pem")
    refused = HttpServer(settings)
    with pytest.raises(ServerRefused, match="cannot be used"):
        refused.start(create_app(Service(store=store, settings=settings, now=clock)))
    refused.join(1)


def test_the_pages_load_nothing_from_elsewhere(served):
    for path in ("/docs", "/login"):
        page = served.client().get(path).text
        assert re.findall(r'(?:src|href|action)="(?!/|#)([^"]+)"', page) == []
        assert "<script" not in page
    assert served.client().get("/static/plain.css").headers["content-type"].startswith("text/css")
