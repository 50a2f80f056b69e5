"""The event stream: what it stirs, how it is cut, how it ends; against a small server on loopback."""

import json
import threading
import time

import pytest
from fake_buildbot import RECORDINGS
from scripted_buildbot import BuildbotEngine

import runlink.testing
from runlink.spi import CursorExpired, TransientError
from runlink.testing import Host, Reply
from runlink_buildbot import BuildbotAdapter
from runlink_buildbot.stream import _Events, stirred_by

FRAMES = [
    frame["line"]
    for frame in json.loads((RECORDINGS / "090_sse_builds.json").read_text("utf-8"))["frames"]
    if "line" in frame
]
RECORDED = "\n".join([*FRAMES, ""]).encode()


def events(raw, size):
    parser = _Events()
    return [event for start in range(0, len(raw), size) for event in parser.feed(raw[start : start + size])]


@pytest.mark.parametrize("size", [1, 7, 64, 4096, len(RECORDED)])
def test_the_recorded_stream_however_it_is_cut(size):
    told = events(RECORDED, size)
    assert told[0][0] == "handshake"
    assert len(told) == FRAMES.count("")
    assert {name for name, _ in told[1:]} == {"event"}
    assert told == events(RECORDED, len(RECORDED))


def test_update_comes_before_new_and_stirs_nothing():
    """For every build of the recording; what it shows is read by REST, so the order does not matter."""
    changes = [tuple(json.loads(data)["key"][1:]) for name, data in events(RECORDED, 4096) if name == "event"]
    first = {}
    for build, change in changes:
        first.setdefault(build, change)
    assert set(first.values()) == {"update"}
    stirred = [stirred_by(data) for name, data in events(RECORDED, 4096) if name == "event"]
    assert len([one for one in stirred if any(one)]) == sum(change != "update" for _, change in changes)
    assert set().union(*(one.requests for one in stirred)) == {1, 2, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize(
    ("key", "message", "requests", "builds"),
    [
        (["buildrequests", "3", "new"], {"buildrequestid": 3}, {3}, set()),
        (["buildrequests", "3", "unclaimed"], {"buildrequestid": 3}, {3}, set()),
        (["builds", "9", "new"], {"buildid": 9, "buildrequestid": 3}, {3}, set()),
        (["steps", "5", "started"], {"stepid": 5, "buildid": 9}, set(), {9}),
        (["steps", "5", "updated"], {"stepid": 5, "buildid": 9}, set(), set()),
        (["builds", "9", "new"], {}, set(), set()),
        (["builds"], {}, set(), set()),
    ],
)
def test_what_stirs(key, message, requests, builds):
    told = stirred_by(json.dumps({"key": key, "message": message}))
    assert (told.requests, told.builds) == (requests, builds)


def test_an_event_that_is_no_json_stirs_nothing():
    assert not any(stirred_by("7efd2ea3"))


# --- a watch ----------------------------------------------------------------------------------------------------------


class Watched:
    """A watch in a thread of its own."""

    def __init__(self, host):
        self.pages, self.error, self.told = [], None, threading.Condition()
        self._host = host
        self.thread = threading.Thread(target=self._run, args=(host.cursors(),), daemon=True)
        self.thread.start()

    def _run(self, cursors):
        try:
            for page in self._host.adapter.watch(cursors):
                with self.told:
                    self.pages.append(page)
                    self.told.notify_all()
        except Exception as error:
            self.error = error
        finally:
            with self.told:
                self.told.notify_all()

    def until(self, done):
        with self.told:
            assert self.told.wait_for(lambda: done(self), 10.0), (self.pages, self.error)

    @property
    def statuses(self):
        return [(one.external_id, str(one.status)) for page in self.pages for one in page.observations]


@pytest.fixture
def engine():
    with BuildbotEngine() as running:
        yield running


class Quick(BuildbotAdapter):
    heartbeat_s = 0.05
    pause_s = 0.01


@pytest.fixture
def host(engine):
    with Host(Quick, engine.url, now=lambda: engine.now) as made:
        made.turn()
        yield made


def test_the_handshake_is_the_first_heartbeat(engine, host):
    watched = Watched(host)
    watched.until(lambda it: it.pages)
    assert watched.pages[0].observations == ()


def test_what_passed_before_the_stream_began_is_caught_up_with(engine, host):
    run = engine.start()
    watched = Watched(host)
    watched.until(lambda it: it.statuses)
    assert watched.statuses == [(engine.external_id(run), "PROCESSING")]
    assert any(page.cursors for page in watched.pages)


def test_what_happens_is_told_from_first_to_last(engine, host):
    watched = Watched(host)
    watched.until(lambda it: it.pages)
    run = engine.start(pending=True)
    name = engine.external_id(run)
    watched.until(lambda it: (name, "PENDING") in it.statuses)
    engine.begin(run)
    watched.until(lambda it: (name, "PROCESSING") in it.statuses)
    engine.end(run)
    watched.until(lambda it: (name, "COMPLETED") in it.statuses)


def test_silence_has_a_heartbeat_that_asked_the_master(engine, host):
    watched = Watched(host)
    before = engine.requests
    watched.until(lambda it: len(it.pages) >= 5)
    assert engine.requests - before >= 4


def test_a_stream_that_the_master_lost_is_an_end(engine, host):
    """The connection stands, and the master knows nothing of it: it was restarted behind a proxy."""
    watched = Watched(host)
    watched.until(lambda it: len(it.pages) >= 2)
    engine._streams.clear()
    watched.thread.join(10)
    assert (watched.thread.is_alive(), watched.error) == (False, None)


def test_a_master_that_goes_ends_the_stream_and_the_next_one_catches_up(engine, host):
    watched = Watched(host)
    watched.until(lambda it: it.pages)
    engine.restart()
    watched.thread.join(10)
    assert not watched.thread.is_alive()
    assert watched.error is None or isinstance(watched.error, TransientError)
    run = engine.start()
    again = Watched(host)
    again.until(lambda it: it.statuses)
    assert again.statuses == [(engine.external_id(run), "PROCESSING")]


def test_a_database_made_anew_is_an_expired_place(engine, host):
    engine.start()
    host.turn()
    engine.reset()
    watched = Watched(host)
    watched.thread.join(10)
    assert isinstance(watched.error, CursorExpired)


def test_without_a_place_there_is_nothing_to_watch_from(host):
    with pytest.raises(CursorExpired, match="poll first"):
        next(host.adapter.watch({}))


def test_close_unblocks_it_within_a_second(engine):
    """With the heartbeat of real life, half a minute."""
    with Host(BuildbotAdapter, engine.url, now=lambda: engine.now) as host:
        host.turn()
        watched = Watched(host)
        watched.until(lambda it: it.pages)
        began = time.monotonic()
        host.hosted.close()
        watched.thread.join(10)
        assert time.monotonic() - began < 1.0
        assert isinstance(watched.error, TransientError)


def test_a_watch_that_is_let_go_of_leaves_no_thread(engine, host):
    pages = host.adapter.watch(host.cursors())
    next(pages)
    assert any(thread.name == "buildbot-stream" for thread in threading.enumerate())
    pages.close()
    assert not any(thread.name == "buildbot-stream" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404, {}, b"no"), "no event stream"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), "no stream of events"),
        (Reply(200, {"Content-Type": "text/event-stream"}, b""), "no handshake"),
        (Reply(503, {}, b""), "503"),
    ],
)
def test_what_is_no_stream(reply, words):

    def handler(method, path, headers, body):
        return reply if path.startswith("/sse/") else Reply(200, {}, b"{}")

    with runlink.testing.serve_exchanges(handler) as server:
        built = runlink.testing.build(BuildbotAdapter, server.url)
        with pytest.raises(TransientError, match=words):
            list(built.watch({"buildrequests": '{"v":1,"head":[0,0],"ended":0}'}))
        runlink.testing.close(built)
