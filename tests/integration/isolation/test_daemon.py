"""The daemon over adapters in processes of their own: what is lost is said, counted, and made anew with patience."""

from __future__ import annotations

import os
import signal

import pytest
from tests.engines.puppets import World, lines_about, until
from tests.integration.isolation import odd_adapters
from tests.integration.isolation.conftest import QUICK, is_there

from runlink.application.rows import DeliveryRow
from runlink.application.settings import Secret, WebhookSettings
from runlink.daemon.backoff import react
from runlink.domain import new_id
from runlink.hosting import ProcessLost
from runlink.hosting.isolation import isolated
from runlink.store import open_store


@pytest.fixture
def world(new_url, caplog):
    caplog.set_level("INFO", "runlink")
    store = open_store(new_url("sqlite"))
    world = World(store)
    yield world
    world.stop()
    store.close()


@pytest.fixture
def engine(world, tmp_path):
    def make(name, do, **settings):
        options = {"do": do, "place": str(tmp_path)}
        return world.engine("ci", isolated(getattr(odd_adapters, name), limits=QUICK), options=options, **settings)

    return make


@pytest.mark.parametrize(
    ("do", "says"), [("leave", "ended with exit code 7"), ("loop", "hung past the end of its time, and was killed")]
)
def test_a_poll_that_loses_its_process_is_tried_again_with_another(world, engine, tmp_path, caplog, do, says):
    feed = engine("Odd", do, poll_deadline_s=5.0, grace_s=10.0)
    world.start()
    until(lambda: says in (world.health("ci").get("last_error") or ""), "the loss")
    assert world.health("ci")["state"] == "lost"
    (tmp_path / "done").touch()
    until(lambda: world.health("ci")["state"] == "ok", "the return")
    row = until(lambda: (found := world.health("ci"))["pid"] and found, "its process")
    assert row["restarts"] >= 1
    assert is_there(row["pid"])
    assert row["process_started_at"] is not None
    assert world.statuses() == {"1": "PROCESSING"}
    assert len([line for line in lines_about(caplog, "ci") if ": lost: " in line]) == 1
    pid = feed.hosted.process.pid
    world.stop()
    until(lambda: not is_there(pid), "its end")


def test_a_process_that_somebody_kills_is_replaced(world, engine, tmp_path):
    (tmp_path / "done").touch()
    feed = engine("Odd", "loop")
    world.start()
    hosted = until(lambda: feed.hosted, "the adapter")
    os.kill(hosted.process.pid, signal.SIGKILL)
    until(lambda: feed.hosted is not None and feed.hosted is not hosted, "another")
    until(lambda: world.health("ci")["restarts"] == 1, "the count")
    assert feed.hosted.process.pid != hosted.process.pid


def test_a_watch_that_loses_its_process_has_the_poll_make_another(world, engine, tmp_path):
    engine("Watching", "leave", poll_interval_s=3600)
    world.start()
    until(lambda: world.health("ci", "watch")["state"] == "lost", "the loss")
    (tmp_path / "done").touch()
    until(lambda: "watched" in world.statuses(), "what the watch tells")
    until(lambda: world.health("ci", "watch")["state"] == "ok", "the return")
    assert world.health("ci")["restarts"] >= 1


def test_a_delivery_that_ends_its_process_is_tried_again_in_another(world, engine, tmp_path):
    feed = engine("Receiving", "leave", webhook=WebhookSettings(secrets=(Secret(env="HOOK"),)))
    world.start()
    until(lambda: world.health("ci")["state"] == "ok", "the first poll")
    row = DeliveryRow(new_id(), feed.engine.id, None, world.clock(), "/hooks/ci", [], b"pushed", False)
    world.store.write(lambda uow: uow.deliveries.add([row]), actor="http")

    def delivery():
        with world.store.reading() as uow:
            return uow.deliveries.list()[0]

    until(lambda: delivery()["attempts"] > 0, "the loss")
    assert "ended with exit code 7" in delivery()["reason"]
    (tmp_path / "done").touch()
    until(lambda: delivery()["state"] == "done", "its end")
    assert "pushed" in world.statuses()
    until(lambda: world.health("ci", "receive")["restarts"] == 1, "the count")
    assert world.health("ci")["restarts"] == 0
    pids = {world.health("ci")["pid"], until(lambda: world.health("ci", "receive")["pid"], "its process")}
    assert len(pids) == 2


def test_restarts_are_further_and_further_apart():
    waits = [react(ProcessLost("it ended"), failures).wait_s for failures in (1, 2, 3, 20)]
    assert waits == [1.0, 2.0, 4.0, 300.0]
    assert react(ProcessLost("it ended"), 1).renew
