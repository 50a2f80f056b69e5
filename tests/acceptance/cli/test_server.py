"""The server of `serve`, as a process: tokens made beside it, its log, its end."""

from __future__ import annotations

import json
import re
import signal
import time

import httpx
import pytest
from tests.acceptance.cli.conftest import until


def address(process):
    found = until(
        lambda: re.search(r"answering at (http://127\.0\.0\.1:\d+)/", process.said.read_text()), "its address"
    )
    return found[1]


@pytest.fixture
def serving(place, acme):
    place.configure(("ci", acme))
    acme.add("b-1", "build", "COMPLETED")
    place.daemon = place.child("serve", "--log-format", "json")
    place.url = address(place.daemon)
    return place


def ask(serving, method, path, token=None, **options):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.request(method, f"{serving.url}{path}", headers=headers, trust_env=False, timeout=20, **options)


def test_a_token_opens_the_running_server_until_it_is_revoked(serving):
    token = serving.ok("tokens", "create", "me", "--role", "operator").out.strip()
    assert token.startswith("rl_")
    made = ask(serving, "POST", "/api/v1/automations", token, json={"name": "nightly"})
    assert (made.status_code, made.json()["created_by"]) == (201, "token:me")
    assert [row["name"] for row in serving.rows("automations", "list")] == ["nightly"]
    audited = serving.rows("audit", "list", "--actor", "token:me")
    assert [(row["action"], row["subject_id"]) for row in audited] == [("automations.create", made.json()["id"])]
    serving.ok("tokens", "revoke", "me")
    assert ask(serving, "POST", "/api/v1/automations", token, json={"name": "b"}).status_code == 401
    listed = serving.rows("tokens", "list")
    assert [(row["name"], row["role"], row["state"]) for row in listed] == [("me", "operator", "revoked")]
    assert token not in serving.ok("tokens", "list").out + serving.daemon.said.read_text()


def test_it_tells_of_the_feeds_of_its_own_process(serving):
    def engine():
        rows = ask(serving, "GET", "/api/v1/engines").json()["items"]
        return rows[0] if rows and rows[0]["feeds"] and rows[0]["feeds"][0]["state"] == "ok" else None

    feed = until(engine, "the first sync")["feeds"][0]
    assert (feed["feed"], feed["failures"]) == ("poll", 0)
    assert 'runlink_engine_up{engine="ci",feed="poll",type="acme"} 1.0' in ask(serving, "GET", "/metrics").text
    assert [row["name"] for row in ask(serving, "GET", "/api/v1/plugins").json()["items"]] >= ["acme"]


def test_its_log_is_json_and_its_end_is_quick_while_a_client_follows(serving):
    with httpx.stream("GET", f"{serving.url}/api/v1/stream", trust_env=False, timeout=20) as answer:
        assert answer.status_code == 200
        serving.daemon.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert serving.daemon.wait(30) == 0
        assert time.monotonic() - began < 15
    lines = [line for line in serving.daemon.said.read_text().splitlines() if line.startswith("{")]
    request = next(line for line in map(json.loads, lines) if line.get("path") == "/api/v1/stream")
    assert (request["level"], request["logger"], request["status"]) == ("info", "runlink.http.access", 200)
    assert "Traceback" not in serving.daemon.said.read_text()


def test_an_address_that_is_taken_or_unprotected_is_an_error(serving, acme, tmp_path):
    taken = serving.url.removeprefix("http://")
    text = serving.config.read_text().replace("127.0.0.1:0", taken)
    other = tmp_path / "other.toml"
    other.write_text(text + f'[store]\nurl = "sqlite:///{tmp_path}/other.db"\n')
    refused = serving("serve", "--config", other)
    assert refused.code == 1
    assert f"error: the server cannot listen at {taken}: Address already in use" in refused.err
    open_to_all = text.replace(taken, "0.0.0.0:0")
    other.write_text(open_to_all)
    assert "server.listen: 0.0.0.0 is reached from other machines" in serving("validate", "--config", other).err
    proxied = open_to_all.replace("[server]\n", '[server]\ntrusted_proxies = ["10.0.0.1"]\n')
    other.write_text(proxied + f'[store]\nurl = "sqlite:///{tmp_path}/third.db"\n')
    refused = serving("serve", "--config", other)
    assert (refused.code, "make one with `runlink tokens create`" in refused.err) == (1, True)


def test_it_can_be_switched_off(place, acme):
    place.configure(("ci", acme))
    place.config.write_text(place.config.read_text().replace("[server]\n", "[server]\nenabled = false\n"))
    daemon = place.child("serve")
    until(lambda: acme.asked, "the first request")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert "answering" not in daemon.said.read_text()


def test_tokens_are_asked_for_in_one_way(place, acme):
    place.configure(("ci", acme))
    assert place("tokens", "create", "a").code == 2
    assert place("tokens", "create", "a", "--role", "viewer", "--scope", "read").code == 2
    assert place("tokens", "create", "a", "--role", "viewer", "--expires", "soon").code == 2
    made = place.ok("tokens", "create", "a", "--scope", "hooks", "--expires", "90d", "-o", "json").json
    assert (made["scopes"], made["token"][:3]) == (["hooks"], "rl_")
    again = place("tokens", "create", "a", "--role", "viewer")
    assert (again.code, "a token is called 'a' already" in again.err) == (1, True)
    assert place("tokens", "revoke", "b").code == 1
    assert place("audit", "list", "--subject", "x").code == 2
