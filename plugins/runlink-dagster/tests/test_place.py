"""Where polling goes on: clocks that differ, long listings, crashes, and cursors of others."""

from datetime import UTC, datetime, timedelta

import pytest

from runlink.spi import CursorExpired, ExecutionStatus
from runlink.testing import Crash
from runlink_dagster.place import OVERLAP_S, PARTITION, Place
from runlink_dagster.runs import PAGE_RUNS

AT = 1_795_445_000.0


def since(host):
    return Place.load(host.cursors()[PARTITION]).since


@pytest.mark.parametrize("cursor", ["{", "[]", '{"v":2}', '{"v":1}', '{"v":1,"since":"x"}'])
def test_a_cursor_that_is_not_ours(cursor, adapter):
    with pytest.raises(CursorExpired):
        list(adapter.poll({PARTITION: cursor}))


@pytest.mark.parametrize("place", [Place(since=1.5), Place(since=1.5, until=2.25, after="a-b")])
def test_a_cursor_is_read_as_it_was_written(place):
    assert Place.load(place.dump()) == place


def test_one_workers_clock_that_is_ahead_hides_nothing(engine, make_host, make_run):
    """A stamp of next year must not move the place past what everybody else will stamp."""
    engine.clock = AT + 20
    engine.runs = [make_run(1, updateTime=AT + 31_000_000)]
    host = make_host()
    host.turn()
    assert since(host) == AT + 20
    engine.runs.append(make_run(2, updateTime=AT + 60))
    engine.clock = AT + 61
    host.turn()
    assert len(host.table()) == 2


def test_without_a_date_the_latest_stamp_is_the_place(engine, make_host, make_run):
    engine.clock = None
    engine.runs = [make_run(1, updateTime=AT), make_run(2, updateTime=AT + 7)]
    host = make_host()
    host.turn()
    assert since(host) == AT + 7
    engine.runs.append(make_run(3, updateTime=AT + 8))
    host.turn()
    assert len(host.table()) == 3


def test_the_hosts_clock_does_not_matter(engine, make_host):
    years_ahead = datetime(2031, 1, 1, tzinfo=UTC)
    host = make_host(now=lambda: years_ahead)
    engine.at(3)
    host.turn()
    for moment in (7, 12):
        engine.at(moment)
        host.turn()
    assert host.table()["8527bacc-fa6b-4fbb-8f64-489f3c7c80ea"]["status"] is ExecutionStatus.COMPLETED


def test_what_is_updated_while_later_pages_are_read_is_not_lost(engine, make_host, make_run):
    """The place is what the engine's clock said when the first page was read, not the latest stamp on any."""
    engine.runs = [make_run(number, updateTime=AT + number) for number in range(1, PAGE_RUNS + 11)]
    engine.clock = AT + 200
    host, asked = make_host(), 0
    host.check()

    def time_goes_by():
        nonlocal asked
        asked += 1
        if asked == 3:  # with the second page: an old run was updated an hour later, and so was one not listed any more
            engine.clock = AT + 4_000
            engine.runs[0]["updateTime"] = AT + 3_900
            engine.runs.append(make_run(500, updateTime=AT + 300))

    engine.before_each = time_goes_by
    host.turn()
    assert len(host.table()) == PAGE_RUNS + 10
    host.turn()
    assert len(host.table()) == PAGE_RUNS + 11


def test_an_idle_engine_is_left_in_peace(engine, make_host, make_run):
    """After ten minutes without news the place follows the engine's clock, and what is known is not listed any more."""
    engine.runs = [make_run(number) for number in range(1, 2 * PAGE_RUNS)]
    engine.clock = max(row["updateTime"] for row in engine.runs)
    host = make_host()
    host.turn()
    before = since(host)
    engine.clock += 2 * OVERLAP_S
    assert list(host.adapter.poll(host.cursors())) == []
    engine.clock += 1
    (page,) = host.adapter.poll(host.cursors())
    host.turn()
    assert (page.observations, since(host)) == ([], before + OVERLAP_S + 1)
    engine.asked()
    engine.clock += 600
    host.turn()
    assert engine.asked() == ["Runs"]


def test_a_long_listing_goes_on_where_it_was_killed(engine, make_host, make_run):
    engine.runs = [make_run(number) for number in range(1, 6 * PAGE_RUNS)]
    host = make_host()
    with pytest.raises(Crash):
        host.turn(crash_after=2)
    assert len(host.table()) == 2 * PAGE_RUNS
    host.restart()
    engine.asked()
    list_ = list(host.adapter.poll(host.cursors()))
    host.turn()
    assert sum(len(page.observations) for page in list_) == 4 * PAGE_RUNS - 1
    assert len(host.table()) == 6 * PAGE_RUNS - 1
    assert max(len(page.cursors[PARTITION]) for page in list_) < 200


def test_what_is_new_while_a_killed_listing_waits_is_found_after_it(engine, make_host, make_run):
    engine.runs = [make_run(number) for number in range(1, 3 * PAGE_RUNS)]
    engine.clock = AT + 3 * PAGE_RUNS
    host = make_host()
    with pytest.raises(Crash):
        host.turn(crash_after=1)
    engine.clock += 86_400
    engine.runs.append(make_run(9_000, updateTime=engine.clock - 40_000))
    host.restart()
    host.turn()
    host.turn()
    assert len(host.table()) == 3 * PAGE_RUNS


def test_the_first_look_shows_the_window_and_all_that_is_open(engine, make_host, make_run):
    window = datetime.fromtimestamp(AT + 100_000, UTC)
    engine.runs = [
        make_run(1),  # ended before
        make_run(2, "STARTED"),  # begun before, and nothing heard of it since
        make_run(3, "QUEUED", startTime=None),
        make_run(100_001),
    ]
    host = make_host(since=window + timedelta(seconds=OVERLAP_S))
    host.turn()
    assert sorted(int(name[-12:]) for name in host.table()) == [2, 3, 100_001]


def test_a_poll_without_cursors_tells_everything_again(engine, make_host, make_run):
    engine.runs = [make_run(1), make_run(2)]
    host = make_host()
    host.turn()
    assert len([one for page in host.adapter.poll({}) for one in page.observations]) == 2


def test_a_poll_from_an_older_cursor_tells_again_what_came_after_it(engine, make_host, make_run):
    """The store was restored from a copy while the daemon lived on."""
    engine.runs, engine.clock = [make_run(1)], AT + 12
    host = make_host()
    host.turn()
    older = dict(host.cursors())
    engine.runs.append(make_run(2))
    engine.clock += 1
    host.turn()
    again = [one.external_id for page in host.adapter.poll(older) for one in page.observations]
    assert engine.runs[1]["runId"] in again
