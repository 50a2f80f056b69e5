"""An adapter for each client, so that every promise of the guard is tested for both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

import pytest
import requests

from runlink.application.settings import EngineSettings
from runlink.hosting import HostedAdapter, build_adapter
from runlink.spi import Adapter, EngineInfo


class HttpxAdapter(Adapter):
    name = "httpx"
    config_schema: ClassVar = {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}}

    def __init__(self, context):
        super().__init__(context)
        self.client = context.http(auth=("u", context.config.get("token", "t")))

    def get(self, path):
        answer = self.client.get(path)
        return answer.status_code, answer.text

    def check(self):
        self.get("/")
        return EngineInfo(product="p", version="1")


class RequestsAdapter(HttpxAdapter):
    name = "requests"

    def __init__(self, context):
        Adapter.__init__(self, context)
        self.session = requests.Session()
        self.session.mount("http://", context.requests_adapter())
        self.session.mount("https://", context.requests_adapter())

    def get(self, path):
        answer = self.session.get(self.context.url + path)
        return answer.status_code, answer.text

    def close(self):
        self.session.close()


Make = Callable[..., HostedAdapter]


@pytest.fixture(params=[HttpxAdapter, RequestsAdapter], ids=["httpx", "requests"])
def make(request):
    """Makes a hosted adapter for a URL; closes all at the end."""
    made = []

    def build(url, *, options=None, now=lambda: datetime.now(UTC), **fields):
        settings = EngineSettings(
            name="eng", type="x", url=url, options=options or {}, **{"max_requests_per_minute": 60_000, **fields}
        )
        hosted = build_adapter(request.param, settings, now=now, since=datetime(2026, 1, 1, tzinfo=UTC))
        made.append(hosted)
        return hosted

    yield build
    for hosted in made:
        hosted.close()
