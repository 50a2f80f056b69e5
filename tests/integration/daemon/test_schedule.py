"""Who is polled when: no overlap, nobody waits for another, the request budget."""

import collections
import socket
import threading
import time

import pytest
from tests.engines.puppets import Counting, puppet, until

from runlink.spi import Page, TransientError
from runlink.testing import serve_exchanges


@pytest.fixture
def wake():
    event = threading.Event()
    yield event
    event.set()


class Busy:
    """Counts how many polls of each engine run at a time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = collections.Counter()
        self.most = collections.Counter()
        self.turns = collections.Counter()
        self.together = 0

    def __enter__(self):
        return self

    def adapter(self, pause_s=0.0):
        busy, tick = self, threading.Event()

        def poll(self, _cursors):
            name = self.context.engine
            with busy.lock:
                busy.now[name] += 1
                busy.turns[name] += 1
                busy.most[name] = max(busy.most[name], busy.now[name])
                busy.together = max(busy.together, sum(busy.now.values()))
            tick.wait(pause_s)
            with busy.lock:
                busy.now[name] -= 1
            yield Page()

        return puppet(poll)


def test_polls_of_one_engine_never_overlap(world):
    busy = Busy()
    for n in range(4):
        world.engine(f"e{n}", busy.adapter(pause_s=0.03), poll_interval_s=0.001)
    world.start()
    until(lambda: min(busy.turns[f"e{n}"] for n in range(4)) >= 20)
    assert set(busy.most.values()) == {1}
    assert busy.together > 1, "different engines do overlap"


def test_a_hundred_engines_on_sixteen_workers_are_all_polled(world):
    busy = Busy()
    cls = busy.adapter(pause_s=0.002)
    for n in range(100):
        world.engine(f"e{n:03}", cls, poll_interval_s=0.05)
    world.start()
    until(lambda: len(busy.turns) == 100 and min(busy.turns.values()) >= 3, "three turns of each")
    assert set(busy.most.values()) == {1}
    assert busy.together <= 16


def test_many_blocked_engines_do_not_delay_the_others(world, wake):
    def hangs(_self, _cursors):
        wake.wait()
        yield Page()

    for n in range(20):
        world.engine(f"blocked{n:02}", puppet(hangs), poll_deadline_s=60)
    world.start(workers=16)
    good = world.engine("good", Counting)
    world.daemon.replace(world.settings, world.rules, world.feeds)
    until(lambda: good.health.state == "ok", "a turn beside 20 that hang on 16 workers")
    turns = len(world.instances("good"))
    until(lambda: len(world.instances("good")) >= turns + 20, "20 more turns")


def test_one_blocked_engine_costs_another_no_turn(world, wake):
    """The lag of the other is measured in turns: as many as without the blocked one, give or take a fifth."""

    def measured(seconds=1.0):
        before, ends = counted[0], time.monotonic() + seconds
        until(lambda: time.monotonic() >= ends)
        return counted[0] - before

    counted = [0]

    def poll(_self, _cursors):
        counted[0] += 1
        yield Page()

    good = world.engine("good", puppet(poll), poll_interval_s=0.02)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def reads(self, _cursors):
            self.context.http().get("/")
            yield Page()

        blocked = world.engine("blocked", puppet(reads), url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        world.feeds = {"good": good}
        world.start()
        until(lambda: counted[0] > 5)
        alone = measured()
        world.daemon.replace(world.settings, world.rules, {"good": good, "blocked": blocked})
        until(lambda: blocked._turn is not None)
        # another process may take the machine for one of the seconds
        until(lambda: measured() >= 0.6 * alone, f"a second with 60 % of {alone} turns")
        assert blocked._turn is not None, "it was blocked all the time"


def test_the_request_budget_is_kept_over_turns_and_over_adapters_made_anew(world):
    """60 a minute allow 6 at once and one a second after; an adapter that is made anew does not begin a new budget."""
    times = []

    def answer(_method, _path, _headers, _body):
        times.append(time.monotonic())
        return 200, {}, b"{}"

    def poll(self, _cursors):
        for _ in range(3):
            self.context.http().get("/")
        yield Page()
        raise ZeroDivisionError

    with serve_exchanges(answer) as engine:
        feed = world.engine("ci", puppet(poll), url=engine.url, max_requests_per_minute=60, poll_deadline_s=1.6)
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            feed.run()
        elapsed = time.monotonic() - began
        assert 6 <= len(times) <= 6 + elapsed + 1
        # one that the turn's end cut off is counted, whether it arrived or not
        assert len(times) <= feed.health.requests <= len(times) + 2


def test_a_poll_that_waits_for_its_budget_past_its_deadline_is_lost_not_hung(world):
    def poll(self, _cursors):
        for _ in range(5):
            self.context.http().get("/")
        yield Page()

    with serve_exchanges(lambda *_: (200, {}, b"{}")) as engine:
        feed = world.engine("ci", puppet(poll), url=engine.url, max_requests_per_minute=6, poll_deadline_s=8)
        feed.run()
        assert feed.health.state == "lost"
        assert "max_requests_per_minute" in feed.health.last_error


def test_a_turn_that_fails_is_tried_again_after_its_wait_and_not_before(world):
    times = []

    def poll(_self, _cursors):
        times.append(time.monotonic())
        if len(times) <= 2:
            raise TransientError("no", retry_after_s=0.0)
        yield Page()

    feed = world.engine("ci", puppet(poll))
    world.start()
    until(lambda: feed.health.state == "ok")
    assert 0.75 <= times[1] - times[0] <= 3
    assert 1.5 <= times[2] - times[1] <= 4
