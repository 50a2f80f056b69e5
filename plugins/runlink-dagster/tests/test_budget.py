"""What a turn costs: requests counted by the host's own guard."""

import itertools

from runlink_dagster.details import RUNNING_READS, RUNS_PER_REQUEST


def spent(host, work=None):
    """The requests of `work`, or of a poll, and what it gave."""
    before = host.requests
    result = list(host.adapter.poll(host.cursors())) if work is None else work()
    return host.requests - before, result


def test_an_idle_poll_is_one_request_and_no_page(engine, make_host):
    host = make_host()
    engine.at(11)
    host.turn()
    assert [spent(host) for _ in range(3)] == [(1, [])] * 3


def test_a_turn_while_runs_are_open_is_three_requests(engine, make_host):
    """The listing, the rows of what is open, and the steps of what is running."""
    host = make_host()
    engine.at(9)
    host.turn()
    engine.asked()
    count, _ = spent(host, host.turn)
    assert (count, engine.asked()) == (3, ["Runs", "Runs", "Details"])


def test_a_turn_with_news_is_two_requests(engine, make_host):
    host = make_host()
    engine.at(8)
    host.turn()
    engine.at(9)
    engine.asked()
    pages = list(host.adapter.poll(host.cursors()))
    assert engine.asked() == ["Runs", "Details"]
    assert [each.native_status for page in pages for each in page.observations] == ["FAILURE"]


def test_queued_runs_have_no_steps_to_read(engine, make_host, make_run):
    engine.runs = [make_run(number, "QUEUED", startTime=None) for number in range(1, 51)]
    host = make_host()
    host.turn()
    engine.asked()
    host.turn()
    assert engine.asked() == ["Runs", "Runs"]


def test_running_runs_take_turns(engine, make_host, make_run):
    engine.runs = [make_run(number, "STARTED") for number in range(1, 2 * RUNNING_READS + 1)]
    host = make_host()
    host.turn()
    engine.requests.clear()
    read = []
    for _ in range(2):
        host.turn()
        ids = [one["variables"]["filter"]["runIds"] for one in engine.requests if "Details" in one["query"]]
        assert len(ids) == RUNNING_READS / RUNS_PER_REQUEST
        read.append(set(itertools.chain.from_iterable(ids)))
        engine.requests.clear()
    assert [len(each) for each in read] == [RUNNING_READS] * 2
    assert not read[0] & read[1]


def test_a_first_look_reads_in_bulk(engine, make_host, make_run):
    """2,000 ended runs: 1 of what is open, 20 pages and one that shows there are no more."""
    engine.runs = [make_run(number) for number in range(1, 2_001)]
    count, pages = spent(make_host())
    assert count == 22
    assert sum(len(page.observations) for page in pages) == 2_000


def test_workflows_that_are_not_wanted_cost_no_steps(engine, make_host, make_run):
    host = make_host(exclude=["*/etl"])
    host.turn()
    engine.runs = [make_run(1)]
    engine.asked()
    host.turn()
    assert host.table() == {}
    assert engine.asked() == ["Runs"]


def test_steps_of_what_ended_are_read_once(engine, make_host):
    host = make_host()
    for moment in (4, 9, 9, 11, 11):
        engine.at(moment)
        host.turn()
    counted = [
        one
        for request in engine.requests
        if "Details" in request["query"]
        for one in request["variables"]["filter"]["runIds"]
    ]
    assert counted.count("07cc5765-4614-47cf-8a3e-30712cb04d06") == 2  # as it ran, and after its end
