"""The recorded story at every kind of subset of its moments: however rarely one looks, the end is the same."""

import random
from itertools import combinations

import pytest

END = 12
SUBSETS = [
    (),
    tuple(range(1, END)),
    *((moment,) for moment in range(1, END)),
    *combinations(range(1, END), 2),
    *(tuple(sorted(random.Random(seed).sample(range(1, END), 3 + seed % 8))) for seed in range(60)),
]
FAIL, LONG = "0566eb2d-2cd6-46f2-b368-94a85759f85f", "72790e80-1db7-4d7f-9984-bbc49f935257"
RETRY, AGAIN = "8527bacc-fa6b-4fbb-8f64-489f3c7c80ea", "f02bf0b3-3cc4-49bd-89fe-c0a481ce99b3"


def ends(host):
    return dict(sorted(host.table.items()))


@pytest.fixture
def undisturbed(engine, make_host):
    host = make_host()
    for moment in range(1, END + 1):
        engine.at(moment)
        host.turn()
    return host


def test_the_end_as_dagster_tells_it(undisturbed):
    told = {
        row["workflow"].removeprefix("dagster_defs.py/"): (str(row["status"]), row["native_status"], row["parent"])
        for name, row in ends(undisturbed).items()
        if name != AGAIN
    }
    assert told == {
        "ok_job": ("COMPLETED", "SUCCESS", None),
        "fail_job": ("FAILED", "FAILURE", None),
        "retry_job": ("COMPLETED", "SUCCESS", None),
        "mapped_job": ("COMPLETED", "SUCCESS", None),
        "long_job": ("CANCELLED", "CANCELED", None),
    }
    again = undisturbed.table[AGAIN]
    assert (again["workflow"], str(again["status"]), again["parent"]) == ("dagster_defs.py/fail_job", "PENDING", FAIL)
    assert all(row["steps"] is not None for row in undisturbed.table.values())


def test_statuses_on_the_way(engine, make_host):
    host, way = make_host(), []
    for moment in range(1, END):
        engine.at(moment)
        host.turn()
        row = host.table[FAIL]
        state = (str(row["status"]), row["native_status"], len(row["steps"]))
        if state not in way:
            way.append(state)
    assert way == [
        ("PENDING", "QUEUED", 0),
        ("PENDING", "STARTING", 0),
        ("PROCESSING", "STARTED", 0),
        ("PROCESSING", "STARTED", 1),  # seen though Dagster did not stamp the run
        ("FAILED", "FAILURE", 1),
    ]


@pytest.mark.parametrize("moments", SUBSETS, ids=lambda moments: "-".join(map(str, moments)) or "end")
def test_any_subset_of_moments_comes_to_the_same_end(moments, engine, make_host, whole_end):
    host = make_host()
    for moment in (*moments, END):
        engine.at(moment)
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
def test_crashes_and_new_processes_come_to_the_same_end(seed, engine, make_host, make_adapter, whole_end):
    chance, host = random.Random(seed), make_host()
    for moment in range(1, END + 1):
        engine.at(moment)
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
