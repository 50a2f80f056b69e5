"""How many requests it takes, and how few."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fake_jenkins import PIPELINE, T0
from small_host import NOW, Bench, SmallHost

import runlink.testing
from runlink.spi import Observation
from runlink_jenkins import JenkinsAdapter
from runlink_jenkins.client import Client
from runlink_jenkins.listing import Folder, Job, plan


def observed(host: SmallHost, adapter: JenkinsAdapter) -> list[Observation]:
    return [o for page in host.poll(adapter) for o in page.observations]


def test_an_idle_poll_of_217_jobs_is_one_request_and_writes_nothing(bench: Bench) -> None:
    for n in range(200):
        bench.jenkins.fill(f"job-{n:03}", 3)
    for n in range(17):
        bench.jenkins.fill(f"team-{n % 4}/sub/deep-{n}", 2)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    assert len(host.table) == 634
    bench.asked()
    for fresh in (adapter, adapter, bench.adapter()):
        assert host.poll(fresh) == []
        assert bench.asked() == ["/api/json"]


def test_a_waiting_queue_item_costs_the_queue_and_changes_nothing(bench: Bench) -> None:
    bench.jenkins.fill("a", 1)
    bench.jenkins.wait(9, "a")
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    bench.asked()
    first = dict(host.table)
    pages = host.poll(adapter)
    host.refetch(adapter)
    assert bench.asked() == ["/api/json", "/queue/api/json"]
    assert [page.cursors for page in pages] == [{}]
    assert host.table == first


def test_a_first_sync_of_200_jobs_with_20_builds_is_at_most_12_requests(bench: Bench) -> None:
    for n in range(200):
        bench.jenkins.fill(f"job-{n:03}", 20)
    adapter = bench.adapter()
    host = SmallHost()
    host.turn(adapter)
    assert len(host.table) == 4000
    assert runlink.testing.requests_made(adapter) <= 4


def test_a_first_sync_in_folders_of_one_job_each(bench: Bench) -> None:
    for n in range(200):
        bench.jenkins.fill(f"team-{n:03}/app/main", 20)
    adapter, host = bench.adapter(), SmallHost()
    host.turn(adapter)
    assert len(host.table) == 4000
    assert runlink.testing.requests_made(adapter) <= 4


def test_a_first_sync_of_100_builds_a_job_looks_no_further(bench: Bench) -> None:
    for n in range(50):
        bench.jenkins.fill(f"job-{n:03}", 150)
    adapter, host = bench.adapter(), SmallHost()
    host.turn(adapter)
    assert len(host.table) == 5000
    assert runlink.testing.requests_made(adapter) <= 5
    assert not any("allBuilds" in tree for _, _, tree in bench.jenkins.requests)


def test_a_first_sync_keeps_to_the_window(bench: Bench) -> None:
    bench.jenkins.fill("old", 50)
    bench.jenkins.build("old", timestamp=T0 - 900_000_000, duration=0, building=True, result=None)
    host, adapter = SmallHost(), bench.adapter(since=NOW - timedelta(minutes=70))
    host.turn(adapter)
    assert {host.table[i]["metadata"]["number"] for i in host.table} == {*range(41, 51), 51}


def test_jobs_that_moved_are_read_together(bench: Bench) -> None:
    for n in range(200):
        bench.jenkins.fill(f"job-{n:03}", 30)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    bench.asked()
    for n in range(0, 200, 4):
        bench.jenkins.build(f"job-{n:03}", timestamp=T0 + 5)
    assert len({o.external_id for o in observed(host, adapter)} & {f"job-{n:03}#31@{T0 + 5}" for n in range(200)}) == 50
    assert len(bench.asked()) <= 9


def test_one_job_that_moved_is_one_small_request(bench: Bench) -> None:
    for n in range(200):
        bench.jenkins.fill(f"job-{n:03}", 30)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    bench.asked()
    bench.jenkins.build("job-077")
    assert len(observed(host, adapter)) == 4
    assert bench.asked() == ["/api/json", "/job/job-077/api/json"]


def test_running_builds_are_read_in_few_requests(bench: Bench) -> None:
    for n in range(100):
        bench.jenkins.build(f"job-{n:03}", building=True, result=None, duration=0)
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    bench.asked()
    host.turn(adapter)
    assert len(bench.asked()) <= 2
    assert set(host.statuses().values()) == {"PROCESSING"}


def test_more_than_100_new_builds_are_all_found(bench: Bench) -> None:
    bench.jenkins.fill("busy", 700)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    bench.jenkins.requests.clear()
    for n in range(620):
        bench.jenkins.build("busy", timestamp=T0 + n)
    host.poll(adapter)
    assert {row["metadata"]["number"] for row in host.table.values()} == set(range(601, 1321))
    assert [t.partition("[")[0] for _, _, t in bench.jenkins.requests] == ["jobs", "allBuilds", "allBuilds"]
    assert host.poll(adapter) == []


def test_a_backfill_goes_down_to_the_window_in_pages(bench: Bench) -> None:
    bench.jenkins.fill("long", 3000)
    bench.jenkins.fill("short", 40)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    assert len(host.table) == 140
    deep = bench.adapter(backfill=True, since=NOW - timedelta(minutes=60 + 2000))
    pages = list(deep.poll(dict(host.cursors)))
    assert max(len(page.observations) for page in pages) <= 500
    for page in pages:
        host.apply(page)
    assert len(host.table) == 2040
    assert runlink.testing.requests_made(deep) <= 8
    assert host.poll(adapter) == []


def test_builds_that_start_between_two_pages_lose_none(bench: Bench) -> None:
    bench.jenkins.fill("long", 1200)
    adapter, host = bench.adapter(backfill=True), SmallHost()
    for page in adapter.poll({}):
        host.apply(page)
        for _ in range(4):
            bench.jenkins.build("long", timestamp=T0)
    numbers = {row["metadata"]["number"] for row in host.table.values()}
    assert numbers >= set(range(1, 1201))


def test_folders_deeper_than_the_first_look(bench: Bench) -> None:
    bench.jenkins.fill("a/b/c/d/e/f/g/deep", 2)
    bench.jenkins.fill("a/empty-soon", 1)
    host, adapter = SmallHost(), bench.adapter()
    host.poll(adapter)
    assert len(host.table) == 3
    bench.asked()
    assert host.poll(adapter) == []
    assert bench.asked() == ["/api/json"], "the depth is learnt"


def test_only_wanted_jobs_cost_requests(bench: Bench) -> None:
    bench.jenkins.fill("team/app", 5)
    bench.jenkins.fill("team/secret", 5)
    bench.jenkins.fill("other", 5)
    host, adapter = SmallHost(), bench.adapter(include=("team/*",), exclude=("*/secret",))
    host.turn(adapter)
    assert {row["workflow"] for row in host.table.values()} == {"team/app"}
    assert bench.asked() == ["/api/json", "/job/team/job/app/api/json"]


def test_a_tree_too_long_for_an_address_is_posted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.jenkins.job("a")
    client = Client(bench.adapter().context)
    tree = "jobs[fullName],".rstrip(",") + "," + ",".join(f"none{n}" for n in range(900))
    assert client.read("", tree)["jobs"] == [{"_class": "hudson.model.FreeStyleProject", "fullName": "a"}]
    assert [method for method, _, _ in bench.jenkins.requests] == ["POST"]


def test_a_414_is_posted_instead(bench: Bench) -> None:
    bench.jenkins.fill("a", 2)
    bench.jenkins.longest_url = 60
    host = SmallHost()
    host.turn(bench.adapter())
    assert len(host.table) == 2
    assert {method for method, _, _ in bench.jenkins.requests} == {"GET", "POST"}


def test_posting_with_a_password_takes_a_crumb(bench: Bench) -> None:
    bench.jenkins.user, bench.jenkins.token, bench.jenkins.is_token = "ann", "secret-word", False
    bench.jenkins.fill("a", 2)
    bench.jenkins.longest_url = 60
    host = SmallHost()
    host.turn(bench.adapter(config={"user": "ann", "token": "secret-word"}))
    assert len(host.table) == 2
    assert "/crumbIssuer/api/json" in bench.asked()


def test_reads_take_no_crumb_and_no_trial_of_credentials(bench: Bench) -> None:
    bench.jenkins.user, bench.jenkins.token = "ann", "secret-word"
    bench.jenkins.job("a")
    adapter = bench.adapter(config={"user": "ann", "token": "secret-word"})
    list(adapter.poll({}))
    assert bench.asked() == ["/api/json"]
    assert bench.engine.requests[-1].headers["accept-encoding"] == "gzip"


def test_the_parent_of_a_first_sync_costs_nothing(bench: Bench) -> None:
    cause = {
        "_class": "hudson.model.Cause$UpstreamCause",
        "shortDescription": "up",
        "upstreamProject": "z-upstream",
        "upstreamBuild": 1,
    }
    for n in range(40):
        bench.jenkins.build(f"a-{n}", timestamp=T0 + 9, actions=[{"_class": "CauseAction", "causes": [cause]}])
    parent = bench.jenkins.build("z-upstream", timestamp=T0)
    assert parent.number == 1
    adapter, host = bench.adapter(), SmallHost()
    host.poll(adapter)
    assert all(r["parent"] == f"z-upstream#1@{T0}" for i, r in host.table.items() if i.startswith("a-"))
    assert runlink.testing.requests_made(adapter) == 2


def test_stages_cost_one_request_for_an_engine_without_them(bench: Bench) -> None:
    for n in range(6):
        bench.jenkins.job(f"pipe-{n}", PIPELINE)
        bench.jenkins.build(f"pipe-{n}", building=True, result=None, duration=0)
    host, adapter = SmallHost(), bench.adapter()
    host.turn(adapter)
    host.turn(adapter)
    host.turn(adapter)
    assert sum("wfapi" in path for path in bench.asked()) == 1
    bench.pass_time(hours=2)
    host.turn(adapter)  # its poll sweeps, and shows all of them
    host.turn(adapter)
    assert sum("wfapi" in path for path in bench.asked()) == 1


# --- the plan -------------------------------------------------------------------------------------------------------
def listing(*sizes: int) -> Folder:
    root = Folder("")
    for n, size in enumerate(sizes):
        root.children.append(Job(f"j{n}", size + 1, "blue", False))
    return root


def test_no_request_asks_for_much_more_than_was_allowed() -> None:
    root = listing(*[100] * 100)
    batches = plan(root, {f"j{n}": 100 for n in range(100)}, 2500)
    assert [b.stop - b.start for b in batches] == [24, 24, 24, 24, 4]
    assert sorted(n for b in batches for n in b.names) == sorted(f"j{n}" for n in range(100))


def test_a_big_folder_is_read_by_its_own_path() -> None:
    root = listing(5, 5)
    root.children.insert(1, Folder("big", [Job(f"big/{n}", 50, "", False) for n in range(300)]))
    batches = plan(root, {"j0": 4, "j1": 4, "big/7": 4}, 2500)
    assert [(b.folder, b.names) for b in batches] == [("", ["j0"]), ("big", ["big/7"]), ("", ["j1"])]
