"""Subscriptions: signed CloudEvents, at least once, in order per Run, and one Run's trouble is no other's."""

import json
import logging
from collections import defaultdict
from datetime import timedelta

import httpx
import pytest
from tests.engines.puppets import START, S, World, puppet, seen, until

from runlink.application.policy import Policy
from runlink.application.settings import LinkRule, Secret, Subscription
from runlink.daemon.dispatch import Dispatch
from runlink.daemon.relay import Relay
from runlink.hosting.authentication import Authenticator, NotAuthentic, WebhookSettings
from runlink.spi import Page
from runlink.testing import serve_exchanges

RULE = LinkRule(name="by id", automation="Nightly", run_key="parameters.RUN_ID", create_run=True)
SECRETS = (Secret(env="NEW_KEY"), Secret(env="OLD_KEY"))


@pytest.fixture
def world(daemon_store, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "runlink")
    monkeypatch.setenv("NEW_KEY", "whsec_bmV3IGtleSBvZiBzb21lIGJ5dGVz")
    monkeypatch.setenv("OLD_KEY", "old")
    world = World(daemon_store, links=(RULE,), automations={"Nightly": Policy(expected=("build",))})
    world.moment = START
    world.now = lambda: world.moment
    yield world
    world.stop()


class Receiver:
    """Checks and keeps what it is sent; `answer(event)` says with which status it answers."""

    def __init__(self, world):
        self.world = world
        self.got = []
        self.tried = []
        self.answer = lambda _event: 204
        settings = WebhookSettings(secrets=(Secret(env="OLD_KEY"),))
        self.proof = Authenticator("standard-webhooks", settings, "receiver")

    def __call__(self, request):
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.proof.check_headers(headers)
        self.proof.check_body(headers, request.content, self.world.clock())
        event = json.loads(request.content)
        self.tried.append((headers["webhook-id"], event))
        status = self.answer(event)
        if status is None:
            raise httpx.ConnectError("refused")
        if status < 300:
            self.got.append(event)
        return httpx.Response(status)

    def by_run(self):
        found = defaultdict(list)
        for event in self.got:
            found[event.get("subject")].append(event["type"])
        return dict(found)


@pytest.fixture
def outgoing(world):
    """outgoing(name=…, …): a dispatch with one subscription, its receiver, and a way to let things happen."""
    made = []

    def make(**more):
        fields = {"name": "bot", "url": "http://bot.example.org/hook", "secrets": SECRETS, **more}
        receiver = Receiver(world)
        dispatch = Dispatch(world.store, [Subscription(**fields)], world.clock, transport=httpx.MockTransport(receiver))
        dispatch.enrol()
        made.append(dispatch)
        return dispatch, receiver

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def happen(world):
    shown = {}

    def poll(_self, _cursors):
        yield Page(observations=tuple(shown.values()))

    feed = world.engine("ci", puppet(poll))
    feed.run()

    def tell(**runs):
        for run, status in runs.items():
            shown[run] = seen(run, S(status), parameters={"RUN_ID": run})
        world.moment += timedelta(seconds=10)
        feed.run()
        Relay(world.store, [], world.clock).run()

    return tell


def states(world, name="bot"):
    with world.store.reading() as uow:
        return [(row["type"], row["state"]) for row in uow.subscriptions.events(name)[::-1]]


def test_an_event_is_a_signed_cloud_event(world, outgoing, happen):
    dispatch, receiver = outgoing(source="/runlink/prod")
    happen(a="PROCESSING")
    happen(a="FAILED")
    assert dispatch.run() == 2
    started, failed = receiver.got
    assert (started["specversion"], started["type"], started["source"]) == (
        "1.0",
        "runlink.run.started",
        "/runlink/prod",
    )
    assert failed["type"] == "runlink.run.failed"
    assert failed["data"]["correlation_id"] == "a"
    assert failed["subject"] == failed["data"]["run_id"]
    assert failed["time"] == failed["data"]["occurred_at"] or failed["time"]
    assert started["id"] != failed["id"]
    assert started["sequence"] < failed["sequence"]
    assert [event for _, event in receiver.tried] == receiver.got
    assert dispatch.run() == 0
    assert states(world) == [("run.started", "sent"), ("run.failed", "sent")]


def test_a_receiver_with_another_secret_would_refuse(world, outgoing, happen, monkeypatch):
    dispatch, receiver = outgoing()
    monkeypatch.setenv("OLD_KEY", "another")  # what is sent is signed with it; the receiver still has the old one
    happen(a="PROCESSING")
    with pytest.raises(NotAuthentic):
        dispatch.run()
    assert receiver.got == []


def test_only_what_was_asked_for_is_sent(outgoing, happen):
    dispatch, receiver = outgoing(events=("run.failed", "instance.*"))
    happen(a="PROCESSING")
    happen(a="FAILED")
    dispatch.run()
    types = {event["type"].removeprefix("runlink.") for event in receiver.got}
    assert "run.failed" in types
    assert "run.started" not in types
    assert any(one.startswith("instance.") for one in types)


def test_a_run_whose_events_are_refused_keeps_no_other_waiting_and_keeps_its_order(world, outgoing, happen):
    dispatch, receiver = outgoing()
    happen(a="PROCESSING", b="PROCESSING")
    receiver.answer = lambda event: 500 if event["data"]["correlation_id"] == "a" else 200
    dispatch.run()
    happen(a="FAILED", b="COMPLETED")
    dispatch.run()
    assert list(receiver.by_run().values()) == [["runlink.run.started", "runlink.run.completed"]]
    tried = [event["type"] for _, event in receiver.tried if event["data"]["correlation_id"] == "a"]
    assert set(tried) == {"runlink.run.started"}  # what comes later waits for it
    receiver.answer = lambda _event: 200
    world.moment += timedelta(hours=1)
    dispatch.run()
    assert sorted(receiver.by_run().values()) == [
        ["runlink.run.started", "runlink.run.completed"], ["runlink.run.started", "runlink.run.failed"],
    ]  # fmt: skip


def test_it_waits_longer_after_each_failure_keeps_the_same_id_and_puts_it_aside_in_the_end(world, outgoing, happen):
    dispatch, receiver = outgoing(max_attempts=14)
    happen(a="PROCESSING")
    receiver.answer = lambda _event: None
    waits, since = [], world.moment
    for _ in range(40_000):
        before = len(receiver.tried)
        dispatch.run()
        if len(receiver.tried) > before:
            waits.append((world.moment - since).total_seconds())
            since = world.moment
        if states(world) == [("run.started", "dead")]:
            break
        with world.store.reading() as uow:
            (row,) = uow.subscriptions.events("bot")
        world.moment = max(world.moment + timedelta(seconds=1), row["due_at"])
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600]
    assert len({message_id for message_id, _ in receiver.tried}) == 1
    assert "refused" in row["reason"] or "no answer" in row["reason"]
    receiver.answer = lambda _event: 200
    happen(a="FAILED")
    dispatch.run()
    assert [event["type"] for event in receiver.got] == ["runlink.run.failed"]
    assert world.store.write(lambda uow: uow.subscriptions.retry("bot", None, world.moment), actor="cli:me") == 1
    assert dispatch.run() == 1
    assert states(world) == [("run.started", "sent"), ("run.failed", "sent")]


def test_gone_is_dead_at_once_and_a_redirect_is_not_followed(world, outgoing, happen):
    dispatch, receiver = outgoing()
    happen(a="PROCESSING", b="PROCESSING")
    receiver.answer = lambda event: 410 if event["data"]["correlation_id"] == "a" else 302
    dispatch.run()
    assert sorted(state for _, state in states(world)) == ["dead", "waiting"]


def test_what_was_not_noted_before_a_crash_is_sent_again(world, outgoing, happen):
    dispatch, receiver = outgoing()
    happen(a="PROCESSING")
    dispatch.place()
    with world.store.reading() as uow:
        due = uow.subscriptions.due("bot", world.moment)
    assert len(due) == 1
    dispatch.run()
    again = Dispatch(world.store, dispatch.subscriptions, world.clock, transport=httpx.MockTransport(receiver))
    assert again.run() == 0
    world.store.write(lambda uow: uow.subscriptions.failed("bot", due[0]["position"], "crash", world.moment), actor="x")
    assert again.run() == 1
    assert receiver.got[0] == receiver.got[1]
    again.stop()


def test_a_subscription_that_leaves_the_configuration_is_forgotten_and_a_new_one_begins_with_what_is_new(
    world, outgoing, happen
):
    dispatch, _ = outgoing()
    happen(a="PROCESSING")
    dispatch.place()
    late, receiver = outgoing(name="late")
    with world.store.reading() as uow:
        assert uow.subscriptions.names() == {"late"}
        assert uow.subscriptions.events("bot") == []
    happen(a="FAILED")
    late.run()
    assert [event["type"] for event in receiver.got] == ["runlink.run.failed"]


def test_a_missing_secret_stops_that_subscription_only_and_is_said(world, outgoing, happen, caplog):
    dispatch, receiver = outgoing(secrets=(Secret(env="NOT_THERE"),))
    happen(a="PROCESSING")
    assert dispatch.run() == 0
    assert receiver.tried == []
    assert "NOT_THERE" in caplog.text
    assert states(world) == [("run.started", "waiting")]


def test_the_daemon_sends_to_a_real_server(world):
    got = []

    def answer(_method, path, headers, body):
        got.append((path, headers, json.loads(body)))
        return 200, {}, b""

    shown = [seen("a", S.PROCESSING, parameters={"RUN_ID": "a"})]

    def poll(_self, _cursors):
        yield Page(observations=tuple(shown))

    world.moment = None
    world.now = World(world.store).clock
    with serve_exchanges(answer) as server:
        world.subscriptions = (Subscription(name="bot", url=f"{_url(server)}/in", secrets=SECRETS),)
        feed = world.engine("ci", puppet(poll))
        feed.run()
        world.start()
        until(lambda: world.health("ci")["state"] == "ok")
        until(lambda: _enrolled(world))
        shown.append(seen("b", S.PROCESSING, parameters={"RUN_ID": "b"}))
        until(lambda: got)
        world.stop()
    path, headers, event = got[0]
    assert path == "/in"
    assert {name.lower() for name in headers} >= {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert event["data"]["correlation_id"] == "b"


def _enrolled(world):
    with world.store.reading() as uow:
        return uow.subscriptions.names() == {"bot"}


def _url(server):
    return server if isinstance(server, str) else server.url
