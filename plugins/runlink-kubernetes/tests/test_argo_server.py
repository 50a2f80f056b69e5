"""The Argo Server: the archive after a deletion, offloaded nodes, and the way in where there is no other."""

import copy

import pytest
from conftest import told

from runlink.spi import ConfigRejected, CursorExpired, TransientError


def archived(cluster, namespace, name, **status):
    item = copy.deepcopy(cluster.get(namespace, name))
    item["status"].update(status)
    item["metadata"].setdefault("labels", {})["workflows.argoproj.io/workflow-archiving-status"] = "Persisted"
    cluster.archive[item["metadata"]["uid"]] = item
    return item


ENDED = {"phase": "Succeeded", "finishedAt": "2026-11-23T15:00:00Z"}


def test_an_end_that_only_the_archive_remembers(cluster, make_host):
    host = make_host(cluster, config={"argo_server_url": cluster.url})
    assert host.poll()
    archived(cluster, "batch", "quota-waiting-2vd9c", **ENDED)
    cluster.delete("batch", "quota-waiting-2vd9c")
    host.watch()
    assert host.status("quota-waiting-2vd9c") == ("COMPLETED", "Succeeded")


def test_an_archive_that_is_down_makes_nothing_gone(cluster, make_host):
    host = make_host(cluster, config={"argo_server_url": cluster.url})
    assert host.poll()
    cluster.archive_down = True
    cluster.delete("batch", "quota-waiting-2vd9c")
    host.watch()
    for _ in range(3):
        assert host.poll()
    (row,) = [row for name, row in host.table().items() if "quota" in name]
    assert row["vanished"] is False
    assert sum("archived-workflows" in path for _, path, _, _ in cluster.requests) == 1  # not asked again for a while


def test_offloaded_nodes(cluster, make_adapter):
    uid = cluster.get("batch", "fan-out-offloaded-9cz6v")["metadata"]["uid"]
    cluster.archive[f"nodes:{uid}"] = cluster.get("argo", "many-items-z26lj")["status"]["nodes"]
    adapter = make_adapter(cluster, config={"argo_server_url": cluster.url})
    (found,) = [o for o in told(adapter.poll({})) if "offloaded" in o.external_id]
    assert len(found.steps) == 15
    cluster.archive_down = True
    other = make_adapter(cluster, config={"argo_server_url": cluster.url})
    (found,) = [o for o in told(other.poll({})) if "offloaded" in o.external_id]
    assert found.steps is None


def test_through_the_argo_server_the_same_is_told(cluster, make_adapter):
    direct = {o.external_id: o for o in told(make_adapter(cluster).poll({}))}
    adapter = make_adapter(cluster, config={"via": "argo-server", "page_size": 20})
    pages = list(adapter.poll({}))
    assert pages[-1].cursors == {"all": "276"}  # its list has no version: the newest object's
    assert {o.external_id: o for o in told(pages)}.keys() == direct.keys()
    same = [name for name, o in direct.items() if o.steps is not None and "offloaded" not in name]
    through = {o.external_id: o for o in told(pages)}
    assert all(through[name] == direct[name] for name in same)
    assert "v4.1.2" in adapter.check().version


def test_events_through_the_argo_server(cluster, make_host):
    host = make_host(cluster, config={"via": "argo-server"})
    assert host.poll()
    cluster.change("batch", "quota-waiting-2vd9c", **ENDED)
    host.watch()
    assert host.status("quota-waiting-2vd9c") == ("COMPLETED", "Succeeded")
    cluster.restart()
    cluster.version += 5
    cluster.compacted = cluster.version
    with pytest.raises(CursorExpired):
        list(host.adapter.watch(host.cursors()))


def test_the_archive_is_not_read_to_its_end(cluster, make_adapter):
    for number in range(40):
        item = archived(cluster, "argo", "steps-4k5vn", finishedAt="2018-01-01T00:00:00Z")
        item["metadata"] = {**item["metadata"], "uid": f"old-{number}", "name": f"old-{number}"}
        cluster.archive[f"old-{number}"] = item
    adapter = make_adapter(cluster, config={"via": "argo-server", "page_size": 10})
    assert len(told(adapter.poll({}))) == 51
    assert sum(path == "/api/v1/workflows/" for _, path, _, _ in cluster.requests) == 7


def test_nothing_to_watch_from(cluster, make_adapter):
    cluster.log.clear()
    adapter = make_adapter(cluster, config={"via": "argo-server"})
    assert told(adapter.poll({})) == []
    with pytest.raises(TransientError, match="no version to watch from"):
        next(adapter.watch({}))
    with pytest.raises(ConfigRejected):
        make_adapter(cluster, config={"via": "argo-server", "finalizer": True})
