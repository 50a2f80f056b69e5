"""What plugin authors test with."""

from __future__ import annotations

import base64
from typing import ClassVar

import httpx
import pytest
import requests
import responses
import respx

from runlink import testing
from runlink.spi import Adapter, EngineInfo, TransientError


class Acme(Adapter):
    name = "acme"
    config_schema: ClassVar = {"type": "object"}

    def check(self):
        answer = self.context.http().get("/version")
        return EngineInfo(product="acme", version=answer.text)


def exchange(path, method="GET", **response):
    return {"request": {"method": method, "path": path}, "response": response}


def test_an_adapter_is_built_called_counted_and_closed():
    with testing.serve_exchanges([exchange("/version", text="4.2")]) as engine:
        adapter = testing.build(Acme, engine.url, include=("a/*",), exclude=("a/b",))
        assert adapter.check().version == "4.2"
        assert adapter.context.wants("a/c")
        assert not adapter.context.wants("a/b")
        assert (adapter.context.now() - adapter.context.since).days == 7
        assert testing.requests_made(adapter) == 1
        testing.close(adapter)
        with pytest.raises(TransientError):
            adapter.check()


def test_recorded_answers_are_replayed_as_they_were():
    recorded = {
        "json": exchange("/j?a=1", status=201, json={"a": 1}, headers=[["X-Y", "z"], ["Content-Encoding", "gzip"]]),
        "more": [exchange("/t", text="té"), exchange("/b", body_base64=base64.b64encode(b"\0\1").decode())],
        "posted": exchange("/j?a=1", "POST", status=204, body="", headers={"Date": "Fri, 02 Jan 2026 12:00:00 GMT"}),
    }
    with testing.serve_exchanges(recorded) as engine, httpx.Client(base_url=engine.url, trust_env=False) as client:
        answer = client.get("/j?a=1")
        assert (answer.status_code, answer.json(), answer.headers["x-y"]) == (201, {"a": 1}, "z")
        assert client.get("/t").content == "té".encode()
        assert client.get("/b").content == b"\0\1"
        answer = client.post("/j?a=1", content=b"sent")
        assert (answer.status_code, answer.headers.get_list("date")) == (204, ["Fri, 02 Jan 2026 12:00:00 GMT"])
        assert (engine.requests[-1].method, engine.requests[-1].body) == ("POST", b"sent")
        missing = client.get("/j")
        assert (missing.status_code, missing.text) == (404, "no exchange was recorded for GET /j")


def test_answers_of_one_request_come_in_their_order_and_the_last_stays():
    story = [exchange("/s", text=word) for word in ("one", "two")]
    with testing.serve_exchanges(story) as engine, httpx.Client(base_url=engine.url, trust_env=False) as client:
        assert [client.get("/s").text for _ in range(3)] == ["one", "two", "two"]


def test_a_handler_that_raises_is_an_answer():
    def handler(method, path, headers, body):
        raise KeyError(path)

    with testing.serve_exchanges(handler) as engine:
        answer = httpx.get(engine.url + "/x", trust_env=False)
        assert (answer.status_code, answer.text) == (500, "the handler raised KeyError('/x')")


def test_the_usual_mocks_of_both_clients_still_work():
    with respx.mock(base_url="http://acme.test") as router:
        router.get("/version").respond(text="5")
        router.get("/down").mock(side_effect=httpx.ConnectError("no route"))
        adapter = testing.build(Acme, "http://acme.test")
        assert adapter.check().version == "5"
        with pytest.raises(TransientError, match=r"GET http://acme.test/down failed: no route"):
            adapter.context.http().get("/down")
    session = requests.Session()
    session.mount("http://", adapter.context.requests_adapter())
    with responses.RequestsMock() as mock:
        mock.get("http://acme.test/version", body="6")
        mock.get("http://acme.test/down", body=requests.ConnectionError("no route"))
        assert session.get("http://acme.test/version").text == "6"
        with pytest.raises(TransientError, match=r"GET http://acme.test/down failed: no route"):
            session.get("http://acme.test/down")
    assert testing.requests_made(adapter) == 4


def test_proxies_of_the_environment_are_used_by_both_clients(monkeypatch):
    def handler(method, path, headers, body):
        return 200, {}, path.encode()

    with testing.serve_exchanges(handler) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        adapter = testing.build(Acme, "http://acme.test")
        assert adapter.check().version == "http://acme.test/version"
        session = requests.Session()
        session.mount("http://", adapter.context.requests_adapter())
        assert session.get("http://acme.test/version").text == "http://acme.test/version"
        session.close()
        monkeypatch.setenv("no_proxy", "acme.test")
        with pytest.raises(TransientError):
            testing.build(Acme, "http://acme.test:1", request_timeout_s=0.1).check()
        testing.close(adapter)
