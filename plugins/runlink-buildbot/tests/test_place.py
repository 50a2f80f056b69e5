"""Where polling goes on: identity over a reset database, whole seconds, late commits, paging, long first looks."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from runlink.spi import CursorExpired, ExecutionStatus, TransientError
from runlink.testing import Crash

PARTITION = "buildrequests"


def told(pages):
    return [each for page in pages for each in page.observations]


def test_a_reset_database_is_noticed_though_its_ids_are_higher(master, make_host, request_row):
    host = make_host()
    master.at(13)
    host.turn()
    master.tables["buildrequests"] = [request_row(number, at=1_795_999_000) for number in range(1, 30)]
    with pytest.raises(CursorExpired, match="reset or restored"):
        told(host.adapter.poll(host.cursors()))
    host.turn()
    host.turn()  # what is absent twice has vanished
    assert "buildrequest:7@1795999000" in host.table()
    assert host.table()["buildrequest:4@1795445389"]["vanished"]  # was open, and is another one now


def test_a_restored_database_is_noticed_though_its_ids_are_lower(master, make_host):
    host = make_host()
    master.at(13)
    host.turn()
    master.at(5)
    with pytest.raises(CursorExpired):
        told(host.adapter.poll(host.cursors()))


def test_gone_only_when_the_item_itself_is_not_found(master, adapter):
    master.at(13)
    ids = ["buildrequest:4@1795445389", "buildrequest:4@1700000000", "buildrequest:99@1795445389", "jenkins:1"]
    (page,) = adapter.refetch(ids)
    assert [each.external_id for each in page.observations] == ids[:1]
    assert page.gone == tuple(ids[1:])


def test_an_empty_list_alone_makes_nothing_gone(master, adapter):
    master.at(13)
    master.faults = lambda request: (
        httpx.Response(200, json={"buildrequests": []}) if request.url.params.get("buildrequestid__in") else None
    )
    with pytest.raises(TransientError, match="when asked for it alone"):
        list(adapter.refetch(["buildrequest:4@1795445389"]))


@pytest.mark.parametrize("cursor", ["", "{", "[]", '{"v":2}', '{"v":1,"head":3,"ended":0}'])
def test_a_cursor_that_is_not_ours(cursor, master, adapter):
    master.at(13)
    if cursor == "":
        assert told(adapter.poll({PARTITION: cursor}))
    else:
        with pytest.raises(CursorExpired):
            list(adapter.poll({PARTITION: cursor}))


def test_ends_within_one_second_and_late_commits_are_all_told(master, make_host, request_row, ended_row):
    """Whole seconds: 2 ends in the second of 1 and shows later; 3 was committed a minute after its complete_at."""
    host, second = make_host(), 1_795_445_500
    master.tables["buildrequests"] = [ended_row(1, second), request_row(4)]
    host.turn()
    master.tables["buildrequests"] = [ended_row(1, second), ended_row(2, second), request_row(4)]
    host.turn()
    assert "buildrequest:2@1795445495" in host.table()
    master.tables["buildrequests"].insert(2, ended_row(3, second - 60))
    host.turn()
    assert "buildrequest:3@1795445435" in host.table()
    open_one = "buildrequest:4@1795445389"  # the rest is told
    assert [each.external_id for each in told(host.adapter.poll(host.cursors()))] == [open_one]


def test_the_hosts_clock_does_not_matter(master, make_host):
    years_ahead = datetime(2031, 1, 1, tzinfo=UTC)
    host = make_host(now=lambda: years_ahead, since=years_ahead)
    master.at(3)
    host.turn()
    for moment in (9, 14):
        master.at(moment)
        host.turn()
    assert host.table()["buildrequest:3@1795445389"]["status"] is ExecutionStatus.COMPLETED
    assert len(host.table()) == 9


def test_paging_over_many_rows(master, make_host, ended_row):
    at = 1_795_445_389
    master.tables["buildrequests"] = [ended_row(number, at + number // 7) for number in range(1, 451)]
    host = make_host()
    pages = list(host.adapter.poll({}))
    host.turn()
    assert len(host.table()) == 450
    assert [len(page.observations) for page in pages] == [200, 200, 50]
    assert max(len(cursor) for page in pages for cursor in page.cursors.values()) < 8_000
    master.tables["buildrequests"] += [ended_row(number, at + number // 7) for number in range(451, 1001)]
    pages = list(host.adapter.poll(host.cursors()))
    host.turn()
    assert len(host.table()) == 1000
    assert sum(len(page.observations) for page in pages) == 550
    assert list(host.adapter.poll(host.cursors())) == []


def test_a_long_first_look_goes_on_where_it_was_killed(master, make_host, ended_row):
    master.tables["buildrequests"] = [ended_row(number, 1_795_445_389) for number in range(1, 651)]
    host = make_host()
    with pytest.raises(Crash):
        host.turn(crash_after=2)
    assert len(host.table()) == 400
    master.paths()
    assert len(told(host.adapter.poll(host.cursors()))) == 250


def test_what_ended_before_the_window_is_left_out(master, make_host, request_row, ended_row):
    window = datetime.fromtimestamp(1_795_445_389, UTC)
    host = make_host(since=window)
    master.tables["buildrequests"] = [
        ended_row(1, 1_795_445_000),
        request_row(2, at=1_795_000_000),
        ended_row(3, int((window + timedelta(hours=1)).timestamp())),
    ]
    host.turn()
    assert sorted(host.table()) == ["buildrequest:2@1795000000", "buildrequest:3@1795448984"]
