"""The watch beside the poll: one adapter, one set of cursors, and each mends what the other missed."""

import queue
import threading
from dataclasses import replace

import pytest
from tests.engines.puppets import S, puppet, seen, until

from runlink.application.registry import register
from runlink.application.settings import LinkRule
from runlink.spi import CursorExpired, Page, TransientError


class Stream:
    """An engine with a list and a stream, played by the test: what is put on `news` comes out of the watch."""

    def __init__(self):
        self.listed = {}
        self.version = 1
        self.news = queue.SimpleQueue()
        self.polls = []
        self.watched_from = []
        self.closed = threading.Event()

    def tell(self, *observations):
        self.version += 1
        self.listed.update({o.external_id: o for o in observations})
        self.news.put(Page(observations=observations, cursors={"all": str(self.version)}))

    def adapter(self):
        stream = self

        def poll(_self, cursors):
            stream.polls.append(cursors)
            yield Page(observations=tuple(stream.listed.values()), cursors={"all": str(stream.version)})

        def refetch(_self, ids):
            found = [stream.listed[name] for name in ids if name in stream.listed]
            yield Page(observations=tuple(found), gone=tuple(name for name in ids if name not in stream.listed))

        def watch(_self, cursors):
            stream.watched_from.append(cursors.get("all"))
            while not stream.closed.is_set():
                try:
                    given = stream.news.get(timeout=0.05)
                except queue.Empty:
                    yield Page()
                    continue
                if isinstance(given, Exception):
                    raise given
                if given is None:
                    return
                yield given

        def close(_self):
            stream.closed.set()

        return puppet(poll, refetch=refetch, watch=watch, close=close)


@pytest.fixture
def stream(world):
    played = Stream()
    world.engine("k8s", played.adapter(), poll_interval_s=3600)
    yield played
    world.stop()


def test_what_the_stream_tells_is_stored_with_its_cursor_while_the_poll_rests(world, stream):
    stream.listed["a"] = seen("a")
    world.start()
    until(lambda: stream.watched_from)
    stream.tell(seen("a", S.COMPLETED), seen("b"))
    until(lambda: world.statuses() == {"a": "COMPLETED", "b": "PROCESSING"})
    assert world.cursors("k8s") == {"all": "2"}
    assert (len(stream.polls), stream.watched_from) == (1, ["1"])
    until(lambda: world.health("k8s", "watch")["state"] == "ok")


def test_a_stream_that_goes_on_follows_a_configuration_that_was_read_again(world, stream):
    daemon = world.start()
    until(lambda: stream.watched_from)
    stream.tell(seen("a", parameters={"RUN_ID": "r"}))
    until(lambda: "a" in world.instances())
    rule = LinkRule(name="by id", automation="nightly", run_key="parameters.RUN_ID", create_run=True)
    settings = replace(world.settings, links=(rule,))
    rules = world.store.write(lambda uow: register(uow, settings), actor="config").rules
    daemon.replace(settings, rules, dict(world.feeds))
    stream.tell(seen("b", parameters={"RUN_ID": "s"}))
    until(lambda: "b" in world.instances())
    with world.store.reading() as uow:
        assert [run.correlation_id for run in uow.runs.list()] == ["s"]
    assert stream.watched_from == ["1"]


def test_a_stream_that_ended_is_taken_up_where_it_ended(world, stream):
    world.start()
    stream.tell(seen("a"))
    until(lambda: "a" in world.instances())
    stream.news.put(None)
    until(lambda: len(stream.watched_from) == 2)
    assert stream.watched_from[1] == "2"
    assert len(stream.polls) == 1


def test_a_lost_stream_backs_off_and_goes_on_from_the_stored_version(world, stream):
    world.start()
    stream.tell(seen("a"))
    until(lambda: "a" in world.instances())
    stream.news.put(TransientError("connection reset", retry_after_s=0.0))
    until(lambda: world.health("k8s", "watch")["state"] == "lost")
    stream.tell(seen("a", S.FAILED))
    until(lambda: world.statuses() == {"a": "FAILED"})
    assert set(stream.watched_from) <= {"1", "2"}
    until(lambda: world.health("k8s", "watch")["failures"] == 0)


def test_an_expired_place_makes_the_poll_come_at_once_without_cursors_and_find_what_vanished(world, stream):
    stream.listed = {"a": seen("a"), "gone": seen("gone")}
    world.start()
    until(lambda: stream.watched_from)
    del stream.listed["gone"]
    stream.listed["b"] = seen("b", S.COMPLETED)
    stream.version = 90
    stream.news.put(CursorExpired("410 Gone"))
    until(lambda: len(stream.watched_from) == 2)
    assert stream.polls == [{}, {}]
    assert stream.watched_from == ["1", "90"]
    assert world.statuses() == {"a": "PROCESSING", "gone": "PROCESSING", "b": "COMPLETED"}
    stream.news.put(CursorExpired("410 Gone"))
    until(lambda: world.instances()["gone"]["vanished_at"])


def test_a_bug_in_the_stream_leaves_the_poll_alone(world, stream, caplog):
    world.start()
    until(lambda: stream.watched_from)
    stream.news.put(ZeroDivisionError("in the watch"))
    until(lambda: world.health("k8s", "watch")["state"] == "faulty")
    assert world.health("k8s")["state"] == "ok"
    assert len([r for r in caplog.records if "in the watch" in r.getMessage()]) == 1


def test_it_ends_with_the_daemon(world, stream):
    world.start()
    until(lambda: stream.watched_from)
    assert world.stop() < 15
    assert world.error is None
