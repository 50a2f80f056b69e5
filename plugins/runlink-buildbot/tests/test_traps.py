"""Each trap of filters and answers that the recordings' README names, or that was met since: one test each."""

import json

import httpx
import pytest

from runlink.spi import ConfigRejected, CredentialsRejected, TransientError


def told(pages):
    return [each for page in pages for each in page.observations]


@pytest.mark.parametrize("dropped", ["complete", "buildrequestid__in", "buildrequestid__gt", "order"])
def test_a_filter_that_was_ignored_is_noticed(dropped, master, make_host):
    host = make_host()
    master.at(13)

    def drops(request):
        pairs = [(k, v) for k, v in request.url.params.multi_items() if k.removesuffix("__eq") != dropped]
        if len(pairs) == len(request.url.params.multi_items()):
            return None
        bare = httpx.Request("GET", request.url.copy_with(params=pairs), headers=request.headers)
        master.faults = lambda _: None
        answer = master.answer(bare)
        master.faults = drops
        if dropped == "order":
            body = answer.json()
            return httpx.Response(200, json={k: v[::-1] if k != "meta" else v for k, v in body.items()})
        return answer

    host.turn()
    master.faults = drops
    master.at(14)
    with pytest.raises(ConfigRejected, match="ignored"):
        host.turn()


def test_several_eq_on_builds_are_dropped_by_buildbot_so_in_is_used(master, adapter):
    master.at(13)
    list(adapter.poll({}))
    asked = [request.url.params for request in master.requests if request.url.path == "/api/v2/builds"]
    assert any(len(params.get_list("buildrequestid__in")) > 1 for params in asked)
    assert not any("buildrequestid__eq" in params or "buildrequestid" in params for params in asked)


def test_every_listing_has_a_limit(master, make_host):
    host = make_host()
    for moment in (4, 9, 14):
        master.at(moment)
        host.turn()
    listings = [request for request in master.requests if request.url.path.count("/") == 3]
    listings = [request for request in listings if not request.url.path.endswith("/masters")]  # all of a handful
    assert listings
    assert all("limit" in request.url.params for request in listings)


def test_no_log_is_ever_asked_for(master, make_host):
    host = make_host()
    for moment in range(1, 15):
        master.at(moment)
        host.turn()
    assert not [path for path in master.paths() if "log" in path]


def test_json_is_asked_for_and_json_called_text_is_read(master, make_host):
    host = make_host()
    master.at(13)

    def as_text(request):
        assert request.headers["accept"] == "application/json"
        master.faults = lambda _: None
        answer = master.answer(request)
        master.faults = as_text
        return httpx.Response(200, content=answer.content, headers={"content-type": "text/plain; charset=utf-8"})

    master.faults = as_text
    host.turn()
    assert len(host.table()) == 7


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>sign in</html>", TransientError),
        (200, b'{"buildrequests": [{"buildreq', TransientError),
        (200, b'{"rootlinks": []}', TransientError),
        (200, b"[]", TransientError),
        (302, b"", TransientError),
        (404, b'{"error": "Invalid path: nope"}', TransientError),
        (500, b"<html>oops</html>", TransientError),
        (502, b"", TransientError),
        (503, b"", TransientError),
        (401, b"", CredentialsRejected),
        (403, b'{"error": "you need to have role admins"}', CredentialsRejected),
    ],
)
def test_what_is_no_answer(status, body, error, master, adapter):
    master.at(13)
    headers = {"location": "https://sso.test/"} if status == 302 else {}
    master.faults = lambda _: httpx.Response(status, content=body, headers=headers)
    with pytest.raises(error):
        list(adapter.poll({}))


def test_retry_after_is_handed_on(master, adapter):
    master.faults = lambda _: httpx.Response(503, headers={"retry-after": "17"})
    with pytest.raises(TransientError) as caught:
        list(adapter.poll({}))
    assert caught.value.retry_after_s == 17


def test_a_fault_in_the_middle_leaves_the_cursor_where_it_was(master, make_host):
    host = make_host()
    master.at(5)
    host.turn()
    before = dict(host.cursors())
    master.at(14)
    master.faults = lambda request: httpx.Response(500) if "steps" in request.url.path else None
    with pytest.raises(TransientError):
        host.turn()
    assert host.cursors() == before


def test_one_bad_row_does_not_hold_up_the_rest(master, adapter, request_row):
    master.tables["buildrequests"] = [
        request_row(1),
        request_row(2, builderid=77),
        request_row(3, complete=True, complete_at=1_795_445_400, results=9),
        request_row(4, submitted_at="yesterday"),
        request_row(5),
    ]
    pages = list(adapter.poll({}))
    assert [each.external_id for each in told(pages)] == ["buildrequest:1@1795445389", "buildrequest:5@1795445389"]
    bad = [each for page in pages for each in page.unreadable]
    assert sorted(each.raw["buildrequestid"] for each in bad) == [2, 3, 4]
    assert any("results is 9" in each.reason for each in bad)


def test_rows_without_an_id_are_set_aside(master, adapter):
    master.at(13)
    question = httpx.Request("GET", "http://buildbot.test/api/v2/buildrequests", headers={"accept": "application/json"})
    rows = json.loads(master.answer(question).content)["buildrequests"]
    bad = [None, "row", {"complete": False}, {"buildrequestid": "x", "complete": False}]

    def mixed(request):
        if request.url.params.get("complete__eq") != "false":
            return None
        return httpx.Response(200, json={"buildrequests": bad + [row for row in rows if not row["complete"]]})

    master.faults = mixed
    pages = list(adapter.poll({}))
    assert len(told(pages)) == 7
    assert [each.raw for page in pages for each in page.unreadable] == bad


def test_a_child_has_no_run_id_but_a_parent(master, make_host):
    host = make_host()
    master.at(13)
    host.turn()
    child = host.table()["buildrequest:6@1795445395"]
    assert "run_id" not in child["parameters"]
    assert child["parent_external_id"] == "buildrequest:5@1795445389"
    assert host.table()[child["parent_external_id"]]["parameters"]["run_id"] == "rl-0005"


def test_results_minus_one_and_null_are_no_results(master, make_host):
    host = make_host()
    master.at(4)
    host.turn()
    assert {row["results"] for row in master.tables["buildrequests"]} == {-1}
    assert {row["results"] for row in master.tables["builds"]} == {None}
    assert {str(row["status"]) for row in host.table().values()} == {"PROCESSING"}


def test_a_session_cookie_with_each_answer_is_one_cookie(master, make_host):
    """070: Buildbot 4.3 begins a session with each call that brings none."""
    host, count = make_host(), 0
    master.at(13)

    def with_cookie(request):
        nonlocal count
        count += 1
        master.faults = lambda _: None
        answer = master.answer(request)
        master.faults = with_cookie
        answer.headers["set-cookie"] = f"TWISTED_SESSION={count}; Path=/"
        return answer

    master.faults = with_cookie
    host.turn()
    assert len(host.table()) == 7
    assert {request.headers.get("cookie", "").count("TWISTED_SESSION") for request in master.requests[2:]} == {1}
