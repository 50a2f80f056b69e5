"""The stream of events: what it asks, what it tells, how it ends. The contract has what holds for any stream."""

import threading

import pytest
from recorded_story import END, recording

from runlink.spi import CredentialsRejected, CursorExpired, Page, TransientError
from runlink.testing import Reply
from runlink_prefect import stream, watching
from runlink_prefect.events import read_event

QUIET = "2026-11-23T14:40:20Z"
LONG = "1ed49654-c851-4b5d-8e24-8fef69df299f"


@pytest.fixture
def polled(prefect, host):
    """A host after a turn, with its cursors."""
    prefect.at(QUIET)
    host.turn()
    return host.cursors()


def first_news(pages):
    return next(page for page in pages if page.observations)


def test_until_is_said_and_far_ahead(prefect, host, polled):
    """100: without it the server's is *now*, and after what was there the stream is silent for ever."""
    pages = host.adapter.watch(polled)
    assert next(pages) == Page()
    prefect.at(END)
    told = {each.external_id for each in first_news(pages).observations}
    assert LONG in told
    pages.close()
    (asked,) = prefect.streams
    assert asked["occurred"]["until"] > "2036"
    assert asked["event"] == {"prefix": ["prefect.flow-run."], "exclude_name": ["prefect.flow-run.heartbeat"]}


def test_what_is_told_is_read_and_no_event_is_believed(prefect, host, polled):
    pages = host.adapter.watch(polled)
    next(pages)
    prefect.at(END)
    told = {each.external_id: each for each in first_news(pages).observations}
    assert (told[LONG].status, told[LONG].attempt) == ("PROCESSING", 2)  # the event said Cancelled, long ago
    pages.close()


def test_a_watch_moves_no_cursor(prefect, host, polled):
    """What is on the socket may not be in the database yet, nor ever: a poll from there would miss its place."""
    pages = host.adapter.watch(polled)
    next(pages)
    prefect.at(END)
    assert first_news(pages).cursors == {}
    pages.close()


def test_it_signs_in_with_what_the_server_has(prefect, make_host):
    prefect.at(QUIET)
    prefect.token = "admin:p"
    host = make_host(config={"auth_string": "admin:p"})
    host.turn()
    pages = host.adapter.watch(host.cursors())
    assert next(pages) == Page()
    pages.close()


def test_a_token_that_is_refused(prefect, make_host):
    """Closed with 1008, without a message."""
    prefect.at(QUIET)
    host = make_host(config={"auth_string": "admin:wrong"})
    host.turn()
    prefect.token = "admin:right"
    with pytest.raises(CredentialsRejected, match="Invalid token"):
        list(host.adapter.watch(host.cursors()))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(404, {}, b""), TransientError, "no stream of events"),
        (Reply(200, {}, b"<html>"), TransientError, "proxy"),
        (Reply(502, {}, b""), TransientError, "502"),
        (Reply(403, {}, b""), CredentialsRejected, "403"),
    ],
)
def test_where_no_websocket_opens(reply, error, words, prefect, host, polled):
    prefect.fault = lambda _method, path, _body: reply if path == "/api/events/out" else None
    with pytest.raises(error, match=words):
        list(host.adapter.watch(polled))


def test_without_a_poll_there_is_no_place_to_watch_from(prefect, host):
    with pytest.raises(CursorExpired, match="nothing was polled yet"):
        list(host.adapter.watch({}))


def test_without_events_there_is_nothing_to_watch(prefect, host):
    prefect.at(QUIET)
    prefect.tables.events = []
    host.turn()
    prefect.at(END)
    prefect.tables.events = []
    prefect.wait(120)
    host.turn()
    with pytest.raises(TransientError, match="keeps no events") as caught:
        list(host.adapter.watch(host.cursors()))
    assert caught.value.retry_after_s == watching.SILENT_S


def test_a_close_from_another_thread_ends_it_within_a_second(prefect, host, polled):
    ended = threading.Event()

    def follow():
        with pytest.raises(TransientError, match="closed"):
            list(host.adapter.watch(polled))
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    while not prefect.streams:
        pass
    host.hosted.close()
    assert ended.wait(1.0)
    thread.join()


def test_a_restart_of_the_server_is_a_fault_and_no_end(prefect, host, polled):
    pages = host.adapter.watch(polled)
    next(pages)
    prefect.drop_connections()
    with pytest.raises(TransientError, match="broke off"):
        list(pages)


def test_the_token_is_in_no_log(prefect, make_host, caplog):
    """At DEBUG the websocket library writes down each message."""
    caplog.set_level("DEBUG")
    prefect.at(QUIET)
    prefect.token = "admin:s3cret"
    host = make_host(config={"auth_string": "admin:s3cret"})
    host.turn()
    pages = host.adapter.watch(host.cursors())
    next(pages)
    pages.close()
    ours = [record for record in caplog.records if record.name != "websockets.server"]  # the test's own side
    assert ours
    assert "s3cret" not in " ".join(record.getMessage() for record in ours)
    assert stream._QUIET.getEffectiveLevel() > 10


@pytest.mark.parametrize("name", ["100", "101"])
def test_each_recorded_event_is_understood(name):
    events = [frame["msg"]["event"] for frame in recording(name)["frames"] if frame["msg"].get("type") == "event"]
    read = [read_event(event) for event in events if event["event"].startswith("prefect.flow-run.")]
    assert [event.id for event in read]
    assert {event.run for event in read if event.leaves_an_end} <= {LONG, "233c450f-174b-426c-88f2-1aa653e08dbb"}
