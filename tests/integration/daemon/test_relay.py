"""Events to subscribers: at least once, in order, each subscriber on its own."""

import logging
import threading
from collections import defaultdict
from datetime import timedelta

import pytest
from tests.engines.puppets import START, S, World, puppet, seen, until

from runlink.application.policy import Policy
from runlink.application.settings import LinkRule
from runlink.daemon.relay import Relay
from runlink.spi import Page
from runlink.store import open_store

RULE = LinkRule(name="by id", automation="Nightly", run_key="parameters.RUN_ID", create_run=True)


class Script:
    """An engine whose runs each begin and end, one step a poll."""

    def __init__(self, count):
        self.turn = 0
        self.count = count

    def adapter(self):
        def poll(_self, _cursors):
            turn, self.turn = self.turn, self.turn + 1
            runs = []
            for n in range(min(turn, self.count)):
                status = (S.PENDING, S.PROCESSING, S.FAILED if n % 3 == 0 else S.COMPLETED)[min(turn - n - 1, 2)]
                runs.append(seen(str(n), status, parameters={"RUN_ID": f"r{n}"}))
            yield Page(observations=tuple(runs))

        return puppet(poll)


@pytest.fixture
def world(daemon_store, caplog):
    caplog.set_level(logging.INFO, "runlink")
    world = World(daemon_store, links=(RULE,), automations={"Nightly": Policy(expected=("build",))})
    yield world
    world.stop()


class Subscriber:
    def __init__(self):
        self.got = []
        self.fail = 0
        self.lock = threading.Lock()

    def __call__(self, event):
        with self.lock:
            if self.fail > 0:
                self.fail -= 1
                raise SystemExit("cannot take it")
            self.got.append(event)

    def types(self):
        by_run = defaultdict(list)
        for event in self.got:
            if event["run_id"] is not None:
                by_run[event["run_id"]].append(event["type"])
        return sorted(map(tuple, by_run.values()))


ENDED = {("run.started", "run.completed"), ("run.started", "run.failed")}


def short(types):
    """Without events about instances that carry a run's id."""
    return sorted({tuple(t for t in one if t.startswith("run.")) for one in types})


def test_every_event_once_and_in_order_while_all_is_well(world):
    one, two = Subscriber(), Subscriber()
    world.subscribers = [("one", one), ("two", two)]
    world.engine("ci", Script(9).adapter(), poll_interval_s=0.01)
    world.start()
    until(lambda: sum(e["type"] in ("run.completed", "run.failed") for e in one.got) == 9)
    until(lambda: len(two.got) == len(one.got))
    assert [e["id"] for e in one.got] == [e["id"] for e in two.got] == [e["id"] for e in world.events()]
    assert [e["position"] for e in one.got] == list(range(1, len(one.got) + 1))
    assert set(short(one.types())) == ENDED


def test_a_subscriber_that_fails_is_tried_again_and_stops_no_other(world, caplog):
    bad, good = Subscriber(), Subscriber()
    bad.fail = 1_000
    world.subscribers = [("bad", bad), ("good", good)]
    world.engine("ci", Script(3).adapter(), poll_interval_s=0.01)
    world.start()
    until(lambda: sum(e["type"] in ("run.completed", "run.failed") for e in good.got) == 3)
    assert bad.got == []
    bad.fail = 0
    until(lambda: len(bad.got) == len(good.got), within_s=60)
    assert [e["id"] for e in bad.got] == [e["id"] for e in good.got]
    said = ["subscriber bad failed on event 1", "subscriber bad takes events again"]
    told = lambda: [r.getMessage().split(":")[0] for r in caplog.records if "subscriber bad" in r.getMessage()]  # noqa: E731
    until(lambda: told() == said)


def test_it_waits_longer_after_each_failure(world):
    world.engine("ci", Script(1).adapter())
    moment = [START]
    bad = Subscriber()
    relay = Relay(world.store, [("bad", bad)], lambda: moment[0])
    relay.run()
    for _ in range(5):
        world.feeds["ci"].run()
    bad.fail, waits, since = 100, [], moment[0]
    relay.run()
    for _ in range(1200):
        moment[0] += timedelta(seconds=1)
        left = bad.fail
        relay.run()
        if bad.fail < left:
            waits.append((moment[0] - since).total_seconds())
            since = moment[0]
    assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_one_that_hangs_keeps_neither_the_others_nor_the_relay(world):
    wake, good = threading.Event(), Subscriber()
    world.subscribers = [("hangs", lambda _event: wake.wait()), ("good", good)]
    world.engine("ci", Script(5).adapter(), poll_interval_s=0.01)
    world.start()
    until(lambda: sum(e["type"] in ("run.completed", "run.failed") for e in good.got) == 5)
    assert world.stop() < 15
    wake.set()


def test_it_goes_on_at_its_place_after_a_restart_and_a_late_one_begins_with_what_is_new(world, new_url):
    first = Subscriber()
    relay = Relay(world.store, [("a", first)], world.clock)
    relay.run()
    feed = world.engine("ci", Script(4).adapter())
    for _ in range(4):
        feed.run()
    relay.run()
    assert first.got
    second, late = Subscriber(), Subscriber()
    store = open_store(str(world.store.url))
    relay = Relay(store, [("a", second), ("late", late)], world.clock)
    relay.run()
    assert second.got == late.got == []
    for _ in range(4):
        feed.run()
    assert relay.run() == 2 * len(second.got)
    store.close()
    assert [e["id"] for e in first.got + second.got] == [e["id"] for e in world.events()]
    assert late.got == second.got


def test_what_was_not_noted_before_a_crash_is_delivered_again(world):
    got = Subscriber()
    Relay(world.store, [("a", got)], world.clock).run()
    feed = world.engine("ci", Script(2).adapter())
    for _ in range(5):
        feed.run()

    class Crash(BaseException):
        pass

    relay = Relay(world.store, [("a", got)], world.clock)
    relay.enrol()
    with world.store.reading() as uow:
        events = uow.outbox.after(0)
    relay._hand("a", events)  # handed over, and then the process died
    Relay(world.store, [("a", got)], world.clock).run()
    ids = [e["id"] for e in got.got]
    assert ids == [e["id"] for e in events] * 2
