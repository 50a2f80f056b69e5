"""A credential that changes while `serve` runs: what docs/how-to/operate.md says of files and variables."""

from __future__ import annotations

import signal

import httpx
from tests.acceptance.cli.conftest import TOKEN, until
from tests.acceptance.cli.test_server import address


def test_a_file_is_read_again_after_a_refusal_and_at_once_on_sighup(place, acme):
    token = place.path / "token"
    token.write_text("of yesterday\n")
    place.configure(("ci", acme))
    place.config.write_text(place.config.read_text().replace('{ env = "ACME_TOKEN" }', '{ file = "token" }'))
    acme.add("b-1", "build", "PROCESSING")
    daemon = place.child("serve")
    until(lambda: "ci: denied: " in daemon.said.read_text(), "the refusal, after which it waits for a minute or so")
    token.write_text(f"{TOKEN}\n")
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "ci: back after " in daemon.said.read_text(), "its return")
    assert "the configuration was read again; nothing changes" in daemon.said.read_text()
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0


def test_the_file_of_a_webhook_is_read_again_on_sighup(place):
    key = place.path / "key"
    key.write_text("of-yesterday")
    webhook = '[engines.cd.webhook]\nauthentication = "bearer"\nsecrets = [{ file = "key" }]\n'
    place.configure(more=f'[engines.cd]\ntype = "cdevents"\n{webhook}')
    place.config.write_text(place.config.read_text().replace("'cloudevents', ", ""))
    daemon = place.child("serve")
    hook = f"{address(daemon)}/hooks/cd"

    def status(secret):
        return httpx.post(
            hook, content=b"{}", headers={"Authorization": f"Bearer {secret}"}, trust_env=False
        ).status_code

    key.write_text("of-today")
    assert (status("of-yesterday"), status("of-today")) == (202, 401)
    daemon.send_signal(signal.SIGHUP)
    until(lambda: status("of-today") == 202, "the new key")
    assert status("of-yesterday") == 401
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
