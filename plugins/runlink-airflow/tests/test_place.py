"""Where polling goes on: windows on the engine's clock, overlap, page tokens, long first looks, deletion."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from runlink.spi import CursorExpired, TransientError
from runlink.testing import Crash
from runlink_airflow.place import OVERLAP, PARTITION, Place

AT = datetime(2026, 11, 23, 14, 40, tzinfo=UTC)


def told(pages):
    return [each for page in pages for each in page.observations]


def ended(row, at):
    moment = (AT + timedelta(seconds=at)).isoformat()
    return row | {"state": "success", "start_date": row["queued_at"], "end_date": moment}


def test_the_next_window_begins_before_the_last_poll_did(airflow, make_host, run_row):
    """`updated_at` is taken before the commit: a run that was touched earlier may show later."""
    host = make_host()
    airflow.now = AT
    airflow.add(ended(run_row(1), -300))
    host.turn()
    assert Place.load(host.cursors()[PARTITION]).since == AT - OVERLAP
    airflow.add(ended(run_row(2), -100))  # touched before the last poll began, committed after it
    airflow.now = AT + timedelta(seconds=15)
    host.turn()
    assert len(host.table()) == 2


def test_the_hosts_clock_does_not_matter(airflow, make_host):
    years_ahead = datetime(2031, 1, 1, tzinfo=UTC)
    host = make_host(now=lambda: years_ahead)
    for number in (3, 9, 14):
        airflow.at(number)
        host.turn()
    assert len(host.table()) == 8
    assert Place.load(host.cursors()[PARTITION]).since < datetime(2027, 1, 1, tzinfo=UTC)


def test_an_engine_whose_clock_was_set_back_loses_nothing_new(airflow, make_host, run_row):
    host = make_host()
    airflow.now = AT
    airflow.add(ended(run_row(1), 0))
    host.turn()
    airflow.now = AT - timedelta(hours=1)
    airflow.add(ended(run_row(2, at=-3600), -3600))
    host.turn()
    assert len(host.table()) == 2


def test_without_a_date_the_hosts_clock_stands_in(airflow, make_host, run_row):
    host = make_host(now=lambda: AT, still=True)
    airflow.now = AT - timedelta(days=300)
    airflow.add(ended(run_row(1), 0))
    real = airflow.answer

    def undated(request):
        answer = real(request)
        answer.headers.pop("date", None)
        return answer

    airflow.answer = undated
    host.turn()
    assert Place.load(host.cursors()[PARTITION]).since == AT - OVERLAP
    assert len(host.table()) == 1


def test_more_than_a_hundred_rows_come_in_pages(airflow, make_host, run_row):
    airflow.now = AT
    for number in range(1, 251):
        airflow.add(ended(run_row(number), 0))
    host = make_host()
    assert [len(page.observations) for page in host.adapter.poll({})] == [100, 100, 50]
    host.turn()
    assert len(host.table()) == 250


def test_a_running_run_that_is_touched_between_pages_shifts_nothing(airflow, make_host, run_row):
    """Rows move when they are ordered by `updated_at`; by `id` they stay where they are."""
    airflow.now = AT
    for number in range(1, 231):
        running = run_row(number) | {"state": "running", "start_date": AT.isoformat()}
        airflow.add(running)
    real = airflow.answer

    def touching(request):
        answer = real(request)
        airflow.now += timedelta(seconds=1)
        for row in airflow.runs[::3]:
            row["_updated_at"] = airflow.now
        return answer

    host = make_host()
    host.turn()
    airflow.answer = touching
    names = [each.external_id for each in told(host.adapter.poll(host.cursors()))]
    assert len(names) == len(set(names)) == 230


def test_a_long_first_look_goes_on_where_it_was_killed(airflow, make_host, run_row):
    airflow.now = AT
    for number in range(1, 451):
        airflow.add(ended(run_row(number), 0))
    host = make_host()
    with pytest.raises(Crash):
        host.turn(crash_after=2)
    assert len(host.table()) == 200
    host.restart()
    assert len(told(host.adapter.poll(host.cursors()))) == 250
    host.turn()
    assert len(host.table()) == 450
    airflow.runs[0] |= {"state": "queued", "start_date": None, "end_date": None, "_updated_at": AT}
    host.turn()
    assert host.table()["etl/r1@1795444800.000000"]["native_status"] == "queued"  # back at the first page


def test_a_page_token_that_the_engine_does_not_take_any_more(airflow, make_host):
    airflow.at(3)
    place = Place(since=AT, began_at=AT, after="nonsense")
    with pytest.raises(CursorExpired, match="page token"):
        list(make_host().adapter.poll({PARTITION: place.dump()}))


@pytest.mark.parametrize("cursor", ["{", "[]", '{"v":2}', '{"v":1}', '{"v":1,"since":"2026-01-01T00:00:00"}'])
def test_a_cursor_that_is_not_ours(cursor, airflow, adapter):
    with pytest.raises(CursorExpired):
        list(adapter.poll({PARTITION: cursor}))


def test_an_idle_window_is_moved_on_now_and_then(airflow, make_host, run_row):
    host = make_host()
    airflow.now = AT
    host.turn()
    before = dict(host.cursors())
    airflow.now += timedelta(minutes=5)
    assert list(host.adapter.poll(before)) == []
    host.turn()
    assert host.cursors() == before
    airflow.now += timedelta(minutes=10)
    host.turn()
    assert host.cursors() != before


def test_what_ended_before_the_window_is_left_out_and_what_is_open_is_not(airflow, make_host, run_row):
    host = make_host(since=AT)
    airflow.now = AT + timedelta(hours=1)
    airflow.add(ended(run_row(1), -60))
    airflow.add(run_row(2, at=-3600))  # waits in the queue of a paused DAG, touched an hour before the window
    airflow.add(ended(run_row(3), 60))
    host.turn()
    assert sorted(name.split("@")[0] for name in host.table()) == ["etl/r2", "etl/r3"]


# --- deletion: no tombstone ----------------------------------------------------------------------------------------


def test_a_deleted_run_is_gone_and_the_others_are_not(airflow, adapter, run_row):
    airflow.add(run_row(1))
    names = ["etl/r1@1795444800.000000", "etl/r2@1795444800.000000", "jenkins:7"]
    (page,) = adapter.refetch(names)
    assert [each.external_id for each in page.observations] == names[:1]
    assert page.gone == tuple(names[1:])


def test_a_run_id_that_was_used_again_is_another_run(airflow, adapter, run_row):
    airflow.add(run_row(1, at=60))
    (page,) = adapter.refetch(["etl/r1@1795444800.000000"])
    assert (page.gone, page.observations) == (("etl/r1@1795444800.000000",), [])


def test_a_row_that_makes_no_sense_is_not_gone(airflow, adapter, run_row):
    airflow.add(run_row(1))
    airflow.runs[0]["run_after"] = "some day"
    (page,) = adapter.refetch(["etl/r1@1795444800.000000"])
    assert (page.gone, len(page.unreadable)) == ((), 1)


def test_a_404_that_is_not_airflows_makes_nothing_gone(airflow, adapter):
    airflow.faults = lambda request: (
        httpx.Response(404, text="<html>") if request.url.path.endswith("/dagRuns/r1") else None
    )
    with pytest.raises(TransientError, match="not Airflow's"):
        list(adapter.refetch(["etl/r1@1795444800.000000"]))


def test_a_dag_we_may_not_read_any_more_is_neither_there_nor_gone(airflow, adapter, run_row):
    airflow.add(run_row(1))
    airflow.faults = lambda request: (
        httpx.Response(403, json={"detail": "Forbidden"}) if request.url.path.endswith("/dagRuns/r2") else None
    )
    (page,) = adapter.refetch(["etl/r2@1795444800.000000", "etl/r1@1795444800.000000"])
    assert (page.gone, len(page.observations)) == ((), 1)
