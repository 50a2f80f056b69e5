"""Traces: which spans there are, what they say and what not, and that they reach a collector."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.engines.puppets import S, World, puppet, seen, until

from runlink import bootstrap
from runlink.application.settings import Secret, ServerSettings, Settings, Subscription, Tracing
from runlink.application.tracing import span, traced_by
from runlink.config import ConfigError
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.relay import Relay
from runlink.domain import Automation, new_id
from runlink.http import HttpServer, Service, create_app
from runlink.spi import Page, TransientError
from runlink.telemetry import OpenTelemetry, exporting


@pytest.fixture
def spans():
    """spans("poll"): the finished spans of this name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with traced_by(OpenTelemetry(provider)):
        yield lambda *names: [one for one in exporter.get_finished_spans() if not names or one.name in names]
    provider.shutdown()


@pytest.fixture
def world(store):
    world = World(store)
    yield world
    world.stop()


@pytest.fixture
def collector():
    """A collector on loopback: its address, and what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    collector = HTTPServer(("127.0.0.1", 0), Handler)
    collector.requests = []
    thread = threading.Thread(target=collector.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.shutdown()
    collector.server_close()
    thread.join(10)


@pytest.fixture
def engine():
    """An engine on loopback that answers everything with 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_poll_holds_its_requests_and_its_transactions(world, spans, engine):
    def poll(adapter, _cursors):
        with adapter.context.http() as client:
            client.get("/builds?token=secret")
        yield Page(observations=(seen("1"), seen("2", S.COMPLETED)))

    world.engine("ci", puppet(poll), url=engine).run()
    [poll] = spans("poll")
    assert dict(poll.attributes) == {"runlink.engine": "ci", "runlink.engine_type": "puppet"}
    [request], [ingest] = spans("GET"), spans("ingest")
    assert dict(request.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
    }
    assert request.kind is SpanKind.CLIENT
    assert dict(ingest.attributes) == {
        "runlink.engine": "ci", "runlink.feed": "poll", "runlink.observations": 2, "runlink.new": 2,
        "runlink.changed": 0,
    }  # fmt: skip
    assert {one.parent.span_id for one in (request, ingest)} == {poll.context.span_id}


def test_a_poll_that_fails_is_told_by_the_class_of_its_error_alone(world, spans):
    def poll(_self, _cursors):
        raise TransientError("no answer from https://user:secret@ci.example.org")

    world.engine("ci", puppet(poll)).run()
    [poll] = spans("poll")
    assert poll.status.status_code is StatusCode.ERROR
    assert poll.attributes["error.type"] == "TransientError"
    assert "secret" not in poll.to_json()
    assert poll.events == ()


def test_events_on_their_way_out(world, spans, monkeypatch):
    monkeypatch.setenv("KEY", "key")
    got, carried = [], []

    def receive(request):
        carried.append(request.headers.get("traceparent"))
        return httpx.Response(204)

    subscription = Subscription(
        name="bot", url="http://bot.example.org/hook", secrets=(Secret(env="KEY"),), events=("*",)
    )
    dispatch = Dispatch(world.store, [subscription], world.clock, transport=httpx.MockTransport(receive))
    relay = Relay(world.store, [("chat", got.append)], world.clock)
    dispatch.enrol()
    relay.enrol()
    pages = iter([Page(observations=(seen("1", status),)) for status in (S.PENDING, S.PROCESSING)])
    feed = world.engine("ci", puppet(lambda _self, _cursors: iter([next(pages)])))
    for _ in range(2):
        feed.run()
    relay.run()
    dispatch.run()
    dispatch.stop()
    to_plugins = [one for one in spans("deliver") if "runlink.subscriber" in one.attributes]
    assert [dict(one.attributes) for one in to_plugins] == [
        {"runlink.subscriber": "chat", "runlink.event": event["type"]} for event in got
    ]
    sent = [one for one in spans("deliver") if "runlink.subscription" in one.attributes]
    assert [one.attributes["http.response.status_code"] for one in sent] == [204] * len(carried) == [204] * len(got)
    assert [one.split("-")[1:3] for one in carried] == [
        [f"{one.context.trace_id:032x}", f"{one.context.span_id:016x}"] for one in sent
    ]
    assert got


def test_an_operation_goes_on_with_the_trace_of_its_client(store, world, spans):
    automation = Automation(name="nightly")
    with store.unit_of_work() as uow:
        uow.automations.add(automation)
    settings = ServerSettings(listen="127.0.0.1:0")
    server = HttpServer(settings)
    server.start(create_app(Service(store=store, settings=settings, now=world.clock), on_hub=server.on_hub))
    try:
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            client.get("/api/v1/automations", headers={"traceparent": f"00-{trace}-{parent}-01"})
            client.get(f"/api/v1/automations/{new_id()}", params={"password": "secret"})
    finally:
        server.stop()
        assert server.join(10)
    [listed] = spans("automations.list")
    assert dict(listed.attributes) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/automations",
        "http.response.status_code": 200,
    }
    assert listed.kind is SpanKind.SERVER
    assert (f"{listed.context.trace_id:032x}", f"{listed.parent.span_id:016x}") == (trace, parent)
    [other] = [one for one in spans() if one.name.startswith("automations.") and one is not listed]
    assert other.attributes["http.route"] == "/api/v1/automations/{id}"
    assert other.attributes["http.response.status_code"] in (400, 404)
    assert "secret" not in other.to_json()


def test_spans_reach_the_collector_before_the_process_ends(collector):
    settings = Settings(
        store_url="", tracing=Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}/", service="runlink-test")
    )
    with bootstrap.tracing_of(settings), span("poll", {"runlink.engine": "ci"}):
        pass
    until(lambda: collector.requests)
    [(path, sent)] = collector.requests
    assert path == "/v1/traces"
    [of_process] = sent.resource_spans
    named = {one.key: one.value.string_value for one in of_process.resource.attributes}
    assert (named["service.name"], bool(named["service.version"])) == ("runlink-test", True)
    assert [one.name for scope in of_process.scope_spans for one in scope.spans] == ["poll"]


def test_a_part_of_the_traces(collector):
    settings = Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}", sample_ratio=0.0)
    with exporting(settings) as tracer, traced_by(tracer), span("poll") as told:
        told.set("x", 1)
    assert collector.requests == []


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "runlink.telemetry")
    settings = Settings(store_url="", tracing=Tracing(endpoint="http://127.0.0.1:4318"))
    with pytest.raises(ConfigError, match=r"runlink\[otel\]"), bootstrap.tracing_of(settings):
        pass


def test_nothing_of_it_is_loaded_without_tracing():
    program = (
        "import json, sys, runlink.cli.serve, runlink.cli.sync, runlink.http, runlink.daemon\n"
        "from runlink import bootstrap\nfrom runlink.application import tracing\n"
        "from runlink.application.settings import Settings\n"
        "with bootstrap.tracing_of(Settings(store_url='')), tracing.span('poll') as span: span.set('x', 1)\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('opentelemetry')]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
