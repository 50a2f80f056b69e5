"""Each trap that the recordings' README names, or that was met since: one test each."""

import json
import logging
from datetime import timedelta

import pytest
from prefect_tables import moment
from recorded_story import BEGIN, END, recording, story

from runlink.spi import (
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    TransientError,
)
from runlink.testing import Crash, Reply

FAIL = "233c450f-174b-426c-88f2-1aa653e08dbb"
LONG = "1ed49654-c851-4b5d-8e24-8fef69df299f"
QUIET = "2026-11-23T14:40:20Z"
"""One flow run is running then, and one waits."""


def recorded(name):
    response = recording(name)["response"]
    return Reply(response["status"], {"Content-Type": "application/json"}, json.dumps(response["json"]).encode())


def everything(reply):
    return lambda _method, _path, _body: reply


def only(part, reply):
    return lambda _method, path, _body: reply if part in path else None


# --- what can be asked -----------------------------------------------------------------------------------------------


def test_updated_is_asked_for_nowhere(prefect, host):
    """040, 041: there is neither an `updated` filter nor such a sort, although every row has the time."""
    for when in (QUIET, END):
        prefect.at(when)
        host.turn()
    assert not [body for _, body in prefect.asked if "UPDATED" in json.dumps(body).upper()]


def test_no_limit_is_over_what_prefect_gives(prefect, host):
    """042, 082: 200 rows and 50 events; one more is refused, not capped."""
    prefect.at(END)
    host.turn()
    prefect.wait(1)
    host.turn()
    limits = {path: body["limit"] for path, body in prefect.asked if body and "limit" in body}
    assert limits
    assert all(limit <= (50 if "events" in path else 200) for path, limit in limits.items())


@pytest.mark.parametrize("name", ["040", "041", "082"])
def test_a_question_that_is_refused_stops_the_feed_with_the_reason(name, prefect, host):
    prefect.at(QUIET)
    host.check()
    prefect.fault = only("filter", recorded(name))
    with pytest.raises(ConfigRejected, match=r"refused the question .*Invalid request received"):
        list(host.adapter.poll({}))


# --- events ----------------------------------------------------------------------------------------------------------


def test_the_page_token_is_used_and_not_the_address_beside_it(prefect, host):
    """083: `next_page` names the server as it sees itself, which behind a proxy nobody else can reach."""
    prefect.at("2026-11-23T14:38:38.5Z")
    host.turn()
    prefect.at(END)
    prefect.tables.url = "http://behind-the-proxy.invalid"
    host.turn()
    assert "events/filter/next" in prefect.paths()
    assert host.table()[FAIL]["attempt"] == 2


def test_a_token_that_is_refused_is_no_refusal_of_who_we_are(prefect, host):
    """Prefect answers 403 to a token that it cannot read."""
    prefect.at("2026-11-23T14:38:38.5Z")
    host.turn()
    prefect.at(END)
    prefect.fault = only("events/filter/next", Reply(403, {}, b'{"detail": "Forbidden"}'))
    with pytest.raises(TransientError, match="token"):
        host.turn()


def test_heartbeats_are_not_asked_for(prefect, host):
    prefect.at(QUIET)
    host.turn()
    prefect.wait(1)
    host.turn()
    filters = [body["filter"]["event"] for path, body in prefect.asked if path.endswith("events/filter")]
    assert filters
    assert all(names["exclude_name"] == ["prefect.flow-run.heartbeat"] for names in filters)


@pytest.mark.parametrize("late_s", [5, 55])
def test_an_event_that_comes_late_is_seen(late_s, prefect, host):
    """It occurred before the newest known one; an overlap of a minute and its id tell that it is new."""
    prefect.at(END)
    late = next(event for event in prefect.tables.events if FAIL in json.dumps(event["resource"]))
    prefect.tables.events.remove(late)
    host.turn()
    host.turn()
    newest = max(prefect.tables.events, key=lambda event: event["occurred"])
    occurred = moment(newest["occurred"]) - timedelta(seconds=late_s)
    prefect.tables.events.append(late | {"occurred": occurred.isoformat()})
    prefect.asked.clear()
    list(host.adapter.poll(host.cursors()))
    asked = [body["flow_runs"]["id"]["any_"] for path, body in prefect.asked if body and _by_id(path, body)]
    assert FAIL in asked[0]


def _by_id(path, body):
    return path.endswith("flow_runs/filter") and "id" in body.get("flow_runs", {})


def test_an_event_that_was_told_is_not_told_again(prefect, host):
    prefect.at(END)
    for _ in range(3):
        host.turn()
        prefect.wait(30)
    prefect.asked.clear()
    list(host.adapter.poll(host.cursors()))
    assert prefect.paths() == ["events/filter", "flow_runs/filter"]


def test_an_event_that_makes_no_sense_is_set_aside(prefect, host):
    prefect.at(QUIET)
    host.turn()
    prefect.at(END)
    prefect.tables.events.append({"id": "1", "event": "prefect.flow-run.Odd", "occurred": END, "resource": {}})
    host.turn()
    assert "an event that makes no sense" in host.set_aside()[0]["reason"]
    assert host.table()[FAIL]["attempt"] == 2


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_a_crash_between_pages_loses_no_event(pages, prefect, host):
    """The place of a page has the events of its own flow runs, and of none that come later."""
    prefect.at(QUIET)
    host.turn()
    row = prefect.run("rl-0001") | {"run_count": 0, "state_type": "PENDING", "state_name": "Pending", "end_time": None}
    event = next(event for event in story() if row["id"] in json.dumps(event["resource"]))
    for n in range(333):
        id_ = f"00000000-0000-4000-8000-{n:012}"
        prefect.tables.rows["flow_runs"].append(row | {"id": id_})
        occurred = (moment(QUIET) + timedelta(milliseconds=n)).isoformat()
        resource = {"prefect.resource.id": f"prefect.flow-run.{id_}"}
        prefect.tables.events.append(event | {"id": f"{n:036}", "occurred": occurred, "resource": resource})
    prefect.wait(2)
    with pytest.raises(Crash):
        host.turn(crash_after=pages)
    host.restart()
    for page in host.adapter.poll(host.cursors()):
        host.take(page)
    assert len(host.table()) == 7 + 333


def test_events_that_were_purged_are_noticed(prefect, host):
    """Prefect deletes them after a week, and all of them go when its database is reset."""
    prefect.at(QUIET)
    host.turn()
    cursors = host.cursors()
    prefect.at(END)
    prefect.tables.events = [event for event in prefect.tables.events if moment(event["occurred"]) > moment(QUIET)]
    with pytest.raises(CursorExpired, match="purged"):
        next(host.adapter.poll(cursors))  # before it tells anything, or moves on
    host.turn()
    assert host.table()[FAIL]["attempt"] == 2


# --- without events --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["the API is missing", "nobody writes them"])
def silent(request, prefect):
    """Sets tables without events, in either way."""

    def at(when):
        prefect.at(when)
        prefect.tables.events = []
        prefect.tables.has_events_api = request.param != "the API is missing"

    return at


def test_without_events_everything_is_told_all_the_same(silent, prefect, host, caplog):
    caplog.set_level(logging.WARNING)
    for when in ("2026-11-23T14:38:40Z", "2026-11-23T14:40:10Z", "2026-11-23T14:41:30Z", END):
        silent(when)
        host.turn()
    prefect.wait(120)
    host.turn()
    table = host.table()
    assert {name: (str(row["status"]), row["attempt"]) for name, row in table.items() if name in (FAIL, LONG)} == {
        FAIL: ("FAILED", 2),
        LONG: ("PROCESSING", 2),
    }
    assert len(table) == 11
    assert sum("keeps no events" in record.getMessage() for record in caplog.records) <= 1


def test_without_events_task_runs_that_come_late_are_told(silent, prefect, host):
    silent("2026-11-23T14:38:40Z")
    host.turn()
    silent("2026-11-23T14:41:20Z")
    host.turn()
    silent("2026-11-23T14:41:33.5Z")
    late, prefect.tables.rows["task_runs"] = prefect.tables.rows["task_runs"], []
    host.turn()
    failed = next(name for name, row in host.table().items() if row["parameters"]["run_id"] == "rl-0011")
    assert (str(host.table()[failed]["status"]), host.table()[failed]["steps"]) == ("FAILED", ())
    prefect.tables.rows["task_runs"] = late
    host.turn()
    assert [step[1] for step in host.table()[failed]["steps"]] == ["boom"]


def test_without_events_the_operator_is_told(silent, prefect, host):
    silent(END)
    prefect.wait(120)
    (warning,) = host.check().warnings
    assert warning.startswith("Prefect keeps no events")


def test_events_that_come_back_are_followed_again(prefect, host):
    prefect.at("2026-11-23T14:38:40Z")
    prefect.tables.events = []
    host.turn()
    prefect.at("2026-11-23T14:41:20Z")
    prefect.tables.events = []
    host.turn()
    assert '"silent"' in host.cursors()["flow-runs"]
    prefect.at(END)
    host.turn()
    assert '"silent"' not in host.cursors()["flow-runs"]
    assert len(host.table()) == 11


def test_events_that_were_lost_are_made_up_for(prefect, host):
    """A server that is killed loses those of its last seconds, and has the flow runs all the same."""
    prefect.at("2026-11-23T14:40:34.7Z")
    host.turn()
    prefect.at(END)
    lost = prefect.run("rl-0009")["id"]
    prefect.tables.events = [event for event in prefect.tables.events if lost not in json.dumps(event["resource"])]
    host.turn()
    assert lost not in host.table()
    prefect.wait(300)
    host.turn()
    assert str(host.table()[lost]["status"]) == "COMPLETED"


def test_one_missing_event_of_a_running_flow_run_does_not_matter(prefect, host):
    """It is open, so the host has it read again."""
    prefect.at(QUIET)
    host.turn()
    prefect.at("2026-11-23T14:40:34.3Z")
    prefect.tables.events = [event for event in prefect.tables.events if "Cancelled" not in event["event"]]
    host.turn()
    assert str(host.table()[LONG]["status"]) == "CANCELLED"


# --- terminal is not terminal ----------------------------------------------------------------------------------------


def test_a_run_that_was_cancelled_before_it_began_is_seen_to_have_two_tries(prefect, make_host):
    """Its row does not show it: `run_count` is 1 and `retry_type` null again. So states are read once per run."""
    prefect.at(END)
    row = prefect.run("rl-0001")
    states = prefect.tables.states[row["id"]]
    cancelled = states[0] | {"id": "c", "type": "CANCELLED", "name": "Cancelled"}
    prefect.tables.states[row["id"]] = [states[0], cancelled, states[0] | {"id": "r"}, *states[1:]]
    host = make_host()
    for page in host.adapter.refetch([row["id"]]):
        host.take(page, feed="refetch")
    attempts = host.attempts()[row["id"]]
    assert [(number, str(one["status"])) for number, one in sorted(attempts.items())] == [
        (1, "CANCELLED"),
        (2, "COMPLETED"),
    ]


def test_an_end_that_is_left_is_read_even_if_the_run_was_known_to_have_one_try(prefect, host):
    prefect.at(END)
    host.turn()
    row = prefect.run("rl-0001")
    list(host.adapter.refetch([row["id"]]))
    states = prefect.tables.states[row["id"]]
    again = [
        states[-1] | {"id": f"{n:036}", "type": kind, "name": kind.title()}
        for n, kind in enumerate(["PENDING", "CANCELLED"])
    ]
    prefect.tables.states[row["id"]] = [*states, *again]
    row |= {"state": again[-1], "state_id": again[-1]["id"], "state_type": "CANCELLED", "state_name": "Cancelled"}
    row["end_time"] = again[-1]["timestamp"]
    event = next(event for event in story() if row["id"] in json.dumps(event["resource"]))
    occurred = moment(END) + timedelta(seconds=1)
    prefect.wait(2)
    prefect.tables.events.append(
        event
        | {"id": again[0]["id"], "occurred": occurred.isoformat(), "payload": {"initial_state": {"type": "COMPLETED"}}}
    )
    host.turn()
    told = host.table()[row["id"]]
    assert (str(told["status"]), told["attempt"]) == ("CANCELLED", 2)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_task_runs_that_are_written_after_the_end_of_their_flow_run_are_told(prefect, host):
    """Prefect 3 records task runs from events: the flow run may have ended before they are there (061)."""
    prefect.at("2026-11-23T14:40:01.8Z")
    late = prefect.tables.rows["task_runs"]
    prefect.tables.rows["task_runs"] = []
    host.turn()
    prefect.at("2026-11-23T14:40:02Z")
    prefect.tables.rows["task_runs"] = []
    host.turn()
    assert (str(host.table()[FAIL]["status"]), host.table()[FAIL]["steps"]) == ("FAILED", ())
    prefect.tables.rows["task_runs"] = late
    host.turn()
    assert [step[1] for step in host.table()[FAIL]["steps"]] == ["boom"]


def test_what_schedules_made_ahead_of_time_is_not_told_until_it_moves(prefect, host):
    prefect.at("2026-11-23T14:38:39.5Z")
    for row in prefect.tables.rows["flow_runs"]:
        row["auto_scheduled"] = True
    host.turn()
    assert not host.table()
    prefect.at(QUIET)
    host.turn()
    assert len(host.table()) == 6  # the seventh waits for its time, and nobody made it ahead


# --- refusals and bad moments ----------------------------------------------------------------------------------------


def test_busy_sqlite(prefect, host):
    """089: 503 without Retry-After."""
    prefect.at(QUIET)
    prefect.fault = everything(recorded("089"))
    with pytest.raises(TransientError) as caught:
        host.turn()
    assert caught.value.retry_after_s is None


def test_a_flow_run_that_is_left_out_of_a_list_is_not_gone(prefect, host):
    prefect.at(QUIET)
    host.turn()
    prefect.fault = only("flow_runs/filter", Reply(200, {}, b"[]"))
    with pytest.raises(TransientError, match="left flow run"):
        list(host.adapter.refetch([LONG]))


def test_a_deleted_flow_run_is_gone_and_its_events_do_not_matter(prefect, host):
    """004. Prefect keeps the events of what it deleted."""
    prefect.at(QUIET)
    host.turn()
    prefect.tables.rows["flow_runs"] = [
        row for row in prefect.tables.rows["flow_runs"] if row["id"] not in (LONG, FAIL)
    ]
    for _ in range(3):
        host.turn()
        prefect.wait(5)
    assert (host.table()[LONG]["vanished"], host.table()[FAIL]["vanished"]) == (True, False)


def test_an_id_that_is_none_is_not_put_into_a_question(prefect, host):
    """005: one bad id, and the whole filter is refused with 422."""
    prefect.at(QUIET)
    (page,) = host.adapter.refetch(["abc", LONG])
    assert page.gone == ("abc",)
    assert [told.external_id for told in page.observations] == [LONG]


def test_csrf_protection(prefect, make_host):
    """A POST without a token is refused with 403, which says nothing of who we are."""
    prefect.at(QUIET)
    tokens = []

    def protected(method, path, _body):
        if path == "/api/csrf-token":
            tokens.append("t0ken")
            return Reply(200, {}, b'{"token": "t0ken", "client": "x"}')
        sent = prefect.headers[-1].get("prefect-csrf-token")
        if method == "POST" and sent != "t0ken":
            return Reply(403, {}, b'{"detail": "Missing CSRF token."}')
        return None

    prefect.fault = protected
    host = make_host()
    host.turn()
    prefect.wait(1)
    host.turn()
    assert len(host.table()) == 7
    assert len(tokens) == 1


def test_credentials(prefect, make_host):
    """PREFECT_SERVER_API_AUTH_STRING goes out as Basic, a key of Prefect Cloud as Bearer."""
    prefect.at(QUIET)
    make_host(config={"auth_string": "admin:p:ss"}).check()
    assert prefect.headers[-1]["authorization"] == "Basic YWRtaW46cDpzcw=="
    make_host(config={"api_key": "pnu_1"}).check()
    assert prefect.headers[-1]["authorization"] == "Bearer pnu_1"
    prefect.fault = everything(Reply(401, {}, b'{"exception_message": "Unauthorized"}'))
    with pytest.raises(CredentialsRejected):
        make_host(config={"auth_string": "admin:wrong"}).check()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(200, {"Content-Type": "text/html"}, b"<html>sign in</html>"), TransientError),
        (Reply(200, {}, b'[{"id": "23'), TransientError),
        (Reply(200, {}, b'{"detail": "no list"}'), TransientError),
        (Reply(200, {}, b"null"), TransientError),
        (Reply(302, {"Location": "https://sso.test/"}, b""), TransientError),
        (Reply(404, {}, b'{"detail": "Not Found"}'), TransientError),
        (Reply(500, {}, b"Internal Server Error"), TransientError),
        (Reply(401, {}, b""), CredentialsRejected),
    ],
)
def test_what_is_no_answer(reply, error, prefect, host):
    prefect.at(QUIET)
    host.turn()
    prefect.at(END)
    prefect.fault = everything(reply)
    before = host.cursors()
    with pytest.raises(error) as caught:
        host.turn()
    assert not isinstance(caught.value, CursorExpired)
    assert host.cursors() == before


def test_rows_that_make_no_sense_are_set_aside(prefect, host):
    prefect.at(QUIET)
    rows = prefect.tables.rows["flow_runs"]
    rows[0]["flow_id"] = "00000000-0000-0000-0000-000000000000"
    rows[1]["created"] = "yesterday"
    rows[2] |= {"state_type": "HIBERNATING"}
    rows[3] |= {"state": None}
    rows.append({**rows[4], "id": 7, "expected_start_time": BEGIN, "state_type": "PENDING", "end_time": None})
    host.turn()
    assert len(host.table()) == 3
    reasons = " ".join(item["reason"] for item in host.set_aside())
    assert all(
        word in reasons for word in ("no flow has the id", "yesterday", "HIBERNATING", "state is None", "id is 7")
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tables, task: task.update(run_count="many"),
        lambda tables, task: task.pop("state"),
        lambda tables, task: tables.states.update({task["id"]: [{"type": "RUNNING"}]}),
        lambda tables, task: tables.states.update({task["id"]: {"detail": "no list"}}),
    ],
)
def test_a_task_run_that_makes_no_sense_does_not_hold_up_its_flow_run(spoil, prefect, host):
    prefect.at("2026-11-23T14:40:05Z")
    task = next(row for row in prefect.tables.rows["task_runs"] if row["run_count"] == 2)
    spoil(prefect.tables, task)
    host.turn()
    assert len(host.table()) == 7
    assert "sense" in host.set_aside()[0]["reason"]


def test_an_engine_at_a_wrong_address(prefect, host):
    prefect.fault = everything(Reply(404, {}, b"<html>"))
    with pytest.raises(ConfigRejected, match="PREFECT_API_URL"):
        host.check()


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
def test_the_address_may_end_in_api_or_not(suffix, prefect, make_host):
    prefect.at(QUIET)
    host = make_host()
    host.settings = type(host.settings)(name="test", type="prefect", url=prefect.url + suffix)
    host.restart()
    host.turn()
    assert host.table()[LONG]["url"] == f"{prefect.url}/runs/flow-run/{LONG}"


def test_another_major_version_is_warned_of(prefect, host):
    prefect.at(QUIET)
    prefect.fault = only("admin/version", Reply(200, {}, b'"2.20.1"'))
    info = host.check()
    assert (info.product, info.version) == ("Prefect", "2.20.1")
    assert "never tried" in info.warnings[0]
