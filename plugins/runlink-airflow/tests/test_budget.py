"""What a turn costs: requests counted by the host's own guard, against the recorded story and large tables."""

from datetime import UTC, datetime, timedelta

AT = datetime(2026, 11, 23, 14, 40, tzinfo=UTC)
END = 14


def spent(host):
    """The requests of a poll, and its pages."""
    before = host.requests
    pages = list(host.adapter.poll(host.cursors()))
    return host.requests - before, pages


def test_an_idle_poll_is_one_request_and_no_page(airflow, make_host):
    host = make_host()
    airflow.at(END)
    host.turn()
    airflow.now += timedelta(minutes=3)
    host.turn()
    assert [spent(host) for _ in range(3)] == [(1, [])] * 3


def test_a_poll_just_after_is_one_request_too(airflow, make_host):
    """What ended within the overlap is told again, with what is known of it."""
    host = make_host()
    airflow.at(END)
    host.turn()
    list(host.adapter.poll(host.cursors()))
    count, pages = spent(host)
    assert count == 1
    assert sum(len(page.observations) for page in pages) > 3


def test_a_poll_while_one_run_runs_is_two_requests(airflow, make_host):
    host = make_host()
    airflow.at(8)
    host.turn()
    list(host.adapter.poll(host.cursors()))  # the tasks of what had ended before it was first seen
    airflow.paths()
    list(host.adapter.poll(host.cursors()))
    assert sum(path.endswith("taskInstances") for path in airflow.paths()) == 1
    assert spent(host)[0] == 2


def test_tries_are_read_once(airflow, make_host):
    host = make_host()
    for number in range(1, END + 1):
        airflow.at(number)
        host.turn()
        host.turn()
    asked = [path for path in airflow.paths() if path.endswith("/tries")]
    assert sum("flaky" in path for path in asked) == 2  # up for its second retry, and in its third try
    assert sum("boom" in path for path in asked) == 1  # in its second try; nothing is read of a run in the queue


def test_the_audit_log_is_asked_once_for_all_that_failed_meanwhile(airflow, make_host):
    host = make_host()
    host.check()
    airflow.paths()
    for number in (8, 9, 9, 12, 12):
        airflow.at(number)
        host.turn()
    assert airflow.paths().count("eventLogs") == 3  # fail_pipeline, the cancelled run, fail_pipeline again


def test_a_first_look_reads_in_bulk(airflow, make_host, run_row):
    """2,000 ended runs: a token, what is open, 20 pages, the audit log of what failed, the tasks of 100 of these."""
    airflow.now = AT
    for number in range(1, 2001):
        state = "failed" if number % 10 == 0 else "success"
        airflow.add(run_row(number) | {"state": state, "end_date": AT.isoformat()})
    count, pages = spent(make_host())
    assert sum(len(page.observations) for page in pages) == 2000
    assert count == 1 + 1 + 20 + 20 + 100


def test_excluded_dags_cost_nothing_more(airflow, make_host):
    host = make_host(include=["ok_*"], exclude=["long_*"])
    airflow.at(8)
    host.turn()
    assert {row["workflow"] for row in host.table().values()} == {"ok_pipeline"}
    list(host.adapter.poll(host.cursors()))
    assert spent(host)[0] == 1


def test_running_runs_take_turns_with_their_tasks(airflow, make_host, run_row):
    airflow.now = AT
    for number in range(1, 51):
        airflow.add(run_row(number) | {"state": "running", "start_date": AT.isoformat()})
    host = make_host()
    read = []
    for _ in range(3):
        list(host.adapter.poll(host.cursors()))
        read.append([path for path in airflow.paths() if path.endswith("/taskInstances")])
    assert [len(each) for each in read] == [20, 20, 20]
    assert len({path for each in read for path in each}) == 50


def test_a_long_queue_is_read_again_in_one_listing(airflow, make_host, run_row):
    """A paused DAG's runs are not touched: they are read as one list, and their tasks not at all."""
    airflow.now = AT
    for number in range(1, 81):
        airflow.add(run_row(number, at=-7200))
    host = make_host()
    host.turn()
    assert len(host.table()) == 80
    airflow.now += timedelta(minutes=5)
    airflow.paths()
    host.turn()
    assert airflow.paths() == ["dags/~/dagRuns"] * 2
