"""Each trap of Dagster's answers that the recordings' README names, or that was met since: one test each."""

from datetime import UTC, datetime

import httpx
import pytest
from fake_dagster import full, recording, rows

from runlink.spi import UNKNOWN, ConfigRejected, CredentialsRejected, TransientError
from runlink.testing import Crash
from runlink_dagster.runs import PAGE_RUNS


def told(pages):
    return [each for page in pages for each in page.observations]


def names(pages):
    return [int(each.external_id[-12:]) for each in told(pages)]


# --- the three ways in which Dagster says no, and what is no answer of Dagster's ------------------------------------


def answered(name):
    response = recording(name)["response"]
    content = {"json": response["json"]} if "json" in response else {"text": response["text"]}
    return lambda _: httpx.Response(response["status"], headers=response["headers"], **content)


def test_a_document_that_dagster_does_not_know_is_not_asked_for_ever(engine, adapter):
    engine.faults = answered("036")
    with pytest.raises(ConfigRejected, match="Cannot query field 'nope'"):
        list(adapter.poll({}))


def test_errors_with_500(engine, adapter):
    engine.faults = answered("122")
    with pytest.raises(TransientError, match="timestamp out of range"):
        list(adapter.poll({}))


def test_errors_with_200(engine, adapter):
    body = recording("122")["response"]["json"]
    engine.faults = lambda _: httpx.Response(200, json=body)
    with pytest.raises(TransientError, match="timestamp out of range"):
        list(adapter.poll({}))


@pytest.mark.parametrize("status", [200, 500])
def test_an_error_object_in_place_of_runs(status, engine, adapter):
    error = {"__typename": "PythonError", "message": "OperationalError: database\n is locked"}
    engine.faults = lambda _: httpx.Response(status, json={"data": {"runsOrError": error}})
    with pytest.raises(TransientError, match="PythonError: OperationalError: database is locked"):
        list(adapter.poll({}))


def test_the_web_page_with_200(engine, adapter):
    """Recording 002: what Dagster answers to a path that it does not know."""
    engine.faults = answered("002")
    with pytest.raises(TransientError, match="text/html"):
        list(adapter.poll({}))


def test_posted_to_a_path_that_dagster_does_not_know(engine, make_adapter):
    adapter = make_adapter(url="http://dagster.test/elsewhere")
    engine.faults = answered("102")
    with pytest.raises(TransientError, match="path prefix"):
        list(adapter.poll({}))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>sign in</html>", TransientError),
        (200, b'{"data": {"runsOrError": {"__typena', TransientError),
        (200, b"[]", TransientError),
        (200, b"{}", TransientError),
        (200, b'{"data": {}}', TransientError),
        (302, b"", TransientError),
        (400, b"<html>bad gateway</html>", Exception),
        (500, b"<html>oops</html>", TransientError),
        (502, b"", TransientError),
        (503, b"", TransientError),
        (401, b"", CredentialsRejected),
        (403, b"", CredentialsRejected),
    ],
)
def test_what_is_no_answer(status, body, error, engine, adapter):
    headers = {"location": "https://sso.test/"} if status == 302 else {}
    engine.faults = lambda _: httpx.Response(status, content=body, headers=headers)
    with pytest.raises(error):
        list(adapter.poll({}))


def test_retry_after_is_handed_on(engine, adapter):
    engine.faults = lambda _: httpx.Response(503, headers={"retry-after": "17"})
    with pytest.raises(TransientError) as caught:
        list(adapter.poll({}))
    assert caught.value.retry_after_s == 17


# --- listings -------------------------------------------------------------------------------------------------------


def test_the_empty_page_after_a_deleted_run_is_not_the_end(engine, make_host, make_run):
    """039 and 117: the cursor is a run, and it was deleted between two pages."""
    engine.runs = [make_run(number) for number in range(1, 2 * PAGE_RUNS + 51)]
    host = make_host()
    host.check()
    asked = 0

    def deletes_the_last_of_the_first_page():
        nonlocal asked
        asked += 1
        if asked == 3:  # the open ones, the first page, and now the second
            gone = engine.runs[-PAGE_RUNS]["runId"]
            engine.runs = [row for row in engine.runs if row["runId"] != gone]

    engine.before_each = deletes_the_last_of_the_first_page
    host.turn()
    assert len(host.table()) == 2 * PAGE_RUNS + 50


def test_a_whole_page_deleted_under_the_listing_begins_it_anew(engine, make_host, make_run):
    engine.runs = [make_run(number) for number in range(1, 2 * PAGE_RUNS + 1)]
    host = make_host()
    with pytest.raises(Crash):
        host.turn(crash_after=1)
    assert '"after"' in host.cursors()["runs"]
    engine.runs = [make_run(number) for number in range(1, PAGE_RUNS + 1)]
    host.turn()
    assert len(host.table()) == 2 * PAGE_RUNS


def test_updated_after_is_strict_so_equal_stamps_are_asked_for_again(engine, make_host, make_run):
    at = 1_795_445_500.0
    engine.runs = [make_run(1, updateTime=at)]
    engine.clock = at + 1
    host = make_host()
    host.turn()
    engine.runs.append(make_run(2, updateTime=at))
    host.turn()
    assert len(host.table()) == 2


def test_a_stamp_that_comes_late_is_found(engine, make_host, make_run):
    """The time of the event, taken by the run's worker, is stored later than a newer one of another worker."""
    engine.runs = [make_run(1, updateTime=1_795_445_500.0)]
    engine.clock = 1_795_445_501.0
    host = make_host()
    host.turn()
    engine.runs.append(make_run(2, updateTime=1_795_445_500.0 - 240))
    host.turn()
    assert len(host.table()) == 2


def test_no_question_is_asked_without_a_filter(engine, make_host, make_run):
    """119, 120: Dagster takes no ids, and 0, for no filter at all."""
    engine.runs = [make_run(1)]
    host = make_host(since=datetime.fromtimestamp(0, UTC))
    host.turn()
    assert list(host.adapter.refetch([])) == []
    for request in engine.requests:
        wanted = request["variables"].get("filter", {"one": "by name"})
        assert all(wanted.values()), wanted


def test_a_run_deleted_while_it_ran_is_gone_and_the_others_are_not(engine, make_host, make_run):
    engine.runs = [make_run(1, "STARTED"), make_run(2, "STARTED")]
    host = make_host()
    host.turn()
    deleted = engine.runs.pop(0)["runId"]
    (page,) = host.adapter.refetch(list(host.table()))
    assert page.gone == (deleted,)
    assert "Missing" in engine.asked()
    host.turn()
    host.turn()  # what is absent twice has vanished
    assert [name for name, row in host.table().items() if row["vanished"]] == [deleted]


def test_an_empty_list_alone_makes_nothing_gone(engine, adapter, make_run):
    engine.runs = [make_run(1, "STARTED")]
    empty = {"data": {"runsOrError": {"__typename": "Runs", "results": []}}}
    engine.faults = lambda request: httpx.Response(200, json=empty) if b"RunlinkRuns" in request.content else None
    (page,) = adapter.refetch([engine.runs[0]["runId"]])
    assert (page.gone, page.observations) == ((), [])


def test_what_is_missing_is_not_gone_when_dagster_fails_over_it(engine, adapter, make_run):
    error = {"__typename": "PythonError", "message": "oops"}
    engine.faults = lambda request: (
        httpx.Response(200, json={"data": {"r0": error}}) if b"RunlinkMissing" in request.content else None
    )
    with pytest.raises(TransientError, match="oops"):
        list(adapter.refetch([make_run(1)["runId"]]))


def test_ids_that_are_none_of_dagsters(engine, adapter):
    (page,) = adapter.refetch(["buildrequest:1@5", 'x"} {'])
    assert page.gone == ("buildrequest:1@5", 'x"} {')


# --- steps ----------------------------------------------------------------------------------------------------------


def test_one_broken_event_log_does_not_hold_up_the_rest(engine, make_host, make_run):
    """123: it fails the answer for all that were asked for with it."""
    engine.runs = [make_run(number, "STARTED") for number in range(1, 6)]
    engine.broken = {engine.runs[2]["runId"]}
    seen = sorted(told(make_host().adapter.poll({})), key=lambda each: each.external_id)
    assert [each.steps is UNKNOWN for each in seen] == [False, False, True, False, False]
    assert all(len(each.steps) == 1 for each in seen if each.steps is not UNKNOWN)


def test_dagster_stamps_no_run_when_a_step_changes(engine, make_host, make_run):
    engine.runs = [make_run(1, "STARTED")]
    host = make_host()
    host.turn()
    (row,) = host.table().values()
    assert len(row["steps"]) == 1
    engine.runs[0]["stepStats"].append(dict(engine.runs[0]["stepStats"][0], stepKey="next"))
    host.turn()
    (row,) = host.table().values()
    assert [step[0] for step in row["steps"]] == ["load", "next"]


def test_tags_that_come_after_the_end_are_seen(engine, make_host):
    """Dagster writes what it means to do about a failure once the run has failed (112: `dagster/will_retry`)."""
    run = full(next(row for row in rows("112") if row["jobName"] == "auto_retried_job" and row["status"] == "FAILURE"))
    before = [tag for tag in run["tags"] if tag["key"] not in ("dagster/will_retry", "dagster/auto_retry_run_id")]
    engine.runs = [run | {"tags": before, "updateTime": run["endTime"]}]
    engine.clock = run["endTime"] + 1
    host = make_host()
    host.turn()
    engine.runs = [run]
    host.turn()
    (seen,) = host.table().values()
    assert seen["labels"]["dagster/will_retry"] == "true"


# --- rows -----------------------------------------------------------------------------------------------------------


def test_one_bad_run_does_not_hold_up_the_rest(engine, adapter, make_run):
    data = [make_run(1), make_run(2) | {"status": "PAUSED"}, make_run(3) | {"updateTime": 1e30, "endTime": 1e30}]
    keys = recording("112")["response"]["json"]["data"]["runsOrError"]["results"][0]
    listed = [{key: row[key] for key in keys} for row in data]
    body = {"data": {"runsOrError": {"__typename": "Runs", "results": listed}}}
    engine.faults = lambda request: httpx.Response(200, json=body) if b"updatedAfter" in request.content else None
    pages = list(adapter.poll({}))
    assert names(pages) == [1]
    bad = [each for page in pages for each in page.unreadable]
    assert [each.external_id for each in bad] == [row["runId"] for row in data[1:]]
    assert "PAUSED" in bad[0].reason


def test_unicode(engine, adapter, make_run):
    engine.runs = [make_run(1, tags=[{"key": "Größe", "value": "日本 \u2028 😀"}], jobName="zürich")]
    (seen,) = told(adapter.poll({}))
    assert (seen.workflow, seen.labels) == ("dagster_defs.py/zürich", {"Größe": "日本 \u2028 😀"})
