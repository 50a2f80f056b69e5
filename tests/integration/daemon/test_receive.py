"""Deliveries from the store to the record: believed or asked about, retried, dead, and how much they told."""

import json
import threading
from datetime import timedelta

import msgspec
import pytest
from tests.engines.puppets import START, S, Shelf, World, puppet, seen, turns, until

from runlink.application.rows import DeliveryRow
from runlink.application.settings import Secret, WebhookSettings
from runlink.daemon.receive import MAX_ATTEMPTS, MAX_FAULTS, ReceiveFeed
from runlink.domain import new_id
from runlink.spi import DeliveryRejected, Page, Receipt, TransientError

WEBHOOK = WebhookSettings(secrets=(Secret(env="X"),), authentication="bearer", poll_interval_s=60.0)


def told(_self, delivery):
    """{"id": status, …}: what a delivery says."""
    return Receipt(observations=tuple(seen(name, S(status)) for name, status in json.loads(delivery.body).items()))


def poll_nothing(_self, _cursors):
    yield Page()


class Pushed:
    """A world in which engine `ci` pushes."""

    def __init__(self, world, adapter_class, **settings):
        self.world = world
        self.now = START
        world.now = lambda: self.now
        self.poll = world.engine("ci", adapter_class, webhook=WEBHOOK, **settings)
        self.feed = ReceiveFeed(self.poll, now=world.clock)
        turns(self.poll, 1)

    def push(self, body, delivery_id=None):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        row = DeliveryRow(new_id(), self.poll.engine.id, delivery_id, self.now, "/hooks/ci", [], text, False)
        self.world.store.write(lambda uow: uow.deliveries.add([row]), actor="http")
        return row.id

    def take(self):
        return turns(self.feed, 1)[0]

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)

    def deliveries(self):
        with self.world.store.reading() as uow:
            return uow.deliveries.list()[::-1]

    def states(self):
        return [row["state"] for row in self.deliveries()]


@pytest.fixture
def pushed(world):
    made = []

    def make(adapter_class=None, **settings):
        made.append(
            Pushed(world, adapter_class or puppet(poll_nothing, receive=told, authentication="bearer"), **settings)
        )
        return made[-1]

    yield make
    for one in made:
        one.feed.close()


def test_what_a_delivery_tells_is_taken_in_at_once_by_a_running_daemon(world):
    adapter_class = puppet(poll_nothing, receive=told, authentication="bearer")
    poll = world.engine("ci", adapter_class, webhook=WEBHOOK, poll_interval_s=30.0)
    daemon = world.start()
    row = DeliveryRow(new_id(), poll.engine.id, None, START, "/hooks/ci", [], b'{"1": "PROCESSING"}', False)
    world.store.write(lambda uow: uow.deliveries.add([row]), actor="http", urgent=True)
    daemon.deliver_now("ci")
    until(lambda: world.statuses() == {"1": "PROCESSING"}, within_s=20)  # a poll would come after 30
    with world.store.reading() as uow:
        assert [one["state"] for one in uow.deliveries.list()] == ["done"]
    assert world.stop() < 15


def test_an_end_is_taken_from_the_engine_where_it_can_be_asked(pushed, world):
    shelf = Shelf()
    ask = shelf.adapter(listed=lambda _name: False)
    ci = pushed(puppet(poll_nothing, refetch=ask.refetch, receive=told, authentication="bearer"))
    shelf.runs["1"] = seen("1", S.PROCESSING)
    ci.push({"1": "COMPLETED"})  # a lie, or too early
    ci.take()
    assert world.statuses() == {"1": "PROCESSING"}
    assert shelf.asked == [["1"]]
    shelf.runs["1"] = seen("1", S.FAILED)
    ci.later(1)
    ci.push({"1": "COMPLETED", "2": "PROCESSING"})
    ci.take()
    assert world.statuses() == {"1": "FAILED", "2": "PROCESSING"}
    assert ci.states() == ["done", "done"]


def test_an_end_that_nobody_can_be_asked_about_is_believed(pushed, world):
    ci = pushed()
    ci.push({"1": "COMPLETED"})
    ci.take()
    assert world.statuses() == {"1": "COMPLETED"}


def test_a_late_delivery_takes_nothing_back(pushed, world):
    ci = pushed()
    ci.push({"1": "COMPLETED"})
    ci.later(1)
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert world.statuses() == {"1": "COMPLETED"}
    assert ci.states() == ["done", "done"]


def test_workflows_that_are_not_wanted_are_left_out(pushed, world):
    ci = pushed(exclude=("build",))
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert world.statuses() == {}
    assert ci.states() == ["done"]


def test_one_that_is_not_understood_is_dead_with_its_reason_and_the_others_go_on(pushed, world):
    def receive(self, delivery):
        if delivery.body == b"?":
            raise DeliveryRejected("it is no JSON")
        return told(self, delivery)

    ci = pushed(puppet(poll_nothing, receive=receive, authentication="bearer"))
    ci.push(b"?")
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert ci.states() == ["dead", "done"]
    assert ci.deliveries()[0]["reason"] == "it is no JSON"
    assert world.statuses() == {"1": "PROCESSING"}
    ci.later(86400)
    ci.take()
    assert ci.states() == ["dead", "done"]
    tally = ci.feed.health.tally(ci.poll.engine.id, ci.feed.kind)
    assert (tally.feed, tally.fates) == ("receive", {"dead": 1, "done": 1})
    assert {name: count for name, count in tally.results.items() if count} == {"new": 1}


@pytest.mark.parametrize("decode", [json.loads, msgspec.json.decode])
def test_one_that_is_nested_too_deep_is_dead_and_the_others_go_on(pushed, world, decode):
    def receive(self, delivery):
        decode(delivery.body)
        return told(self, delivery)

    ci = pushed(puppet(poll_nothing, receive=receive, authentication="bearer"))
    ci.push(b"[" * 100_000 + b"]" * 100_000)
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert ci.states() == ["dead", "done"]
    assert ci.deliveries()[0]["reason"] == "it is nested too deep to be read"
    assert world.statuses() == {"1": "PROCESSING"}


def test_one_that_meets_an_engine_out_of_reach_waits_longer_each_time_and_is_dead_in_the_end(pushed, world):
    def receive(_self, _delivery):
        raise TransientError("no answer")

    ci = pushed(puppet(poll_nothing, receive=receive, authentication="bearer"))
    ci.push({})
    waits = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        ci.take()
        (row,) = ci.deliveries()
        assert row["attempts"] == attempt
        if row["state"] == "dead":
            break
        assert row["reason"] == "no answer"
        waits.append((row["due_at"] - ci.now).total_seconds())
        ci.take()  # not due yet
        assert ci.deliveries()[0]["attempts"] == attempt
        ci.now = row["due_at"]
    assert row["state"] == "dead"
    assert f"given up after {MAX_ATTEMPTS}" in row["reason"]
    assert waits[0] < 2
    assert 200 < waits[-1] <= 600


def test_a_bug_of_the_adapter_is_told_once_and_replaying_takes_it_in_later(pushed, world, caplog):
    broken = [True]

    def receive(self, delivery):
        if broken:
            raise KeyError("job")
        return told(self, delivery)

    ci = pushed(puppet(poll_nothing, receive=receive, authentication="bearer"))
    delivery_id = ci.push({"1": "PROCESSING"})
    for _ in range(MAX_FAULTS):
        ci.take()
        ci.later(600)
    (row,) = ci.deliveries()
    assert (row["state"], row["attempts"]) == ("dead", MAX_FAULTS)
    assert "KeyError: 'job'" in row["reason"]
    assert len([r for r in caplog.records if "a delivery" in r.getMessage()]) == 1
    broken.clear()
    world.store.write(lambda uow: uow.deliveries.replay([delivery_id], ci.now), actor="cli:me")
    ci.take()
    assert ci.states() == ["done"]
    assert world.statuses() == {"1": "PROCESSING"}


def test_what_is_no_receipt_costs_that_delivery_only(pushed, world):
    def receive(self, delivery):
        return "fine" if delivery.body == b"?" else told(self, delivery)

    ci = pushed(puppet(poll_nothing, receive=receive, authentication="bearer"))
    ci.push(b"?")
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert ci.states() == ["waiting", "done"]
    assert "a Receipt belongs" in ci.deliveries()[0]["reason"]


def test_a_refetch_that_fails_leaves_what_was_told_and_asks_again(pushed, world):
    answers = [TransientError("down")]

    def refetch(_self, ids):
        if answers:
            raise answers.pop()
        yield Page(observations=tuple(seen(name, S.COMPLETED) for name in ids))

    ci = pushed(puppet(poll_nothing, receive=told, refetch=refetch, authentication="bearer"))
    ci.push({"1": "COMPLETED", "2": "PROCESSING"})
    ci.take()
    assert world.statuses() == {"2": "PROCESSING"}
    assert ci.states() == ["waiting"]
    ci.later(5)
    ci.take()
    assert world.statuses() == {"1": "COMPLETED", "2": "PROCESSING"}
    assert ci.states() == ["done"]


def test_the_poll_slows_down_while_deliveries_tell_all_and_speeds_up_when_one_is_missing(pushed, world):
    shelf = Shelf()
    ci = pushed(puppet(shelf.adapter().poll, receive=told, authentication="bearer"), poll_interval_s=5.0)
    assert turns(ci.poll, 1) == [5.0]  # nothing was ever pushed
    shelf.runs["1"] = seen("1", S.PROCESSING)
    ci.push({"1": "PROCESSING"})
    ci.take()
    assert turns(ci.poll, 1) == [60.0]
    ci.take()
    row = ci.feed.health_row()
    assert (row.state, row.told, row.missed) == ("ok", 1, 0)
    ci.later(60)
    shelf.runs["2"] = seen("2", S.PROCESSING)  # of which no delivery came
    assert turns(ci.poll, 2) == [5.0, 5.0]
    ci.take()
    row = ci.feed.health_row()
    assert (row.state, row.told, row.missed) == ("missing", 1, 1)
    shelf.runs["2"] = seen("2", S.COMPLETED)
    ci.later(5)
    ci.push({"2": "COMPLETED"})
    ci.take()
    assert turns(ci.poll, 1) == [60.0]


def test_one_delivery_that_hangs_is_abandoned_and_the_feed_goes_on(world):
    wake = threading.Event()

    def receive(self, delivery):
        if delivery.body == b"?":
            wake.wait()
        return told(self, delivery)

    adapter_class = puppet(poll_nothing, receive=receive, authentication="bearer")
    poll = world.engine("ci", adapter_class, webhook=WEBHOOK, poll_deadline_s=0.3, poll_interval_s=30.0)
    bodies = [b"?"]
    rows = [DeliveryRow(new_id(), poll.engine.id, None, START, "/", [], body, False) for body in bodies]
    world.store.write(lambda uow: uow.deliveries.add(rows), actor="http")
    world.start()
    until(lambda: "abandoned" in (world.health("ci", "receive").get("last_error") or ""), "the end of what hangs")
    assert world.health("ci", "receive")["state"] == "lost"
    wake.set()
    assert world.stop() < 15


def test_an_engine_that_only_receives_needs_no_poll_and_no_url(world):
    from tests.engines.puppets import Puppet

    from runlink.spi import Adapter, Receives

    class Only(Receives):
        name = "only"
        config_schema = Puppet.config_schema
        authentication = "bearer"
        check = Puppet.check
        receive = told

    assert not issubclass(Only, Puppet)
    assert issubclass(Only, Adapter)
    poll = world.engine("ci", Only, webhook=WEBHOOK, url="")
    feed = ReceiveFeed(poll, now=world.clock)
    turns(poll, 1)
    assert poll.health.state == "ok"
    row = DeliveryRow(new_id(), poll.engine.id, None, START, "/", [], b'{"1": "COMPLETED"}', True)
    world.store.write(lambda uow: uow.deliveries.add([row]), actor="http")
    turns(feed, 1)
    assert world.statuses() == {"1": "COMPLETED"}
    feed.close()


def test_all_is_forgotten_but_nothing_is_lost_when_the_world_ends_in_between(pushed, world):
    """What was stored waits for whoever runs the feeds next."""
    ci = pushed()
    ci.push({"1": "PROCESSING"}, "a")
    ci.feed.close()
    again = ReceiveFeed(ci.poll, now=world.clock)
    turns(again, 1)
    assert world.statuses() == {"1": "PROCESSING"}
    again.close()


def test_a_world_without_webhooks_has_no_such_feed(world):
    assert isinstance(world, World)
    poll = world.engine("ci", puppet(poll_nothing))
    assert poll.receives is False
