"""Whatever goes wrong on the way, the table comes to the same end: hypothesis draws the faults and their places."""

import copy
import shutil
import uuid

import pytest
from conftest import Host, new_adapter
from fake_cluster import FakeCluster, recorded_items
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runlink.testing

NAMES = (
    "archived-m2k9b", "brand-new-8wq2z", "build-image-vk8sd", "fan-out-offloaded-9cz6v", "other-controller-5jw8n",
    "queued-hg7kt", "quota-waiting-2vd9c", "retry-backoff-s69z6", "steps-9fkqc", "suspended-by-spec-q8f4m",
    "terminated-x5n8p",
)  # fmt: skip
ITEMS = [item for item in recorded_items() if item["metadata"]["name"] in NAMES]
END = "2026-11-23T15:00:0{}Z"


def labelled(cluster, namespace, name, **labels):
    item = copy.deepcopy(cluster.get(namespace, name))
    found = item["metadata"].setdefault("labels", {})
    found.update({f"workflows.argoproj.io/{key.replace('_', '-')}": value for key, value in labels.items()})
    cluster.put(item)


def archived(cluster, namespace, name):
    item = copy.deepcopy(cluster.get(namespace, name))
    item["metadata"].setdefault("labels", {})["workflows.argoproj.io/workflow-archiving-status"] = "Persisted"
    cluster.archive[item["metadata"]["uid"]] = item


def again(cluster, namespace, name):
    """The same name, another uid."""
    item = copy.deepcopy(next(i for i in ITEMS if i["metadata"]["name"] == name))
    item["metadata"]["uid"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    cluster.put(item)


def finish(phase, second, **more):
    return {"phase": phase, "finishedAt": END.format(second), **more}


MOVES = [
    lambda c: c.change("ci", "build-image-vk8sd", {"suspend": True}),
    lambda c: c.change("ci", "build-image-vk8sd", {"suspend": None}),
    lambda c: c.change("argo", "other-controller-5jw8n", **finish("Succeeded", 1)),
    lambda c: archived(c, "argo", "other-controller-5jw8n"),
    lambda c: c.delete("argo", "other-controller-5jw8n"),
    lambda c: c.change("ci", "build-image-vk8sd", {"shutdown": "Terminate"}),
    lambda c: c.change("ci", "queued-hg7kt", phase="Running", startedAt=END.format(0), message=""),
    lambda c: c.delete("batch", "suspended-by-spec-q8f4m"),
    lambda c: c.change("ci", "build-image-vk8sd", **finish("Failed", 2, message="Stopped with strategy 'Terminate'")),
    lambda c: c.change("ci", "queued-hg7kt", **finish("Succeeded", 3)),
    lambda c: archived(c, "ci", "queued-hg7kt"),
    lambda c: c.delete("ci", "queued-hg7kt"),
    lambda c: again(c, "ci", "queued-hg7kt"),
    lambda c: c.change("batch", "quota-waiting-2vd9c", **finish("Error", 4, message="no quota")),
    lambda c: c.delete("argo", "archived-m2k9b"),
    lambda c: labelled(c, "ci", "brand-new-8wq2z", phase="Running", completed="false"),
    lambda c: c.change("ci", "brand-new-8wq2z", phase="Running", startedAt=END.format(5)),
]
"""A gap in the history loses nothing of these: whatever was deleted had been seen, and was archived or not ended."""

RETRIES = [
    lambda c: c.change("ci", "build-image-vk8sd", **finish("Failed", 1, message="boom")),
    lambda c: c.change("ci", "build-image-vk8sd", phase="Running", message=None, finishedAt=None),
    lambda c: again(c, "ci", "steps-9fkqc") if c.get("ci", "steps-9fkqc") else None,
    lambda c: c.change("ci", "build-image-vk8sd", **finish("Failed", 2, message="boom again")),
    lambda c: c.change("ci", "build-image-vk8sd", phase="Running", message=None, finishedAt=None),
    lambda c: c.change("ci", "build-image-vk8sd", **finish("Succeeded", 3)),
    lambda c: c.put(short_lived()),
    lambda c: c.change("ci", "short-lived", **finish("Failed", 4, message="quickly")),
    lambda c: c.delete("ci", "short-lived"),
]
"""Only an unbroken history shows each of these: attempts in place, and a run deleted right after its end."""


def short_lived():
    item = copy.deepcopy(next(i for i in ITEMS if i["metadata"]["name"] == "brand-new-8wq2z"))
    item["metadata"] |= {"name": "short-lived", "uid": "5b0e1e2c-0000-4000-8000-000000000001"}
    return item


HISTORY_KEPT = ("429", "500", "cut", "end", "silence", "error-500")
HISTORY_LOST = ("410", "http-410", "restart", "compact")
AFTER_A_GAP = (
    "workflow", "status", "native_status", "attempt", "started_at", "finished_at", "message", "parent_external_id",
    "parameters", "vanished", "steps",
)  # fmt: skip


def run(folder, template, moves, turns, list_faults=(), page_size=10):
    """Moves and turns as drawn; the table at the end."""
    path = folder / f"{uuid.uuid4()}.db"
    shutil.copyfile(template, path)
    with FakeCluster() as cluster:
        cluster.load(ITEMS, 282)
        adapter = new_adapter(cluster, config={"argo_server_url": cluster.url, "page_size": page_size})
        host = Host(path, adapter)
        try:
            assert host.poll()
            cluster.faults["list"].extend(list_faults)
            left = list(moves)
            for count, fault in turns:
                for move in left[:count]:
                    move(cluster)
                del left[:count]
                if fault is not None:
                    cluster.faults["watch"].append(fault)
                ended = host.watch()
                if isinstance(ended, Exception) and type(ended).__name__ == "VersionExpired":
                    host.poll({} if count % 2 else None)
            for move in left:
                move(cluster)
            host.settle(cluster)
            return host.table()
        finally:
            runlink.testing.close(adapter)
            host.store.close()
            path.unlink()


class Ends(dict):
    def __repr__(self):
        return "the undisturbed ends"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, template):
    folder = tmp_path_factory.mktemp("undisturbed")
    return Ends(
        moves=run(folder, template, MOVES, [(1, None)] * len(MOVES)),
        retries=run(folder, template, RETRIES, [(1, None)] * len(RETRIES)),
    )


def turn(kinds):
    fault = st.one_of(st.none(), st.tuples(st.sampled_from(kinds), st.integers(0, 4)))
    return st.tuples(st.integers(0, 7), fault)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_the_undisturbed_end(undisturbed):
    rows = {name.partition("@")[0]: row for name, row in undisturbed["moves"].items() if "queued" not in name}
    ends = {name: (row["status"], row["native_status"], row["vanished"]) for name, row in rows.items()}
    assert ends["ci/build-image-vk8sd"] == ("CANCELLED", "Failed", False)
    assert ends["argo/other-controller-5jw8n"] == ("COMPLETED", "Succeeded", False)
    assert ends["batch/suspended-by-spec-q8f4m"] == ("PROCESSING", "Running (Suspended)", True)
    assert ends["batch/quota-waiting-2vd9c"] == ("FAILED", "Error", False)
    assert ends["argo/archived-m2k9b"] == ("COMPLETED", "Succeeded", False)
    queued = sorted((r["status"], r["native_status"]) for name, r in undisturbed["moves"].items() if "queued" in name)
    assert queued == [("COMPLETED", "Succeeded"), ("PENDING", "Pending")]
    retried = next(row for name, row in undisturbed["retries"].items() if "build-image" in name)
    assert [attempt[1:3] for attempt in retried["attempts"]] == [
        ("FAILED", "Failed"),
        ("FAILED", "Failed"),
        ("COMPLETED", "Succeeded"),
    ]
    assert any("short-lived" in name and row["status"] == "FAILED" for name, row in undisturbed["retries"].items())


@settings(max_examples=15, deadline=None, suppress_health_check=QUIET)
@given(
    turns=st.lists(turn((*HISTORY_KEPT, *HISTORY_LOST)), max_size=6),
    list_faults=st.lists(st.sampled_from((None, "429", "503", "cut", "410")), max_size=4),
)
def test_any_faults_come_to_the_same_end(turns, list_faults, undisturbed, tmp_path_factory, template):
    found = run(tmp_path_factory.getbasetemp(), template, MOVES, turns, list_faults)
    assert found.keys() == undisturbed["moves"].keys()
    for name, row in found.items():
        whole = undisturbed["moves"][name]
        assert {f: row[f] for f in AFTER_A_GAP} == {f: whole[f] for f in AFTER_A_GAP}, name


@settings(max_examples=15, deadline=None, suppress_health_check=QUIET)
@given(turns=st.lists(turn(HISTORY_KEPT), max_size=6))
def test_an_unbroken_history_tells_everything(turns, undisturbed, tmp_path_factory, template):
    assert run(tmp_path_factory.getbasetemp(), template, RETRIES, turns) == undisturbed["retries"]


@pytest.mark.parametrize("position", range(len(MOVES) + 1))
@pytest.mark.parametrize("kind", ["410", "restart"])
def test_410_at_every_position(kind, position, undisturbed, tmp_path_factory, template):
    turns = [(position, (kind, 0)), (len(MOVES), (kind, max(0, 2)))]
    found = run(tmp_path_factory.getbasetemp(), template, MOVES, turns)
    for name, row in undisturbed["moves"].items():
        assert {f: found[name][f] for f in AFTER_A_GAP} == {f: row[f] for f in AFTER_A_GAP}, name
