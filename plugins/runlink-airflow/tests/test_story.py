"""The recorded story at every kind of subset of its moments: however rarely one looks, the end is the same."""

import random
from itertools import combinations

import pytest

END = 14
SUBSETS = [
    (),
    tuple(range(1, END)),
    *((number,) for number in range(1, END)),
    *combinations(range(1, END), 2),
    *(tuple(sorted(random.Random(seed).sample(range(1, END), 3 + seed % 9))) for seed in range(60)),
]
DELETED = "ok_pipeline/rl-0007@1795444448.941370"
CLEARED = "fail_pipeline/manual__2026-11-23T14:34:08.818404+00:00@1795444448.818404"
RETRIED = "retry_pipeline/manual__2026-11-23T14:34:08.844276+00:00@1795444448.844276"
MAPPED = "mapped_pipeline/manual__2026-11-23T14:34:08.862959+00:00@1795444448.862959"
CANCELLED = "long_pipeline/manual__2026-11-23T14:34:08.895936+00:00@1795444448.895936"
PAUSED = "paused_pipeline/manual__2026-11-23T14:34:08.918515+00:00@1795444448.918515"


@pytest.fixture(autouse=True)
def audit_log(airflow, patch_line):
    """What the recorded Airflow wrote when the long run was cancelled (its form as in recording 144)."""
    airflow.events = [
        patch_line("long_pipeline", "manual__2026-11-23T14:34:08.895936+00:00", "2026-11-23T14:35:36.700000Z")
    ]


def ends(host):
    """What is known in the end, without the count of attempts (who looks rarely sees fewer) and what was deleted."""
    told = {name: {k: v for k, v in row.items() if k != "tries"} for name, row in host.table.items()}
    told.pop(DELETED, None)
    return dict(sorted(told.items()))


@pytest.fixture
def undisturbed(airflow, make_host):
    host = make_host()
    for number in range(1, END + 1):
        airflow.at(number)
        host.turn()
    return host


def test_the_end_as_airflow_tells_it(undisturbed):
    told = {
        name.split("/")[0]: (str(row["status"]), row["native_status"], row["tries"], row["parameters"], row["message"])
        for name, row in undisturbed.table.items()
        if "rl-0020" not in name
    }
    assert told == {
        "ok_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0007"}, None),
        "fail_pipeline": ("FAILED", "failed", 2, {"run_id": "rl-0002"}, "task boom failed (try 2 of 2)"),
        "retry_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0003"}, None),
        "mapped_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0004"}, None),
        "long_pipeline": (
            "CANCELLED",
            "failed",
            1,
            {"run_id": "rl-0005"},
            "set to failed by admin: cancelled by runlink",
        ),
        "paused_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0006"}, None),
    }
    assert len(undisturbed.table) == 8
    assert undisturbed.gone == set()  # it had ended, so nobody asked


def test_every_try_is_a_step(undisturbed):
    def tries(name, step):
        steps = undisturbed.table[name]["steps"]
        return [(s.attempt, s.native_status, s.final) for key, s in sorted(steps.items()) if key[0] == step]

    assert tries(RETRIED, "flaky") == [(1, "failed", False), (2, "failed", False), (3, "success", True)]
    assert tries(CLEARED, "boom") == [(1, "failed", False), (2, "failed", True)]


def test_a_mapped_task_is_a_step_with_parts(undisturbed):
    steps = undisturbed.table[MAPPED]["steps"]
    assert {key[0]: (s.native_status, str(s.status), s.parent) for key, s in steps.items()} == {
        "items": ("success", "COMPLETED", None),
        "square": ("mapped", "FAILED", None),
        "square[0]": ("success", "COMPLETED", "square"),
        "square[1]": ("success", "COMPLETED", "square"),
        "square[2]": ("failed", "FAILED", "square"),
        "square[3]": ("success", "COMPLETED", "square"),
        "total": ("success", "COMPLETED", None),
    }


def test_statuses_on_the_way(airflow, make_host):
    host, way = make_host(), []
    for number in range(1, 8):
        airflow.at(number)
        host.turn()
        row = host.table[RETRIED]
        way.append((str(row["status"]), row["native_status"]))
    assert way == [
        ("PENDING", "queued"),
        *[("PROCESSING", "running")] * 2,
        ("RETRYING", "running"),
        *[("RETRYING", "running")] * 2,
        ("COMPLETED", "success"),
    ]


@pytest.mark.parametrize("moments", SUBSETS, ids=lambda moments: "-".join(map(str, moments)) or "end")
def test_any_subset_of_moments_comes_to_the_same_end(moments, airflow, make_host, whole_end):
    host = make_host()
    for number in (*moments, END):
        airflow.at(number)
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
def test_crashes_and_new_processes_come_to_the_same_end(seed, airflow, make_host, make_adapter, whole_end):
    chance, host = random.Random(seed), make_host()
    for number in range(1, END + 1):
        airflow.at(number)
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
    assert host.table[CLEARED]["tries"] == 2
