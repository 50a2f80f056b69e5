"""The recorded story at every kind of subset of its moments: however rarely one looks, the end is the same."""

import random
from itertools import combinations

import pytest

END = 14
SUBSETS = [
    (),
    tuple(range(1, END)),
    *((moment,) for moment in range(1, END)),
    *combinations(range(1, END), 2),
    *(tuple(sorted(random.Random(seed).sample(range(1, END), 3 + seed % 9))) for seed in range(60)),
]


def ends(host):
    return dict(sorted(host.table.items()))


@pytest.fixture
def undisturbed(master, make_host):
    host = make_host()
    for moment in range(1, END + 1):
        master.at(moment)
        host.turn()
    return host


def test_the_end_as_buildbot_tells_it(undisturbed):
    told = {
        name: (row["workflow"], row["status"], row["native_status"], row["attempt"], row["parent"])
        for name, row in ends(undisturbed).items()
    }
    parent = "buildrequest:5@1795445389"
    assert told == {
        "buildrequest:1@1795445389": ("ok", "COMPLETED", "SUCCESS", 1, None),
        "buildrequest:2@1795445389": ("fail", "FAILED", "FAILURE", 1, None),
        "buildrequest:3@1795445389": ("retry", "COMPLETED", "SUCCESS", 3, None),
        "buildrequest:4@1795445389": ("long", "CANCELLED", "CANCELLED", 1, None),
        parent: ("parent", "FAILED", "FAILURE", 1, None),
        "buildrequest:6@1795445395": ("child2", "FAILED", "FAILURE", 1, parent),
        "buildrequest:7@1795445395": ("child1", "COMPLETED", "SUCCESS", 1, parent),
        "buildrequest:8@1795445416": ("ok", "PROCESSING", "building", 1, None),
        "buildrequest:9@1795445416": ("long", "CANCELLED", "CANCELLED", 1, None),
    }


def test_a_retry_is_the_same_request_with_a_new_build(undisturbed):
    retried = undisturbed.table["buildrequest:3@1795445389"]
    assert [(n, a.status, a.native_status, a.url) for n, a in sorted(retried["tries"].items())] == [
        (1, "FAILED", "RETRY", "http://buildbot.test/#/builders/1/builds/1"),
        (2, "FAILED", "RETRY", "http://buildbot.test/#/builders/1/builds/2"),
    ]
    assert [(s.external_id, s.attempt, s.native_status, s.final) for s in retried["steps"]] == [
        ("0:worker_preparation", 1, "SUCCESS", False),
        ("1:flaky", 1, "RETRY", False),
        ("0:worker_preparation", 2, "SUCCESS", False),
        ("1:flaky", 2, "RETRY", False),
        ("0:worker_preparation", 3, "SUCCESS", True),
        ("1:flaky", 3, "SUCCESS", True),
    ]


def test_statuses_on_the_way(master, make_host):
    host, way = make_host(), []
    for moment in range(1, END):
        master.at(moment)
        host.turn()
        row = host.table["buildrequest:3@1795445389"]
        way.append((str(row["status"]), row["native_status"], row["attempt"]))
    assert way == [
        *[("PENDING", "pending", 1)] * 3,
        *[("PROCESSING", "building", 1)] * 3,
        ("RETRYING", "claimed", 1),
        *[("PROCESSING", "building", 2)] * 2,
        ("RETRYING", "pending", 2),
        *[("PROCESSING", "building", 3)] * 2,
        ("COMPLETED", "SUCCESS", 3),
    ]


@pytest.mark.parametrize("moments", SUBSETS, ids=lambda moments: "-".join(map(str, moments)) or "end")
def test_any_subset_of_moments_comes_to_the_same_end(moments, master, make_host, whole_end):
    host = make_host()
    for moment in (*moments, END):
        master.at(moment)
        host.turn()
    assert ends(host) == whole_end


@pytest.fixture(scope="module")
def remembered():
    return {}


@pytest.fixture
def whole_end(remembered, request):
    if not remembered:
        remembered.update(ends(request.getfixturevalue("undisturbed")))
    return remembered


@pytest.mark.parametrize("seed", range(25))
def test_crashes_and_new_processes_come_to_the_same_end(seed, master, make_host, make_adapter, whole_end):
    chance, host = random.Random(seed), make_host()
    for moment in range(1, END + 1):
        master.at(moment)
        if chance.random() < 0.4:
            before = dict(host.cursors)
            host.turn(pages=chance.randint(0, 1))
            if chance.random() < 0.5:
                host.cursors = before  # the page was lost with its cursor
            host.adapter = make_adapter()
        else:
            host.turn()
    host.turn()  # after the last crash
    assert ends(host) == whole_end
