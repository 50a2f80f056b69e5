"""The recorded story seq-0…6, told to a host that looks at every subset of its moments.

What lived only between two polls, and is therefore not in every final table:
- queue item 50 and 49 as PENDING rows (they become the builds), hence `created_at`, which only the queue tells;
- queue item 51 of job-b, which no moment shows;
- build 1 of job-b, which is deleted before moment 6: a host that looks at 6 alone never hears of it;
- run-a-2's wait, which only moment 3 shows.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fake_jenkins import FakeJenkins
from small_host import Bench, SmallHost, put_moment

A1, A2, B1 = "seq/job-a#1@1795445921615", "seq/job-a#2@1795445925815", "seq/job-b#1@1795445921647"
STARVED = "queue:45@1795445582655"
VISIBLE = {A1: {3, 4, 5, 6}, A2: {4, 5, 6}, B1: {3, 4, 5}, STARVED: set(range(7))}
QUEUED = {A1: {1, 2}, A2: {3}}
ENDS = {A1: "COMPLETED", A2: "CANCELLED", B1: "FAILED", STARVED: "PENDING"}
SUBSETS = [s for n in range(1, 8) for s in itertools.combinations(range(7), n)]


def watch(bench: Bench, moments: tuple[int, ...], *, restart: bool) -> SmallHost:
    host, adapter = SmallHost(), None
    bench.jenkins = FakeJenkins()
    for step in range(7):
        put_moment(bench.jenkins, step)
        if step in moments:
            if adapter is None or restart:
                adapter = bench.adapter(config={"sweep_interval_s": 0})
            host.turn(adapter)
    return host


def final(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("created_at", "steps")}


@pytest.mark.parametrize("restart", [False, True], ids=["one process", "a process per poll"])
def test_every_subset_of_moments_ends_the_same(bench: Bench, restart: bool) -> None:
    whole = watch(bench, tuple(range(7)), restart=restart)
    assert whole.statuses() == ENDS
    for moments in SUBSETS:
        host = watch(bench, moments, restart=restart)
        for external_id, visible in VISIBLE.items():
            seen = visible & set(moments)
            if not seen:
                continue
            last = max(seen)
            if len(seen) >= 2 and (6 in moments or external_id in (B1, STARVED)):
                assert final(host.table[external_id]) == final(whole.table[external_id]), (moments, external_id)
            elif last >= 5:
                assert host.statuses()[external_id] == ENDS[external_id], (moments, external_id)
            queued = QUEUED.get(external_id, set()) & set(moments)
            assert ("created_at" in host.table[external_id]) == bool(queued or external_id == STARVED)
        leftovers = {i for i in host.table if i.startswith("queue:")} - {STARVED}
        still_queued = {"queue:49@1795445918601"} if max(moments) in (1, 2) else set()
        still_queued |= {"queue:50@1795445921581"} if max(moments) == 3 else set()
        assert leftovers == still_queued, moments
        assert not host.unreadable
        bench.close_adapters()


def test_the_story_in_full(bench: Bench) -> None:
    host = watch(bench, tuple(range(7)), restart=False)
    first, second = host.table[A1], host.table[A2]
    assert first["parameters"] == {"RUN_ID": "run-a-1"}
    assert first["metadata"]["description"] == "looked at"
    assert first["labels"] == {"folder": "seq", "cause": "UserIdCause", "user": "admin"}
    assert first["created_at"] < first["started_at"] < first["finished_at"]
    assert first["url"] == f"{bench.url}/job/seq/job/job-a/1/"
    assert second["native_status"] == "ABORTED"
    assert second["message"] == "Aborted by admin"
    assert host.table[STARVED]["status"] == "PENDING"
