"""The live stream: in order, resumed without loss, filtered, told when its place is gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.integration.http.conftest import problem

from runlink.application.rules.rules import Rules
from runlink.application.runs import create_run, link
from runlink.domain import Run, RunStarted, new_id
from runlink.http import hub, stream
from runlink.store.feed_health import FeedHealthRow
from runlink.store.outbox import NewEvents
from runlink.store.unit_of_work import TOLD_AT_ONCE

STREAM = "/api/v1/stream"


class Listener:
    """A client that follows on a thread; `events` are (id, name, data)."""

    def __init__(self, client, since=None, **params):
        self.events, self.comments, self._news = [], 0, threading.Condition()
        self.last_id, self.connected, self.ended = None, threading.Event(), threading.Event()
        self.error = None
        self._client, self._params = client, params
        self._headers = {} if since is None else {"Last-Event-ID": str(since)}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        assert self.connected.wait(10)

    def _follow(self):
        try:
            with self._client.stream("GET", STREAM, params=self._params, headers=self._headers) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                fields = {}
                for line in answer.iter_lines():
                    if line:
                        name, _, value = line.partition(": ")
                        fields[name] = value
                        continue
                    self._take(fields)
                    fields = {}
        except httpx.TransportError as error:  # a server that stops cuts off whoever is slow to leave
            self.error = error
        finally:
            self.connected.set()
            self.ended.set()

    def _take(self, fields):
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            with self._news:
                self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                self._news.notify_all()
        self.connected.set()

    def wait(self, count):
        with self._news:
            assert self._news.wait_for(lambda: len(self.events) >= count, 20), self.events
        return self.events


@pytest.fixture
def listen(served):
    def listen(since=None, role="viewer", **params):
        return Listener(served.client(role), since, **params)

    return listen


@pytest.fixture
def tell(store, t0):
    """tell("a", "b"): a started Run for each, each committed on its own."""

    def tell(*texts, at=t0):
        for text in texts:
            with store.unit_of_work() as uow:
                run_id = new_id()
                event = RunStarted(occurred_at=at, run_id=run_id, automation_id=run_id, correlation_id=text, attempt=1)
                uow.ledger.insert_events([event], at, "test")

    return tell


def words(events):
    return [data["data"]["correlation_id"] for _, _, data in events]


def test_what_happens_arrives_in_the_order_of_its_commits(listen, tell):
    tell("before")
    listener = listen()
    assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
    tell(*"abc")
    events = listener.wait(3)
    assert words(events) == ["a", "b", "c"]
    assert [(position, name) for position, name, _ in events] == [(n, "run.started") for n in (2, 3, 4)]


def test_commits_of_many_threads_arrive_in_their_order_and_none_is_missed(listen, tell, served):
    """Each is handed over by the thread it is of: in any order."""
    early = listen()
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(tell, *(f"{number}-{n}" for n in range(10))) for number in range(16)]
        late = listen()
        for one in told:
            one.result()
    seen = {position: data["data"]["correlation_id"] for position, _, data in early.wait(160)}
    assert list(seen) == list(range(1, 161))
    assert len(set(seen.values())) == 160
    until(lambda: late.last_id == "160")
    assert [position for position, _, _ in late.events] == list(range(161 - len(late.events), 161))


def test_a_large_commit_is_read_and_not_handed_over(listen, store, t0):
    listener = listen()
    run_id = new_id()
    events = [
        RunStarted(occurred_at=t0, run_id=run_id, automation_id=run_id, correlation_id=str(n), attempt=1)
        for n in range(TOLD_AT_ONCE + 1)
    ]
    store.write(lambda uow: uow.ledger.insert_events(events, t0, "test"), actor="test")
    assert words(listener.wait(len(events))) == [str(n) for n in range(len(events))]


def test_a_client_that_comes_back_has_missed_nothing(listen, tell):
    tell(*"abcdef")
    assert words(listen(since=2).wait(4)) == ["c", "d", "e", "f"]
    assert words(listen(since=0).wait(6)) == list("abcdef")


def test_resuming_at_every_place_gives_every_event_once(listen, tell, monkeypatch):
    """Also further back than what the hub keeps, and across its pages."""
    monkeypatch.setattr(hub, "KEPT", 5)
    monkeypatch.setattr(hub, "PAGE", 3)
    listener = listen()
    tell(*(str(number) for number in range(20)))
    listener.wait(20)
    for since in (0, 1, 7, 14, 19):
        assert words(listen(since=since).wait(20 - since)) == [str(number) for number in range(since, 20)]


def test_a_place_that_was_pruned_is_told(listen, tell, store, t0):
    tell(*"abcd")
    with store.unit_of_work() as uow:
        uow.connection.exec_driver_sql("DELETE FROM outbox WHERE position <= 2")
    listener = listen(since=1)
    position, name, data = listener.wait(1)[0]
    assert (position, name, data) == (4, "reset", {"first": 3, "last": 4})
    tell("e")
    assert listener.wait(2)[1][0] == 5
    assert words(listen(since=2).wait(3)) == ["c", "d", "e"], "nothing behind 2 is gone"


def test_a_place_that_never_was_is_told(listen, tell):
    tell("a")
    assert listen(since=99).wait(1)[0][1:] == ("reset", {"first": 1, "last": 1})


def test_filters_choose_by_run_automation_and_type(listen, store, record, served):
    rules, now = Rules(), served.clock()
    by_run = listen(run=str(record.run.id))
    by_automation = listen(automation="nightly")
    by_type = listen(type="run.*")
    elsewhere = listen(automation="weekly")

    def work(uow):
        link(uow, rules, record.run.id, record.instances[0].id, now=now)
        create_run(uow, rules, record.automation.id, correlation_id="other", now=now)

    store.write(work, actor="test")
    with store.unit_of_work() as uow:
        instance = uow.orchestration_instances.get(record.instances[0].id)
        instance.start(now)
        uow.orchestration_instances.update(instance)
        run = uow.runs.get(record.run.id)
        run.start(now)
        uow.runs.update(run)
    names = ["instance.linked", "instance.status_changed", "run.started"]
    assert [name for _, name, _ in by_run.wait(3)] == names
    assert [name for _, name, _ in by_automation.wait(3)] == names
    assert [name for _, name, _ in by_type.wait(1)] == ["run.started"]
    assert by_run.events[1][2]["runs"] == [str(record.run.id)]
    assert elsewhere.events == []


def test_what_a_client_does_not_want_still_moves_its_place(listen, tell, monkeypatch):
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    listener = listen(type="instance.*")
    tell(*"ab")
    until(lambda: listener.last_id == "2")
    assert listener.events == []


def test_a_quiet_stream_has_a_heartbeat(listen, monkeypatch):
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    listener = listen()
    until(lambda: listener.last_id == "0")
    assert not listener.ended.is_set()


def until(true):
    """Waits until `true()` is."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def flood(store, t0, count):
    """Events of 20 kB, committed together."""
    run_id = new_id()
    events = [
        RunStarted(occurred_at=t0, run_id=run_id, automation_id=run_id, correlation_id=f"{n:06}" * 3000, attempt=1)
        for n in range(count)
    ]
    with store.unit_of_work() as uow:
        uow.ledger.insert_events(events, t0, "test")


def test_a_client_that_falls_too_far_behind_is_told_so_last(served, listen, store, t0, monkeypatch):
    monkeypatch.setattr(stream, "MAX_BEHIND", 100)
    monkeypatch.setattr(hub, "PAGE", 10)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert slow.recv(1)
        flood(store, t0, 1000)  # 20 MB, more than sockets hold
        until(lambda: served.hub.last == 1000)
        slow.settimeout(20)
        told = b""
        while data := slow.recv(1 << 20):
            told = (told + data)[-1000:]
    last = told.split(b"id: ")[-1]
    assert b"event: dropped\ndata: " in last
    assert b'"too slow"' in last
    position = int(last.split(b"\n")[0])
    assert listen(since=position).wait(1)[0][0] == position + 1, "it goes on from there"


def test_a_client_that_takes_nothing_is_cut_off(served, store, t0, listen, monkeypatch):
    monkeypatch.setattr(stream, "SEND_S", 0.2)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stuck:
        stuck.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert stuck.recv(1)
        flood(store, t0, 1000)
        until(lambda: served.hub.clients == 0)


def test_a_stopping_server_lets_its_clients_go(serve):
    served = serve()
    listener = Listener(served.client("viewer"))
    served.server.stop()
    assert served.server.join(10)
    assert listener.ended.wait(10)


def test_the_cookie_opens_the_stream_and_nothing_else_does(serve, tell):
    served = serve(auth="required")
    problem(served.client().get(STREAM), "unauthenticated")
    browser = served.client()
    browser.post("/login", json={"token": served.tokens["viewer"]})
    listener = Listener(browser)
    tell("a")
    assert words(listener.wait(1)) == ["a"]


@pytest.mark.parametrize("since", ["x", "-1", "1.5"])
def test_a_place_that_is_no_number_is_refused(served, since):
    problem(served.client("viewer").get(STREAM, headers={"Last-Event-ID": since}), "invalid-request")


def test_another_process_is_heard_within_the_look(listen, store, record):
    """Its commits call nobody back."""
    listener = listen()
    run = Run(automation_id=record.automation.id)
    with store.writing.begin() as connection:
        event = RunStarted(
            occurred_at=run.created_at,
            run_id=run.id,
            automation_id=record.automation.id,
            correlation_id="elsewhere",
            attempt=1,
        )
        events = NewEvents(connection)
        events.add([event], run.created_at, "test")
        events.write()
    assert words(listener.wait(1)) == ["elsewhere"]


def test_notices_tell_those_who_ask_that_engines_or_deliveries_changed(served, record, listen, tell, clock):
    asking, silent = listen(notices="true", type="run.*"), listen()
    assert [name for _, name, _ in asking.wait(2)] == ["engines.changed", "deliveries.changed"]
    row = FeedHealthRow(
        engine_id=record.engine.id, feed="poll", state="lost", since=clock(), last_success_at=None, last_news_at=None,
        relists=0, failures=1, last_error="no route", last_duration_s=None, requests=1, skew_s=None,
    )  # fmt: skip
    served.feeds = [row]
    position, name, data = asking.wait(3)[2]
    assert (position, name, data) == (int(asking.last_id), "engines.changed", {"type": "engines.changed"})
    served.arrived += 1
    assert asking.wait(4)[3][1] == "deliveries.changed"
    tell("a")
    assert asking.wait(5)[4][1] == "run.started"
    assert [name for _, name, _ in silent.wait(1)] == ["run.started"]
    (feed,) = served.get(f"/api/v1/engines/{record.engine.id}").json()["feeds"]
    assert (feed["state"], feed["last_error"], feed["last_error_at"]) == ("lost", "no route", None)
