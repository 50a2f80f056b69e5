"""The end of a daemon: within five seconds, whatever hangs, and without a false alarm."""

import socket
import threading

import pytest
from tests.engines.puppets import Counting, lines_about, puppet, seen, until

from runlink.spi import Page

SOON_S = 15.0  # five, on a machine that does nothing else; what hangs would hang for ever


@pytest.fixture
def wake():
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def silent_url():
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("how", ["nothing", "blocked read", "pure Python", "close", "subscriber"])
def test_it_ends_within_five_seconds(world, wake, silent_url, how, caplog):
    busy = threading.Event()

    def reads(self, _cursors):
        busy.set()
        self.context.http().get("/")
        yield Page(observations=(seen("late"),))

    def sleeps(_self, _cursors):
        busy.set()
        wake.wait()
        yield Page(observations=(seen("late"),))

    def polls(_self, _cursors):
        busy.set()
        yield Page()

    def takes(_event):
        busy.set()
        wake.wait()

    world.engine("good", Counting)
    if how == "subscriber":
        world.subscribers = [("slow", takes)]
    elif how != "nothing":
        poll = {"blocked read": reads, "pure Python": sleeps, "close": polls}[how]
        members = {"close": lambda _self: wake.wait()} if how == "close" else {}
        world.engine("bad", puppet(poll, **members), url=silent_url, request_timeout_s=600)
    world.start()
    until(lambda: len(world.instances("good")) > 3)
    assert how == "nothing" or until(busy.is_set)
    assert world.stop() < SOON_S
    assert ("did not end in time" in caplog.text) == (how == "pure Python"), "nothing else is waited for"
    assert world.error is None
    before = world.instances()
    wake.set()
    until(lambda: not any(t.name.startswith(("runlink-worker", "runlink-chore")) for t in threading.enumerate()))
    assert world.instances() == before, "nothing is stored after the end"


def test_a_turn_that_is_ended_is_neither_lost_nor_logged(world, silent_url, caplog):
    def reads(self, _cursors):
        self.context.http().get("/")
        yield Page()

    feed = world.engine("ci", puppet(reads), url=silent_url)
    world.start()
    until(lambda: feed._turn is not None and feed._hosted is not None and feed._hosted.guard.requests)
    world.stop()
    assert lines_about(caplog, "ci") == []
    assert world.health("ci")["state"] == "new"


def test_the_last_state_is_written_down(world):
    feed = world.engine("ci", Counting, poll_interval_s=60)
    world.start(every_s={})
    until(lambda: feed.health.state == "ok")
    world.stop()
    assert world.health("ci")["state"] == "ok"


def test_stop_before_run_and_twice(world):
    world.engine("ci", Counting)
    daemon = world.start()
    daemon.stop()
    daemon.stop()
    assert world.stop() < SOON_S
