"""The cursor: what it keeps, how large it gets, and what it does with another release's."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from runlink.spi import CursorExpired
from runlink_prefect.events import Event, read_event
from runlink_prefect.place import OVERLAP, Place, tail

AT = datetime.fromisoformat("2026-11-23T14:40:00.123456+00:00")
RUN = "6bfcf25e-7d10-4d2a-9d92-6d452a832d39"


def event(number, seconds=0.0):
    return Event(f"01a208d8-3b42-7357-a911-{number:012x}", AT + timedelta(seconds=seconds), RUN, leaves_an_end=False)


def test_it_comes_back_as_it_was():
    place = Place(since=AT, swept=AT).saw([event(1), event(2, 1.0)])
    again = replace(place, again={RUN: AT}, silent=True, before=AT).swept_at(AT, {event(3).id: AT})
    loaded = Place.load(again.dump())
    assert (loaded.since, loaded.swept, loaded.last) == (AT + timedelta(seconds=1), AT, tail(event(2).id))
    assert (loaded.again, loaded.silent, loaded.before) == ({RUN: AT.replace(microsecond=0)}, True, AT)
    assert loaded.ends.keys() == {tail(event(3).id)}
    assert loaded.told.keys() == place.told.keys()
    assert loaded.dump() == again.dump()


def test_the_last_is_the_latest_in_whatever_order_they_come():
    place = Place(since=AT, swept=AT).saw([event(2, 5), event(1), event(3, 4)])
    assert (place.last, place.since) == (tail(event(2).id), AT + timedelta(seconds=5))
    assert all(place.heard_of(event(n).id) for n in (1, 2, 3))


def test_what_is_older_than_the_overlap_is_forgotten():
    place = Place(since=AT, swept=AT).saw([event(1), event(2, OVERLAP.total_seconds() + 1)])
    assert not place.heard_of(event(1).id)


def test_a_busy_minute_fits_into_what_the_host_takes():
    place = Place(since=AT, swept=AT, silent=True).saw([event(n, n / 1000) for n in range(20_000)])
    place = place.swept_at(AT, {event(n).id: AT for n in range(20_000, 40_000)})
    place = replace(place, again={event(n).id: AT + timedelta(days=1) for n in range(2_000)})
    assert len(place.dump()) < 65_536
    assert place.heard_of(event(19_999).id)


@pytest.mark.parametrize(
    "text", ["x", "[]", "-1", "{}", '{"v": 2}', '{"v": 1, "since": 7}', '{"v":1,"since":"x","swept":"x"}']
)
def test_other_cursors(text):
    with pytest.raises(CursorExpired, match="not one of this plugin's"):
        Place.load(text)


def test_an_end_is_known_by_the_id_of_its_state():
    """Ends are remembered while events are off only: the event of a state has the id of that state."""
    place = Place(since=AT, swept=AT, silent=True)
    assert place.swept_at(AT, {event(7).id: AT}).heard_of(event(7).id)
    assert not replace(place, silent=False).swept_at(AT, {event(7).id: AT}).heard_of(event(7).id)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"id": "1", "occurred": "x", "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"}},
        {"id": "1", "occurred": "2026-11-23T14:40:00Z", "resource": {"prefect.resource.id": "prefect.flow-run.7"}},
        {"id": "1", "occurred": None, "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"}},
    ],
)
def test_what_is_no_event(raw):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        read_event(raw)
