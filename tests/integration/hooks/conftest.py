"""The hooks behind a real server on loopback, and an engine that may push."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from runlink.application.registry import register
from runlink.application.settings import EngineSettings, Secret, Settings, WebhookSettings
from runlink.hosting.authentication import Authenticator, Door
from runlink.http.hooks import Hooks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRETS = {"OLD": "an old secret", "NEW": "whsec_" + base64.b64encode(b"a new key of some bytes").decode()}
SCHEMES = ("github", "gitlab", "standard-webhooks", "bearer", "basic")


class Site:
    """Engines named after their scheme, their doors, and a server that takes their deliveries."""

    def __init__(self, store, *, body_s=5.0, store_s=10.0, max_bytes=100_000):
        self.store = store
        self.now = NOW
        self.told = []
        settings = {
            name: EngineSettings(
                name=name,
                type="test",
                webhook=WebhookSettings(
                    secrets=(Secret(env="OLD"), Secret(env="NEW")),
                    authentication=name,
                    user="jenkins" if name == "basic" else None,
                    max_bytes=max_bytes,
                ),
            )
            for name in SCHEMES
        }
        self.engines = store.write(
            lambda uow: register(uow, Settings(store_url="", engines=settings)), actor="config"
        ).engines
        self.doors = {
            name: Door(self.engines[name].id, Authenticator(name, s.webhook, f"engines.{name}.webhook"), max_bytes)
            for name, s in settings.items()
        }
        self._hooks = Hooks(
            store, lambda: self.doors, now=lambda: self.now, stored=self.told.append, body_s=body_s, store_s=store_s
        )
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(Starlette(routes=self._hooks.routes()), log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def _run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        await self._server.serve(sockets=[self.socket])
        await self._hooks.close()

    def stop(self):
        self.client.close()
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.socket.close()

    def post(self, scheme, body=b"{}", *, path="", secret="OLD", **headers):
        sent = {**self.proof(scheme, body, secret), **headers}
        return self.client.post(f"/hooks/{scheme}{path}", content=body, headers=sent)

    def proof(self, scheme, body, secret="OLD", *, message_id="msg-1", at=None):
        value = SECRETS.get(secret, secret)
        if scheme == "github":
            return {"X-Hub-Signature-256": "sha256=" + hmac.new(value.encode(), body, hashlib.sha256).hexdigest()}
        if scheme == "gitlab":
            return {"X-Gitlab-Token": value}
        if scheme == "bearer":
            return {"Authorization": f"Bearer {value}"}
        if scheme == "basic":
            return {"Authorization": "Basic " + base64.b64encode(f"jenkins:{value}".encode()).decode()}
        from runlink.hosting.authentication import standard_key

        moment = int((at or self.now).timestamp())
        signed = f"{message_id}.{moment}.".encode() + body
        digest = hmac.new(standard_key(value), signed, hashlib.sha256).digest()
        signature = f"v1,{base64.b64encode(digest).decode()}"
        return {"webhook-id": message_id, "webhook-timestamp": str(moment), "webhook-signature": signature}

    def rows(self):
        with self.store.reading() as uow:
            return uow.deliveries.list(limit=10_000)[::-1]

    def content(self, row):
        with self.store.reading() as uow:
            return SimpleNamespace(**dict(zip(("headers", "body"), uow.deliveries.content(row["id"]), strict=True)))


@pytest.fixture
def make_site(store, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    sites = []

    def make(**options):
        sites.append(Site(store, **options))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def site(make_site):
    return make_site()
