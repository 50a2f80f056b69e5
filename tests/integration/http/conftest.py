"""A server on loopback over a store of its own, and clients with tokens of each role."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from runlink.application.access import ROLES, create_token
from runlink.application.rows import DeliveryRow
from runlink.application.settings import ServerSettings
from runlink.domain import Automation, Batch, Engine, OrchestrationInstance, Run, new_id
from runlink.http import HttpServer, Service, create_app

T0 = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


class Clock:
    """A time that stands until it is moved."""

    def __init__(self):
        self.now = T0

    def __call__(self):
        return self.now


class Served:
    """A running server. `get`, `post`, … are those of an admin; `client(role)` gives another."""

    def __init__(self, store, clock, **settings):
        self.store, self.clock = store, clock
        self.settings = ServerSettings(listen="127.0.0.1:0", **settings)
        self.server = HttpServer(self.settings)
        self.feeds, self.arrived = [], 0
        self.service = Service(
            store=store,
            settings=self.settings,
            now=clock,
            feeds=lambda: self.feeds,
            arrived=lambda: self.arrived,
        )
        self.hub = None
        self.server.start(create_app(self.service, on_hub=self._on_hub))
        self.url = self.server.url.rstrip("/")
        self._clients = []
        self.tokens = {role: self.token(role, scopes) for role, scopes in ROLES.items()}
        self.admin = self.client("admin")
        self.get, self.post, self.patch, self.delete = (
            self.admin.get,
            self.admin.post,
            self.admin.patch,
            self.admin.delete,
        )

    def _on_hub(self, hub):
        self.hub = hub
        self.server.on_hub(hub)

    def token(self, name, scopes, **more):
        return self.store.write(
            lambda uow: create_token(uow, name, scopes, now=self.clock(), **more)[1], actor="cli:test"
        )

    def client(self, role=None, **options):
        headers = {"Authorization": f"Bearer {self.tokens.get(role, role)}"} if role else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False, **options)
        self._clients.append(client)
        return client

    def close(self):
        self.server.stop()
        assert self.server.join(10)
        for client in self._clients:
            client.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serve(store, clock):
    running = []

    def serve(**settings):
        running.append(Served(store, clock, **settings))
        return running[-1]

    yield serve
    for served in running:
        served.close()


@pytest.fixture
def served(serve):
    return serve()


class Record:
    """Some of everything: an automation with a batch, a Run, an engine with two instances."""

    def __init__(self, store):
        self.automation = Automation(name="nightly")
        self.batch = Batch(automation_id=self.automation.id, name="first")
        self.run = Run(automation_id=self.automation.id, correlation_id="monday")
        self.engine = Engine(name="ci", type="acme", url="http://ci.example.org")
        self.instances = [
            OrchestrationInstance(engine_id=self.engine.id, external_id=f"build-{number}", workflow="nightly/build")
            for number in (1, 2)
        ]
        with store.unit_of_work("test") as uow:
            uow.automations.add(self.automation)
            uow.batches.add(self.batch)
            uow.runs.add(self.run)
            uow.engines.add(self.engine)
            for instance in self.instances:
                uow.orchestration_instances.add(instance)


@pytest.fixture
def record(store):
    return Record(store)


@pytest.fixture
def deliveries(store, record, t0):
    """Three of one engine: done, dead, and one that waits; in order of arrival."""
    rows = [
        DeliveryRow(
            id=new_id(), engine_id=record.engine.id, delivery_id=name, received_at=t0, path="/hooks/ci",
            headers=[("x-event", "build")], body=body, signed=True,
        )
        for name, body in (("a", b'{"n": 1}'), ("b", b"\xff{"), (None, b""))
    ]  # fmt: skip

    def work(uow):
        uow.deliveries.add(rows)
        uow.deliveries.done([rows[0].id], t0)
        uow.deliveries.failed(rows[1].id, "it is no JSON", t0, None)

    store.write(work, actor="test")
    return rows


def problem(answer, name):
    """The problem that an answer is, of this type."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["type"] == f"urn:runlink:problem:{name}", found
    assert found["status"] == answer.status_code
    assert found["detail"]
    return found


@pytest.fixture
def t0():
    return T0
