"""The hooks behind a real server on loopback, and an engine that may push."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest

from runlink.application.access import create_token
from runlink.application.registry import register
from runlink.application.settings import EngineSettings, Secret, ServerSettings, Settings, WebhookSettings
from runlink.hosting.authentication import Authenticator, Door
from runlink.http import HttpServer, Service, create_app
from runlink.http.hooks import Hooks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRETS = {"OLD": "an old secret", "NEW": "whsec_" + base64.b64encode(b"a new key of some bytes").decode()}
SCHEMES = ("github", "gitlab", "standard-webhooks", "bearer", "basic", "runlink-token")


class Site:
    """Engines named after their scheme, their doors, and a server that takes their deliveries."""

    def __init__(self, store, *, store_s=10.0, max_bytes=100_000):
        self.store = store
        self.now = NOW
        self.told = []
        settings = {
            name: EngineSettings(
                name=name,
                type="test",
                webhook=WebhookSettings(
                    secrets=() if name == "runlink-token" else (Secret(env="OLD"), Secret(env="NEW")),
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
        self.tokens = {name: self.make_token(name, "hooks") for name in ("OLD", "NEW")}
        self.doors = {
            name: Door(self.engines[name].id, Authenticator(name, s.webhook, f"engines.{name}.webhook"), max_bytes)
            for name, s in settings.items()
        }
        self._hooks = Hooks(store, lambda: self.doors, now=lambda: self.now, stored=self.told.append, store_s=store_s)
        server = ServerSettings(listen="127.0.0.1:0")
        self.server = HttpServer(server)
        service = Service(store=store, settings=server, now=lambda: self.now, arrivals=self._hooks.arrivals.collect)
        more = lambda endpoints, _threads: self._hooks.routes(endpoints)  # noqa: E731
        self.server.start(create_app(service, more=more, on_hub=self.server.on_hub))
        self.url = self.server.url.rstrip("/")
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def make_token(self, name, *scopes):
        """A token's text."""
        return self.store.write(lambda uow: create_token(uow, name, scopes, now=self.now), actor="cli")[1]

    def stop(self):
        self.client.close()
        self.server.stop()
        assert self.server.join(10)

    def post(self, scheme, body=b"{}", *, path="", secret="OLD", **headers):
        sent = {**self.proof(scheme, body, secret), **headers}
        return self.client.post(f"/hooks/{scheme}{path}", content=body, headers=sent)

    def proof(self, scheme, body, secret="OLD", *, message_id="msg-1", at=None):
        value = SECRETS.get(secret, secret)
        if scheme == "github":
            return {"X-Hub-Signature-256": "sha256=" + hmac.new(value.encode(), body, hashlib.sha256).hexdigest()}
        if scheme == "gitlab":
            return {"X-Gitlab-Token": value}
        if scheme == "runlink-token":
            return {"Authorization": f"Bearer {self.tokens.get(secret, secret)}"}
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
