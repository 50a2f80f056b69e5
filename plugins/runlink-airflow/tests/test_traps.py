"""Each trap that the recordings' README names, or that was met since: one test each."""

import base64
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from runlink.spi import UNKNOWN, CredentialsRejected, TransientError

AT = datetime(2026, 11, 23, 14, 40, tzinfo=UTC)


def told(pages):
    return [each for page in pages for each in page.observations]


def iso(seconds=0):
    return (AT + timedelta(seconds=seconds)).isoformat()


def test_updated_at_is_in_no_row_so_the_cursor_is_the_engines_clock(airflow, make_host, recorded):
    """TRAP 1."""
    assert "updated_at" not in recorded("050")["response"]["json"]["dag_runs"][0]
    host = make_host()
    airflow.at(9)
    host.turn()
    place = json.loads(host.cursors()["dag_runs"])
    assert datetime.fromisoformat(place["since"]) == airflow.now - timedelta(seconds=120)


def test_limit_is_capped_at_a_hundred(airflow, adapter, run_row, recorded):
    """TRAP 2: recording 120 asked for 5,000 and got 100 of 136."""
    answer = recorded("120")["response"]["json"]
    assert (len(answer["dag_runs"]), answer["total_entries"]) == (100, 136)
    airflow.now = AT
    for number in range(1, 137):
        airflow.add(run_row(number))
    assert len({each.external_id for each in told(adapter.poll({}))}) == 136


def test_every_page_repeats_the_order_and_the_filter(airflow, adapter, run_row):
    """TRAP 3: keyset paging with `cursor=`; the token says nothing of either."""
    airflow.now = AT
    for number in range(1, 251):
        airflow.add(run_row(number) | {"state": "success", "end_date": iso()})
    list(adapter.poll({}))
    asked = [r.url.params for r in airflow.requests if "updated_at_gte" in r.url.params]
    assert [params["order_by"] for params in asked] == ["id"] * 3
    assert len({params["updated_at_gte"] for params in asked}) == 1
    assert [bool(params["cursor"]) for params in asked] == [False, True, True]


def test_an_airflow_without_page_tokens_is_read_by_offset(airflow, adapter, run_row):
    airflow.now, airflow.keyset = AT, False
    for number in range(1, 251):
        airflow.add(run_row(number) | {"state": "success", "end_date": iso()})
    assert len(told(adapter.poll({}))) == 250
    assert [r.url.params.get("offset") for r in airflow.requests if "updated_at_gte" in r.url.params] == [
        None,
        "100",
        "200",
    ]


def test_a_page_that_leads_to_itself_is_refused(airflow, adapter, run_row):
    airflow.now = AT
    airflow.add(run_row(1))
    real = airflow.answer

    def circling(request):
        answer = real(request)
        body = answer.json()
        if "next_cursor" in body:
            body["next_cursor"] = base64.urlsafe_b64encode(b"[0, 0]").decode()
        return httpx.Response(answer.status_code, json=body, headers={"date": answer.headers.get("date", "")})

    airflow.answer = circling
    with pytest.raises(TransientError, match="same next page"):
        list(adapter.poll({}))


def test_touched_is_not_changed(airflow, make_host):
    """TRAP 4: each scheduling decision touches a running run; what is told of it stays the same."""
    host = make_host()
    airflow.at(8)
    host.turn()
    first = [each for each in told(host.adapter.poll(host.cursors())) if each.native_status == "running"]
    for row in airflow.runs:
        if row["state"] == "running":
            row |= {"_updated_at": airflow.now + timedelta(seconds=9), "last_scheduling_decision": iso(99)}
    again = [each for each in told(host.adapter.poll(host.cursors())) if each.native_status == "running"]
    assert first == again
    assert len(again) == 1


def test_a_clear_is_a_new_attempt_though_it_was_over_between_two_polls(airflow, make_host, recorded_rows):
    """TRAP 5: failed, cleared, failed again; only `queued_at` tells."""
    host = make_host()
    airflow.at(9)
    host.turn()
    airflow.at(12)
    page = next(host.adapter.poll(host.cursors()))
    host.turn()
    name = next(name for name in host.table() if name.startswith("fail_pipeline"))
    ways = [each for each in page.observations if each.external_id == name]
    assert [(str(each.status), each.finished_at is None) for each in ways] == [("PENDING", True), ("FAILED", False)]
    assert host.table()[name]["attempt"] == 2
    host.turn()
    assert host.table()[name]["attempt"] == 2


def test_a_clear_of_a_running_run_is_a_new_attempt(airflow, make_host, run_row, recorded_rows):
    """Recordings 134, 135: the state stays, `queued_at` moves and Airflow counts one more `clear_number`."""
    host = make_host()
    cleared = recorded_rows("135")[0]
    airflow.now = datetime.fromisoformat(cleared["queued_at"])
    row = airflow.add(cleared | {"queued_at": cleared["run_after"]})
    host.turn()
    host.turn()
    (known,) = host.table().values()
    assert known["attempt"] == 1
    row["queued_at"] = cleared["queued_at"]
    for _ in range(2):
        host.turn()
        (known,) = host.table().values()
        assert (known["attempt"], known["native_status"]) == (2, "running")


def test_a_page_that_was_lost_tells_of_its_attempts_again(airflow, make_host):
    """The process lived on and the store did not take the page."""
    host = make_host()
    airflow.at(9)
    host.turn()
    airflow.at(12)
    lost = next(host.adapter.poll(dict(host.cursors())))  # never came back for more
    assert any(each.native_status == "queued" for each in lost.observations)
    host.turn()
    name = next(name for name in host.table() if name.startswith("fail_pipeline"))
    assert host.table()[name]["attempt"] == 2


def test_a_deleted_run_that_was_open_is_gone(airflow, make_host):
    """TRAP 5: DELETE leaves no tombstone."""
    host = make_host()
    airflow.at(8)
    host.turn()
    airflow.runs = [row for row in airflow.runs if row["dag_id"] != "paused_pipeline"]
    host.turn()
    host.turn()  # what is absent twice has vanished
    gone = [name.split("/")[0] for name, row in host.table().items() if row["vanished"]]
    assert gone == ["paused_pipeline"]


def test_nothing_is_ever_posted_but_the_password(airflow, make_host, recorded):
    """TRAP 6: POST …/dagRuns/list has no `updated_at`; and each POST writes a line into the engine's audit log."""
    refused = recorded("065")["response"]
    assert refused["status"] == 422
    assert "updated_at_gte" in json.dumps(refused["json"])
    host = make_host()
    for number in (1, 5, 9, 12, 14):
        airflow.at(number)
        host.turn()
    assert {(r.method, r.url.path) for r in airflow.requests if r.method != "GET"} == {("POST", "/auth/token")}


def test_a_run_in_the_queue_of_a_paused_dag_is_seen(airflow, make_host):
    """TRAP 7: it has no start_date, and is not touched until somebody unpauses the DAG (097, 110)."""
    host = make_host()
    for number in (8, 9, 10):
        airflow.at(number)
        host.turn()
    (name,) = [name for name in host.table() if name.startswith("paused")]
    paused = host.table()[name]
    assert (paused["native_status"], paused["started_at"]) == ("queued", None)
    airflow.at(12)
    host.turn()
    assert host.table()[name]["native_status"] == "success"


def test_a_run_may_succeed_though_a_task_failed(airflow, make_host):
    """073: square[2] failed, trigger_rule all_done."""
    host = make_host()
    airflow.at(8)
    host.turn()
    host.turn()
    run = next(row for name, row in host.table().items() if name.startswith("mapped"))
    (square,) = [str(status) for step, _, _, status, *_ in run["steps"] if step == "square[2]"]
    assert (str(run["status"]), square, run["message"]) == ("COMPLETED", "FAILED", None)


# --- cancelled is failed -------------------------------------------------------------------------------------------


@pytest.fixture
def failed_run(airflow, run_row):
    airflow.now = AT + timedelta(seconds=60)
    return airflow.add(run_row(1) | {"state": "failed", "start_date": iso(1), "end_date": iso(30)})


@pytest.mark.parametrize(
    ("when", "state", "status"),
    [
        (29, "failed", "CANCELLED"),
        (30, "failed", "CANCELLED"),
        (29, "success", "FAILED"),  # set to success by hand is another thing
        (-5, "failed", "FAILED"),  # before it was queued: an earlier attempt
        (45, "failed", "FAILED"),  # after its end: nothing was stopped by that
    ],
)
def test_the_audit_log_tells_who_cancelled(when, state, status, airflow, adapter, failed_run, patch_line):
    airflow.events = [patch_line("etl", "r1", iso(when), state)]
    assert [str(each.status) for each in told(adapter.poll({}))] == [status]


def test_cancelled_through_the_selection_of_the_web_interface(airflow, adapter, recorded_rows):
    """Recordings 142 to 144: one line for several runs, without a run_id of its own."""
    run = recorded_rows("143")[0]
    airflow.now = datetime.fromisoformat(run["end_date"])
    airflow.add(run)
    airflow.events = recorded_rows("144")
    (seen,) = told(adapter.poll({}))
    assert (str(seen.status), seen.native_status, seen.message) == ("CANCELLED", "failed", "set to failed by runlink")


def test_cancelled_without_a_note(airflow, adapter, recorded_rows):
    """Recordings 138, 139, 144: no word in the run, one line in the audit log."""
    run = recorded_rows("139")[0]
    assert run["note"] is None
    airflow.now = datetime.fromisoformat(run["end_date"])
    airflow.add(run)
    airflow.events = recorded_rows("144")
    (seen,) = told(adapter.poll({}))
    assert (str(seen.status), seen.message) == ("CANCELLED", "set to failed by runlink")


def test_without_the_audit_log_a_note_counts(airflow, make_adapter, failed_run):
    """093: whoever cancels may leave a note; runlink does."""
    airflow.faults = lambda request: (
        httpx.Response(403, json={"detail": "Forbidden"}) if request.url.path.endswith("/eventLogs") else None
    )
    assert [str(each.status) for each in told(make_adapter().poll({}))] == ["FAILED"]
    failed_run["note"] = "Cancelled by runlink"
    adapter = make_adapter()
    assert [str(each.status) for each in told(adapter.poll({}))] == ["CANCELLED"]
    airflow.paths()
    failed_run["end_date"] = iso(31)
    list(adapter.poll({}))
    assert "eventLogs" not in airflow.paths()  # refused a moment ago


def test_a_note_alone_is_no_proof_where_the_audit_log_says_nothing(airflow, adapter, failed_run):
    failed_run["note"] = "cancelled orders are missing in the input"
    assert [str(each.status) for each in told(adapter.poll({}))] == ["FAILED"]


@pytest.mark.parametrize("extra", [None, "", "[]", "{", '{"actions": 7}', '{"actions": [{"entities": ["r1"]}]}'])
def test_a_line_of_another_form_is_passed_over(extra, airflow, adapter, failed_run, patch_line):
    airflow.events = [patch_line("etl", "r1", iso(29)) | {"extra": extra}]
    assert [str(each.status) for each in told(adapter.poll({}))] == ["FAILED"]


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_which_run_triggered_which(airflow, make_host, recorded, recorded_rows):
    """Recordings 130, 131: TriggerDagRunOperator leaves the child's id in an XCom, nowhere else."""
    (task,) = recorded_rows("130")
    parent = recorded_rows("135")[0] | {"dag_id": "parent", "dag_run_id": "rec-parent"}
    child = recorded("131")["response"]["json"]["value"]
    airflow.now = datetime.fromisoformat(parent["queued_at"])
    airflow.add(parent)
    airflow.add(parent | {"dag_id": "ok", "dag_run_id": child, "state": "queued", "start_date": None})
    airflow.tasks = [task]
    airflow.xcoms["parent", "rec-parent", "start_child"] = child
    host = make_host()
    for _ in range(3):
        host.turn()
    names = {row["workflow"]: name for name, row in host.table().items()}
    assert host.table()[names["ok"]]["parent_external_id"] == names["parent"]
    assert sum("xcom" in path for path in airflow.paths()) == 1


def test_tasks_that_may_not_be_read_are_unknown(airflow, adapter, run_row):
    airflow.now = AT
    airflow.add(run_row(1) | {"state": "running", "start_date": iso()})
    airflow.faults = lambda request: (
        httpx.Response(403, json={"detail": "Forbidden"}) if request.url.path.endswith("/taskInstances") else None
    )
    assert [each.steps for each in told(adapter.poll({}))][-1] is UNKNOWN


def test_a_run_with_thousands_of_tasks_has_unknown_steps(airflow, adapter, run_row, recorded_rows):
    airflow.now = AT
    row = airflow.add(run_row(1) | {"state": "running", "start_date": iso()})
    task = recorded_rows("104")[0] | {"dag_id": "etl", "dag_run_id": row["dag_run_id"], "task_id": "many"}
    airflow.tasks = [task | {"id": f"{n:06}", "map_index": n} for n in range(2_500)]
    assert [each.steps for each in told(adapter.poll({}))][-1] is UNKNOWN
    assert sum(path.endswith("taskInstances") for path in airflow.paths()) == 2  # a first look shows it twice


def test_tasks_that_go_on_after_the_end_are_read_again(airflow, make_host, run_row, recorded_rows):
    """Teardown tasks of a cancelled run run on."""
    airflow.now = AT
    row = airflow.add(run_row(1) | {"state": "running", "start_date": iso()})
    host = make_host()
    host.turn()
    task = recorded_rows("104")[0] | {"dag_id": "etl", "dag_run_id": "r1", "task_id": "teardown", "try_number": 1}
    airflow.tasks = [task | {"state": "running", "end_date": None}]
    row |= {"state": "failed", "end_date": iso(), "_updated_at": AT}
    host.turn()
    airflow.tasks = [task | {"state": "success"}]
    host.turn()
    (known,) = host.table().values()
    assert [(step[0], str(step[3])) for step in known["steps"]] == [("teardown", "COMPLETED")]


def test_a_task_that_was_cleared_while_it_ran(airflow, adapter, recorded_rows):
    """Recordings 135, 136: `restarting`, with an end, until it is started again."""
    run = recorded_rows("135")[0]
    airflow.now = datetime.fromisoformat(run["queued_at"])
    airflow.add(run)
    airflow.tasks = recorded_rows("136")
    seen = told(adapter.poll({}))[-1]
    steps = {step.external_id: (str(step.status), step.native_status, step.final) for step in seen.steps}
    assert str(seen.status) == "RETRYING"
    assert steps == {"after": ("PENDING", "none", None), "sleepy": ("RETRYING", "restarting", False)}


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"run_after": None}, {"run_after": "yesterday"}, {"dag_id": 7}, {"state": "asleep"}]
)
def test_a_row_that_makes_no_sense_is_set_aside_and_the_rest_goes_on(change, airflow, adapter, run_row):
    airflow.now = AT
    good = run_row(1) | {"state": "success", "end_date": iso()}
    airflow.add(good)
    airflow.add(run_row(2) | {"state": "success", "end_date": iso()})
    airflow.runs[1] |= change
    pages = list(adapter.poll({}))
    assert [each.external_id for each in told(pages)] == ["etl/r1@1795444800.000000"]
    assert len([each for page in pages for each in page.unreadable]) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, CredentialsRejected), (403, CredentialsRejected), (429, TransientError), (500, TransientError)],
)
def test_statuses(status, error, airflow, adapter):
    airflow.faults = lambda request: (
        httpx.Response(status, json={"detail": "no"}, headers={"retry-after": "7"})
        if "/api/" in request.url.path
        else None
    )
    with pytest.raises(error) as caught:
        list(adapter.poll({}))
    if error is TransientError:
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("content", [b"", b"{", b'{"dag_runs": 7}', b"[]", b"<html>"])
def test_answers_that_are_cut_short(content, airflow, adapter):
    airflow.faults = lambda request: (
        httpx.Response(200, content=content) if request.url.path.endswith("/dagRuns") else None
    )
    with pytest.raises(TransientError):
        list(adapter.poll({}))


def test_no_answer_can_be_asked_for_conditionally(recorded):
    """Recording 107: no ETag and no Last-Modified, so a poll is one whole answer."""
    assert not {"etag", "last-modified"} & {name.lower() for name in recorded("107")["response"]["headers"]}


def test_unicode(airflow, make_host, run_row):
    airflow.now = AT
    airflow.add(run_row(1) | {"dag_run_id": "größe+1~é:☃", "conf": {"ключ": "值\U0001f600"}})
    host = make_host()
    host.turn()
    airflow.now += timedelta(hours=1)
    host.turn()  # read again by its id
    (known,) = host.table().values()
    assert (known["parameters"], known["vanished"]) == ({"ключ": "值\U0001f600"}, False)
