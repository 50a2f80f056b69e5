"""What a turn costs: requests counted by the host's own guard, against the recorded story and large tables."""

import itertools

END = 14


def spent(host):
    """The requests of a poll, and its pages."""
    before = host.requests
    pages = list(host.adapter.poll(host.cursors()))
    return host.requests - before, pages


def test_an_idle_poll_is_three_requests_and_no_page(master, make_host):
    host = make_host()
    master.at(13)
    master.tables["buildrequests"] = [row for row in master.tables["buildrequests"] if row["complete"]]
    host.turn()
    assert [spent(host) for _ in range(3)] == [(3, [])] * 3


def test_a_poll_while_one_build_runs_is_five_requests(master, make_host):
    """The three questions, the builds of what is open in one request, and the steps of the one running build."""
    host = make_host()
    master.at(13)
    host.turn()
    master.paths()
    count, pages = spent(host)
    assert count == 5
    assert master.paths() == [*["buildrequests"] * 3, "builds", "builds/2/steps"]
    assert [each.external_id for page in pages for each in page.observations] == ["buildrequest:4@1795445389"]


def test_steps_of_what_has_ended_are_read_once(master, make_host):
    host = make_host()
    for moment in (4, 13, 13, END, END):
        master.at(moment)
        host.turn()
    asked = [path for path in master.paths() if path.endswith("/steps")]
    counts = {path: len(list(group)) for path, group in itertools.groupby(sorted(asked))}
    assert counts["builds/1/steps"] == 2  # once as it ran, once after its end
    assert counts["builds/7/steps"] == counts["builds/8/steps"] == 1


def test_a_first_look_reads_in_bulk(master, make_host):
    """2,000 ended requests: 1 newest, 1 open, 11 ended, builders once, 10 x 2 builds, 10 x 2 buildsets."""
    master.at(END)
    request = next(row for row in master.tables["buildrequests"] if row["buildrequestid"] == 1)
    build = next(row for row in master.tables["builds"] if row["buildrequestid"] == 1)
    ids = range(1, 2001)
    master.tables["buildrequests"] = [request | {"buildrequestid": i, "buildsetid": i} for i in ids]
    master.tables["builds"] = [build | {"buildid": i, "buildrequestid": i} for i in ids]
    master.tables["buildsets"] = [master.tables["buildsets"][0] | {"bsid": i} for i in ids]
    count, pages = spent(make_host())
    assert sum(len(page.observations) for page in pages) == 2000
    assert count <= 54


def test_excluded_builders_cost_nothing_more(master, make_host):
    host = make_host(include=["ok"], exclude=["long"])
    master.at(13)
    host.turn()
    assert {row["workflow"] for row in host.table().values()} == {"ok"}
    master.paths()
    host.turn()
    assert master.paths() == ["buildrequests"] * 3


def test_running_builds_take_turns_with_their_steps(master, make_host):
    master.at(13)
    request = next(row for row in master.tables["buildrequests"] if row["buildrequestid"] == 4)
    build = next(row for row in master.tables["builds"] if row["buildrequestid"] == 4)
    ids = range(1, 51)
    master.tables["buildrequests"] = [request | {"buildrequestid": i} for i in ids]
    master.tables["builds"] = [build | {"buildid": i, "buildrequestid": i} for i in ids]
    master.tables["steps"] = []
    host = make_host()
    read = []
    for _ in range(3):
        list(host.adapter.poll(host.cursors()))
        read.append([path for path in master.paths() if path.endswith("/steps")])
    assert [len(each) for each in read] == [20, 20, 20]
    assert len({path for each in read for path in each}) == 50
