"""What a turn costs, counted at the server."""

import itertools

from recorded_story import END

QUIET = "2026-11-23T14:40:20Z"


def settled(prefect, host, when=END):
    prefect.at(when)
    for _ in range(4):
        host.turn()
        prefect.wait(20)
    prefect.asked.clear()


def test_an_idle_poll_is_two_requests_and_no_page(prefect, host):
    settled(prefect, host)
    for _ in range(3):
        assert list(host.adapter.poll(host.cursors())) == []
    assert prefect.paths() == ["events/filter", "flow_runs/filter"] * 3


def test_a_turn_while_something_is_open_is_four(prefect, host):
    """The two questions, what is open by id, and its task runs: however many flow runs are open, up to 50."""
    settled(prefect, host, QUIET)
    host.turn()
    assert prefect.paths() == ["events/filter", "flow_runs/filter", "flow_runs/filter", "task_runs/filter"]


def test_a_new_flow_run_costs_little(prefect, host):
    """Its row, its names, its task runs."""
    settled(prefect, host, "2026-11-23T14:40:34.7Z")
    prefect.at("2026-11-23T14:40:34.9Z")
    host.turn()
    asked = prefect.paths()
    assert asked.count("events/filter") == 1
    assert len(asked) <= 8


def test_states_are_read_once_per_state(prefect, host):
    """One request per flow run that has run, and per task run with more than one try; none for what stays as it is."""
    settled(prefect, host)
    host.restart()
    for _ in range(4):
        host.turn()
    asked = [path for path in prefect.paths() if path.startswith(("flow_run_states", "task_run_states"))]
    counts = [len(list(group)) for _, group in itertools.groupby(sorted(asked))]
    assert counts == [1]  # the one that is running


def test_a_first_look_reads_in_bulk(prefect, make_host):
    prefect.at(END)
    row = prefect.run("rl-0001")
    prefect.tables.rows["flow_runs"] = [
        row | {"id": f"00000000-0000-4000-8000-{n:012}", "state_id": f"{n:036}"} for n in range(1000)
    ]
    host = make_host()
    host.turn()
    assert len(host.table()) == 1000
    asked = prefect.paths()
    # check 4, newest event, open, 6 pages of ends; a flow and a deployment; nothing is open, so no task runs
    assert len(asked) <= 16
    assert not [path for path in asked if "states" in path or "task_runs" in path]


def test_more_ends_of_one_time_than_a_page_holds(prefect, make_host):
    """Pages continue by time; what ended at one moment is read with an offset."""
    prefect.at(END)
    row = prefect.run("rl-0001")
    prefect.tables.rows["flow_runs"] = [
        row | {"id": f"00000000-0000-4000-8000-{n:012}", "state_id": f"{n:036}"} for n in range(450)
    ]
    host = make_host()
    host.turn()
    assert len(host.table()) == 450


def test_excluded_workflows_cost_nothing_more(prefect, make_host):
    host = make_host(include=("ok-flow/*",))
    settled(prefect, host, QUIET)
    assert {row["workflow"] for row in host.table().values()} == {"ok-flow/ok-dep"}
    list(host.adapter.poll(host.cursors()))
    assert prefect.paths() == ["events/filter", "flow_runs/filter"]
