"""Plugins that break their promises: the daemon and every other engine live on, and it is said once, clearly."""

import itertools
import logging
import socket
import sys
import threading
from dataclasses import replace
from datetime import datetime

import pytest
from tests.engines.puppets import Counting, Puppet, S, hang_once, lines_about, puppet, seen, turns, until

from runlink.application.settings import Secret
from runlink.spi import ConfigRejected, ExecutionStatus, Observation, Page


class Evil(BaseException):
    """Neither an Exception nor printable."""

    def __str__(self):
        raise RuntimeError("no words")


def raises(_self, _cursors):
    raise ZeroDivisionError("1/0")


def raises_midway(_self, _cursors):
    yield Page(observations=(seen("a"),))
    raise KeyError("second page")


def exits(_self, _cursors):
    sys.exit(3)


def evil(_self, _cursors):
    raise Evil


def interrupts(_self, _cursors):
    raise KeyboardInterrupt


def same_cursor_for_ever(_self, _cursors):
    return itertools.repeat(Page(cursors={"all": "7"}))


def same_page_for_ever(_self, _cursors):
    return itertools.repeat(Page(observations=(seen("a"),)))


def naive_time(_self, _cursors):
    yield Page(observations=(seen("a", started_at=datetime(2026, 1, 1)),))  # noqa: DTZ001


def unknown_status(_self, _cursors):
    yield Page(
        observations=(seen("a"), Observation(external_id="b", workflow="w", status="EXPLODED", native_status="x"))
    )


def long_cursor(_self, _cursors):
    yield Page(observations=(seen("a"),), cursors={"fine": "1", "job": "x" * 65_537})


def no_pages(_self, _cursors):
    yield {"observations": []}


def nothing(_self, _cursors):
    return None


def number_as_cursor(_self, _cursors):
    yield Page(cursors={"all": 7})


def constructor_raises(self, _context):
    raise ValueError("no such option")


def check_raises(_self):
    raise AttributeError("version")


def check_rubbish(_self):
    return {"product": "x"}


def check_exits(_self):
    raise SystemExit


def fine(_self, _cursors):
    yield Page(observations=(seen("a"),))


def refetch_raises(_self, _ids):
    raise IndexError("nothing there")


def refetch_rubbish(_self, _ids):
    return [["a"]]


HOSTILE = {
    "poll raises": (puppet(raises), "ZeroDivisionError: 1/0"),
    "poll raises midway": (puppet(raises_midway), "KeyError: 'second page'"),
    "poll exits": (puppet(exits), "SystemExit: 3"),
    "poll raises what cannot be printed": (puppet(evil), "faulty: Evil"),
    "poll raises KeyboardInterrupt": (puppet(interrupts), "KeyboardInterrupt"),
    "the same cursor for ever": (puppet(same_cursor_for_ever), "the same page 11 times, with cursors {'all': '7'}"),
    "the same page for ever": (puppet(same_page_for_ever), "the same page 11 times"),
    "naive time": (puppet(naive_time), "has no time zone"),
    "unknown status": (puppet(unknown_status), "'EXPLODED'; give an ExecutionStatus"),
    "cursor over 64 KiB": (puppet(long_cursor), "cursor of partition 'job' has 65537 bytes"),
    "no Page": (puppet(no_pages), "gave dict where a Page belongs"),
    "no iterator": (puppet(nothing), "'NoneType' object is not iterable"),
    "a number as cursor": (puppet(number_as_cursor), "it must be text"),
    "constructor raises": (puppet(fine, __init__=constructor_raises), "could not be made: ValueError: no such option"),
    "check raises": (puppet(fine, check=check_raises), "AttributeError: version"),
    "check gives rubbish": (puppet(fine, check=check_rubbish), "check() gave dict"),
    "check exits": (puppet(fine, check=check_exits), "SystemExit"),
    "refetch raises": (
        puppet(lambda _self, _cursors: iter(()), refetch=refetch_raises),
        "IndexError: nothing there",
    ),
    "refetch gives rubbish": (
        puppet(lambda _self, _cursors: iter(()), refetch=refetch_rubbish),
        "gave list where a Page belongs",
    ),
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request, world):
    """A feed of the engine `bad` with one open instance, whose plugin then turns bad."""
    bad_class, reason = request.param
    feed = world.engine("bad", puppet(lambda _self, _cursors: iter([Page(observations=(seen("open"),))])))
    assert feed.run() == 0.02
    feed.close()
    feed = world.engine("bad", bad_class)
    return feed, reason


def test_it_is_said_once_and_shown_and_said_once_when_it_is_over(hostile, world, caplog):
    feed, reason = hostile
    caplog.clear()
    waits = turns(feed, 4)
    (line,) = lines_about(caplog, "bad")
    assert reason in line
    assert "\n" not in line
    health = feed.health_row()
    assert (health.state, health.failures) == ("faulty", 4)
    assert reason.removeprefix("faulty: ") in health.last_error
    for wait_s, middle_s in zip(waits, (5, 10, 20, 40), strict=True):
        assert 0.75 * middle_s <= wait_s <= 1.25 * middle_s
    world.classes["bad"] = Counting
    assert feed.run() == 0.02
    assert [text.split(" after")[0] for text in lines_about(caplog, "bad")[1:]] == ["bad: back"]
    assert feed.health.state == "ok"


def test_the_daemon_and_another_engine_live_on(hostile, world):
    feed, _ = hostile
    world.engine("good", Counting)
    world.start()
    until(lambda: feed.health.failures, "the failure")
    turns = len(world.instances("good"))
    until(lambda: len(world.instances("good")) >= turns + 10, "ten more turns of the other engine")
    assert until(lambda: world.health("bad")["state"] == "faulty")
    assert world.health("bad")["last_error"]
    assert world.health("good")["state"] == "ok"


def test_nothing_of_a_refused_page_is_stored(world):
    feed = world.engine("bad", puppet(long_cursor))
    feed.run()
    assert (world.instances("bad"), world.cursors("bad")) == ({}, {})


def test_pages_before_the_fault_are_kept_and_the_first_sync_stays_a_baseline(world):
    feed = world.engine("bad", puppet(raises_midway))
    feed.run()
    assert list(world.instances("bad")) == ["a"]
    world.classes["bad"] = puppet(lambda _self, _cursors: iter([Page(observations=(seen("a"), seen("b")))]))
    feed.run()
    assert sorted(world.instances("bad")) == ["a", "b"]
    assert world.events() == []


def test_large_metadata_is_left_out_and_said_once(world, caplog):
    big = {"log": "x" * 10_000_000}
    feed = world.engine("big", puppet(lambda _s, _c: iter([Page(observations=(seen("a", metadata=big), seen("b")))])))
    for _ in range(4):
        assert feed.run() == 0.02
    assert set(world.instances()) == {"a", "b"}
    assert "left out" in str(world.instances()["a"]["instance_metadata"])
    assert [text.split(";")[0] for text in lines_about(caplog, "big")] == ["big: 1 items set aside"]
    assert feed.health.state == "ok"


def test_two_observations_of_one_id_are_taken_in_their_order(world):
    pages = [Page(observations=(seen("a", S.PENDING), seen("a", S.PROCESSING), seen("a", S.FAILED, message="oom")))]
    feed = world.engine("twice", puppet(lambda _s, _c: iter(pages)))
    for _ in range(3):
        assert feed.run() == 0.02
    assert world.statuses() == {"a": "FAILED"}
    assert world.instances()["a"]["attempt"] == 1


def test_an_item_that_the_store_refuses_is_set_aside_and_the_rest_kept(world, caplog):
    odd = seen("odd", message={"not": "text"})
    runs = (*(seen(f"a{n}") for n in range(5)), odd, *(seen(f"b{n}") for n in range(5)))
    feed = world.engine("odd", puppet(lambda _s, _c: iter([Page(observations=runs, cursors={"all": "1"})])))
    for _ in range(3):
        assert feed.run() == 0.02
    assert len(world.instances()) == 10
    assert world.cursors("odd") == {"all": "1"}
    assert [text.split(";")[0] for text in lines_about(caplog, "odd")] == ["odd: 1 items set aside"]


@pytest.mark.parametrize("place", ["poll", "__init__", "check"])
@pytest.mark.parametrize("error", [RuntimeError, ConfigRejected])
def test_a_secret_shows_in_neither_line_nor_traceback_nor_health(world, caplog, tmp_path, place, error):
    token = tmp_path / "token"
    token.write_text("hunter2-token")

    def leaks(self, given=None):
        config = self.context.config if place != "__init__" else given.config
        raise error(f"bad token {config['token']}")

    schema = {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}}
    cls = puppet(**{"poll": fine, "config_schema": schema, place: leaks})
    feed = world.engine("leaky", cls, options={"token": Secret(file=token)})
    feed.run()
    formatter = logging.Formatter()
    text = "\n".join(formatter.format(record) for record in caplog.records)
    assert "bad token [secret]" in text
    assert ("Traceback" in text) == (error is RuntimeError and place != "__init__")
    assert "hunter2" not in text + feed.health.last_error


# --- what hangs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def wake():
    event = threading.Event()
    yield event
    event.set()


def sleeper(wake, *, asleep=None):
    def poll(_self, _cursors):
        if asleep is not None:
            asleep.set()
        wake.wait()
        yield Page(observations=(seen("zombie"),), cursors={"all": "666"})

    return puppet(poll)


@pytest.fixture
def silent_url():
    """An engine that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hung_turn_is_left_behind_and_nothing_of_it_is_ever_stored(world, wake, caplog):
    feed = world.engine("hung", sleeper(wake), poll_deadline_s=0.5)
    zombie = hang_once(feed)
    assert feed.left_behind == 1
    assert lines_about(caplog, "hung") == ["hung: lost: a poll hung beyond poll_deadline_s (0.5 s) and was abandoned"]
    world.classes["hung"] = Counting
    feed.settings = replace(feed.settings, poll_deadline_s=30.0)  # a busy machine is no hang
    assert feed.run() == 0.02
    wake.set()
    zombie.join(20)
    assert not zombie.is_alive()
    assert list(world.instances("hung")) == ["1"]
    assert world.cursors("hung") == {"all": "1"}
    assert feed.left_behind == 0
    assert feed.run() == 0.02
    assert feed.health.state == "ok"


@pytest.mark.parametrize("place", ["__init__", "check", "refetch"])
def test_it_may_hang_anywhere(world, wake, place):
    if place == "refetch":
        world.engine("hung", puppet(lambda _s, _c: iter([Page(observations=(seen("open"),))]))).run()

    def hangs(self, *_given):
        wake.wait()
        if place == "__init__":
            Puppet.__init__(self, *_given)
        if place == "check":
            return Puppet.check(self)
        return iter([Page(observations=(seen("zombie"),))])

    def poll(_self, _cursors):
        yield Page(cursors={"all": "1"})

    feed = world.engine("hung", puppet(poll, **{place: hangs}), poll_deadline_s=0.5)
    product = feed.engine.product
    zombie = hang_once(feed)
    wake.set()
    zombie.join(20)
    assert not zombie.is_alive()
    assert "zombie" not in world.instances("hung")
    with world.store.reading() as uow:
        assert uow.engines.get(feed.engine.id).product == product


def test_at_three_hanging_threads_the_engine_waits_for_one_to_end(world, wake, caplog):
    feed = world.engine("hung", sleeper(wake), poll_deadline_s=0.5)
    zombies = [hang_once(feed) for _ in range(3)]
    assert feed.left_behind == 3
    before = threading.active_count()
    assert [feed.run() for _ in range(5)] == [60.0] * 5
    assert threading.active_count() == before
    assert feed.health.state == "stopped"
    assert feed.health.last_error.startswith("3 of its threads hang")
    assert len(lines_about(caplog, "hung")) == 2, "one when it was lost, one when it was stopped"
    wake.set()
    for zombie in zombies:
        zombie.join(20)
    world.classes["hung"] = Counting
    feed.settings = replace(feed.settings, poll_deadline_s=30.0)  # a busy machine is no hang
    assert feed.run() == 0.02
    assert feed.health.state == "ok"
    assert "zombie" not in world.instances("hung")


def test_an_adapter_whose_close_hangs_is_counted_too(world, wake):
    feed = world.engine("hung", puppet(raises, close=lambda _self: wake.wait()))
    for _ in range(3):
        feed.run()
    assert feed.left_behind == 3
    assert feed.run() == 60.0
    wake.set()
    until(lambda: feed.left_behind == 0)


@pytest.mark.parametrize("how", ["pure Python", "blocked read"])
def test_in_the_daemon_another_engine_goes_on_while_one_hangs(world, wake, silent_url, how, caplog):
    def reads(self, _cursors):
        self.context.http().get("/")
        yield Page()

    cls = sleeper(wake) if how == "pure Python" else puppet(reads)
    feed = world.engine("hung", cls, url=silent_url, poll_deadline_s=0.3, request_timeout_s=60)
    world.engine("good", Counting)
    world.start()
    until(lambda: world.instances("good"), "the first turn of the other")
    turns = len(world.instances("good"))
    until(lambda: len(world.instances("good")) >= turns + 10, "ten more turns")
    until(lambda: feed.health.state == "lost", "the loss")
    until(lambda: world.health("hung")["state"] == "lost")
    assert feed.left_behind == (1 if how == "pure Python" else 0)
    assert len(lines_about(caplog, "hung")) == 1
    turns = len(world.instances("good"))
    until(lambda: len(world.instances("good")) >= turns + 10, "ten more turns")


def test_a_connection_of_the_plugins_own_is_closed_by_its_close(world, silent_url):
    """A client that the host does not know of: only the adapter's `close` can end the read."""
    host, port = silent_url.removeprefix("http://").split(":")

    def poll(self, _cursors):
        with socket.create_connection((host, int(port))) as self.socket:
            self.socket.recv(1)
        yield Page()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)

    feed = world.engine("own", puppet(poll, close=close), poll_deadline_s=0.5)
    thread = threading.Thread(target=feed.run)
    thread.start()
    until(lambda: feed.is_overdue() or not thread.is_alive())
    thread.join(10)
    assert not thread.is_alive()
    assert feed.health.last_error == "a poll took longer than poll_deadline_s (0.5 s); its connections were closed"
    assert feed.health.state == "lost"


def test_a_status_is_checked_where_the_observation_is_made():
    with pytest.raises(ValueError, match="give an ExecutionStatus"):
        seen("a").__class__(external_id="a", workflow="w", status=ExecutionStatus.FAILED.value, native_status="x")
