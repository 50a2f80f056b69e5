"""Every trap that the recordings show, as a test: versions, bookmarks, 410, names used again, deletions, overload."""

import copy
import json
import threading
import time

import pytest
from conftest import SINCE, as_json, told
from fake_cluster import recorded, recorded_events

import runlink.testing
from runlink.spi import ConfigRejected, CredentialsRejected, CursorExpired, TransientError
from runlink_kubernetes.bursts import BURST_CHANGES, Change, Coalescing, Stopped
from runlink_kubernetes.objects import Codec, Meta, Place
from runlink_kubernetes.places import Places
from runlink_kubernetes.reflector import lines
from runlink_kubernetes.translate import WORKFLOW, Spec, Workflow, WorkflowStatus


def play(cluster, name):
    for event in recorded_events(name):
        if event["type"] != "BOOKMARK":
            cluster.event(event)


def test_the_recorded_life(cluster, make_host):
    host = make_host(cluster)
    assert host.poll()
    assert host.cursors() == {"all": "282"}
    play(cluster, "21")
    host.watch()
    assert host.cursors() == {"all": "298"}
    table = {name: row for name, row in host.table().items() if "deploy-xk2v7" in name}
    assert sorted((row["status"], row["native_status"]) for row in table.values()) == [
        ("COMPLETED", "Succeeded"),
        ("FAILED", "Error"),
    ]
    assert host.status("build-image-vk8sd") == ("CANCELLED", "Failed")
    assert host.status("archived-m2k9b") == ("COMPLETED", "Succeeded")  # DELETED is no end


def test_a_list_comes_in_pages_and_asks_for_no_version(cluster, make_adapter):
    adapter = make_adapter(cluster, config={"page_size": 20})
    pages = list(adapter.poll({}))
    assert sum(len(page.observations) for page in pages) == 51
    assert [dict(page.cursors) for page in pages[:-1]] == [{}] * (len(pages) - 1)
    assert pages[-1].cursors == {"all": "282"}
    assert all("resourceVersion" not in query and int(query["limit"]) <= 20 for query in cluster.lists())
    headers = cluster.requests[-1][3]
    assert (headers["Accept-Encoding"], headers["authorization"]) == ("gzip", "Bearer test-token")


def test_a_watch_has_a_version_bookmarks_and_a_random_time_limit(cluster, make_adapter):
    adapter = make_adapter(cluster)
    with pytest.raises(CursorExpired, match="takes a list first"):
        next(adapter.watch({}))
    with pytest.raises(TransientError, match="ends as soon as it begins"):
        list(adapter.watch({"all": "282"}))
    limits = {query["timeoutSeconds"] for query in cluster.watches()}
    assert len(limits) > 1
    assert all(300 <= int(limit) <= 600 for limit in limits)
    assert {query["allowWatchBookmarks"] for query in cluster.watches()} == {"true"}


def test_a_bookmark_is_a_heartbeat_with_a_cursor(cluster, make_adapter):
    cluster.version = 400
    page = next(make_adapter(cluster).watch({"all": "282"}))
    assert (list(page.observations), page.gone, page.cursors) == ([], (), {"all": "400"})


def test_a_poll_never_passes_what_the_watch_has_yet_to_tell(cluster, make_adapter):
    adapter = make_adapter(cluster)
    play(cluster, "21")
    assert [page.cursors for page in adapter.poll({"all": "282"})] == [{}]
    assert [page.cursors for page in adapter.poll({})][-1] == {"all": "298"}
    cluster.restart()
    with pytest.raises(CursorExpired):
        list(adapter.watch({"all": "282"}))
    assert [page.cursors for page in adapter.poll({"all": "282"})][-1] == {"all": "298"}
    assert [page.cursors for page in adapter.poll({"all": "298"})][-1] == {}


@pytest.mark.parametrize("fault", ["410", "http-410"])
def test_410_in_any_form_of_a_watch(fault, cluster, make_adapter):
    cluster.faults["watch"].append((fault, 0))
    with pytest.raises(CursorExpired):
        list(make_adapter(cluster).watch({"all": "282"}))


def test_an_expired_continue_token_begins_the_list_again(cluster, make_adapter):
    cluster.faults["list"].extend([None, "410"])
    pages = list(make_adapter(cluster, config={"page_size": 20}).poll({}))
    assert pages[-1].cursors == {"all": "282"}
    assert len({o.external_id for o in told(pages)}) == 51
    cluster.faults["list"].extend([None, "410"] * 3)
    with pytest.raises(TransientError, match="expired 3 times"):
        list(make_adapter(cluster, config={"page_size": 20}).poll({}))


@pytest.mark.parametrize(("fault", "wait_s"), [("429", 1.0), ("503", 5.0), ("cut", None)])
def test_overload_keeps_the_place_and_what_the_server_asked_for(fault, wait_s, cluster, make_adapter):
    cluster.faults["list"].append(fault)
    with pytest.raises(TransientError) as caught:
        list(make_adapter(cluster).poll({}))
    assert caught.value.retry_after_s == wait_s
    assert len(cluster.lists()) == 1  # nothing was repeated behind the host's back
    cluster.faults["watch"].append(("429", 0))
    with pytest.raises(TransientError) as caught:
        list(make_adapter(cluster).watch({"all": "282"}))
    assert caught.value.retry_after_s == 1.0


def test_a_version_in_the_future_is_silent_and_found_out(cluster, make_adapter):
    """Once it may be a lost connection; twice in a row from one version it is not."""
    adapter = make_adapter(cluster)
    cluster.follow = True
    with pytest.raises(TransientError, match="no answer for"):
        list(adapter.watch({"all": "999999"}))
    with pytest.raises(CursorExpired, match="silent"):
        list(adapter.watch({"all": "999999"}))


def test_versions_that_went_back_begin_an_epoch(cluster, make_host):
    """A restored backup: the same objects under lower versions, and a past that did not happen."""
    host = make_host(cluster)
    assert host.poll()
    cluster.change("batch", "quota-waiting-2vd9c", phase="Failed", finishedAt="2026-11-23T15:00:00Z")
    host.watch()
    assert host.status("quota-waiting-2vd9c")[0] == "FAILED"
    cluster.log = [each for each in cluster.log if each[0] <= 270]
    cluster.version = 270
    assert host.poll()
    assert host.cursors() == {"all": "1:270"}
    assert host.status("quota-waiting-2vd9c")[0] == "PROCESSING"
    cluster.change("batch", "quota-waiting-2vd9c", phase="Succeeded", finishedAt="2026-11-23T16:00:00Z")
    host.watch()
    assert host.status("quota-waiting-2vd9c") == ("COMPLETED", "Succeeded")
    assert host.cursors() == {"all": "1:271"}


def test_a_line_cut_in_its_middle_is_not_taken(cluster, make_adapter):
    play(cluster, "21")
    cluster.faults["watch"].append(("cut", 3))
    pages = []
    with pytest.raises(TransientError):
        pages.extend(make_adapter(cluster).watch({"all": "282"}))
    assert pages[-1].cursors == {"all": "285"}
    assert all(page.unreadable == () for page in pages)


def test_lines_over_any_chunks():
    text = b'{"a":1}\n{"b":22}\n\n{"c":333}\n{"cut'
    for size in range(1, len(text)):
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(lines(chunks)) == [b'{"a":1}', b'{"b":22}', b'{"c":333}']


def test_leaving_a_label_selection_is_no_deletion(cluster, make_host):
    """Recording 25: DELETED holds the state before the change. It is asked for again, and is still there."""
    host = make_host(cluster, config={"label_selector": "team=data"})
    assert host.poll()
    item = copy.deepcopy(cluster.get("ci", "build-image-vk8sd"))
    cluster.change("ci", "build-image-vk8sd", phase="Succeeded", finishedAt="2026-11-23T15:00:00Z")
    cluster.log[-1] = (cluster.version, "MODIFIED", cluster.log[-1][2])
    item["metadata"]["resourceVersion"] = str(cluster.version)
    now = cluster.get("ci", "build-image-vk8sd")
    cluster.log.append((cluster.version, "DELETED", item))
    cluster.overrides[f"{cluster.api}/namespaces/ci/workflows/build-image-vk8sd"] = (200, {}, now)
    host.watch()
    assert host.status("build-image-vk8sd") == ("COMPLETED", "Succeeded")


@pytest.mark.parametrize("selector", ["completed!=true", "phase in (Running)"])
def test_no_selection_by_completion(selector, cluster, make_adapter):
    with pytest.raises(ConfigRejected, match="its end would never be told"):
        make_adapter(cluster, config={"label_selector": f"workflows.argoproj.io/{selector}"})


def test_deleted_while_running_is_gone_after_two_looks(cluster, make_host):
    host = make_host(cluster)
    assert host.poll()
    cluster.delete("batch", "quota-waiting-2vd9c")
    host.watch()
    row = next(row for name, row in host.table().items() if "quota" in name)
    assert (row["status"], row["vanished"]) == ("PROCESSING", False)
    assert host.poll()
    row = next(row for name, row in host.table().items() if "quota" in name)
    assert (row["status"], row["vanished"]) == ("PROCESSING", True)


def test_a_missing_crd_makes_nothing_gone(cluster, make_adapter):
    """Recording 01: the 404 of a server that does not know the resource is text, not a Status."""
    adapter = make_adapter(cluster)
    name = "ci/build-image-vk8sd@2fdc310d-a81f-4d6b-b284-0c71dcdea04b"
    told_by_server = recorded("01")
    answer = (404, {"Content-Type": "text/plain"}, told_by_server["body"].encode())
    cluster.overrides[f"{cluster.api}/namespaces/ci/workflows/build-image-vk8sd"] = answer
    cluster.overrides[f"{cluster.api}/workflows"] = answer
    with pytest.raises(TransientError, match="CRD"):
        list(adapter.refetch([name]))
    with pytest.raises(TransientError, match="CRD"):
        list(adapter.poll({}))


def test_refetch_compares_the_uid(cluster, make_adapter):
    real = "ci/build-image-vk8sd@2fdc310d-a81f-4d6b-b284-0c71dcdea04b"
    ids = [real, "ci/build-image-vk8sd@other", "ci/none@x", "jenkins#1"]
    (page,) = make_adapter(cluster).refetch(ids)
    assert [o.external_id for o in page.observations] == [real]
    assert page.gone == tuple(ids[1:])


def test_a_forbidden_namespace_leaves_the_others(cluster, make_adapter, caplog):
    cluster.denied = {("list", "argo"), ("watch", "argo")}
    adapter = make_adapter(cluster, config={"namespaces": ["argo", "ci"]})
    pages = list(adapter.poll({}))
    assert {o.external_id.partition("/")[0] for o in told(pages)} == {"ci"}
    assert [dict(page.cursors) for page in pages if page.cursors] == [{"ci": "282"}]
    assert "namespace argo" in caplog.text or "argo cannot be listed" in caplog.text
    assert list(adapter.watch({"ci": "282"}))  # ends by itself, to take in argo once it has a version
    cluster.denied.add(("list", "ci"))
    with pytest.raises(CredentialsRejected):
        list(adapter.poll({}))


def test_several_namespaces_are_watched_at_once(cluster, make_host):
    host = make_host(cluster, config={"namespaces": ["argo", "ci", "batch"]})
    assert host.poll()
    assert host.cursors() == dict.fromkeys(("argo", "ci", "batch"), "282")
    play(cluster, "21")
    host.watch()
    assert host.status("build-image-vk8sd")[0] == "CANCELLED"
    assert host.cursors()["argo"] == "298"


def test_an_empty_cluster_and_an_unknown_namespace(cluster, make_adapter):
    pages = list(make_adapter(cluster, config={"namespaces": ["nothing-here"]}).poll({}))
    assert [(list(page.observations), dict(page.cursors)) for page in pages] == [([], {"nothing-here": "282"})]


def test_one_bad_item_does_not_stop_the_rest(cluster, make_adapter):
    item = copy.deepcopy(cluster.get("ci", "queued-hg7kt"))
    item["status"]["startedAt"] = "yesterday"
    cluster.put(item)
    (page,) = make_adapter(cluster).poll({})
    assert len(page.observations) == 50
    assert [bad.external_id.partition("@")[0] for bad in page.unreadable] == ["ci/queued-hg7kt"]
    pages = []
    with pytest.raises(TransientError):
        pages.extend(make_adapter(cluster).watch({"all": "282"}))
    first = next(make_adapter(cluster).watch({"all": "282"}))
    assert [bad.external_id.partition("@")[0] for bad in first.unreadable] == ["ci/queued-hg7kt"]


def test_the_look_back_window_and_include(cluster, make_adapter):
    adapter = make_adapter(cluster, since=SINCE.replace(year=2026, month=11, day=21), include=["ci/*", "argo/*"])
    found = told(adapter.poll({}))
    assert all(o.workflow.startswith(("ci/", "argo/")) for o in found)
    assert all(o.finished_at is None or o.finished_at.year == 2026 for o in found)
    assert any(o.finished_at is None for o in found)


def test_close_ends_a_watch_that_waits(cluster, make_adapter):
    cluster.follow = True
    adapter = make_adapter(cluster, config={"silence_s": 60})
    ended = []

    def follow():
        try:
            list(adapter.watch({"all": "282"}))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    while not cluster.watches():
        time.sleep(0.005)
    began = time.monotonic()
    runlink.testing.close(adapter)
    thread.join(5)
    assert time.monotonic() - began < 1.0
    assert isinstance(ended[0], TransientError)


def test_letting_go_of_a_watch_ends_its_threads(cluster, make_adapter):
    cluster.follow = True
    watch = make_adapter(cluster, config={"silence_s": 60}).watch({"all": "270"})
    assert next(watch).observations
    watch.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch ") and thread.is_alive()]


# --- coalescing ------------------------------------------------------------------------------------------------------


def state(uid, phase, version, text="x"):
    meta = Meta(name=uid, namespace="n", uid=uid, resource_version=str(version))
    return Change(Workflow(meta, Spec(), WorkflowStatus(phase=phase, message=text)), False)


def put(buffer, uid, phase, version):
    buffer.put("", str(version), state(uid, phase, version), 100)


def phases(burst):
    return [(c.item.metadata.uid, c.item.status.phase, c.item.metadata.resource_version) for c in burst.changes]


def test_the_newest_state_of_each_attempt():
    buffer = Coalescing(WORKFLOW, linger_s=0)
    for version, phase in enumerate(("Pending", "Running", "Failed", "Running", "Failed", "Running", "Succeeded"), 1):
        put(buffer, "a", phase, version)
        put(buffer, "b", "Running", version * 10)
    burst = buffer.take()
    assert phases(burst) == [
        ("a", "Failed", "3"), ("a", "Running", "4"), ("a", "Failed", "5"), ("a", "Running", "6"),
        ("a", "Succeeded", "7"), ("b", "Running", "70"),
    ]  # fmt: skip
    assert burst.versions == {"": "70"}
    put(buffer, "a", "Running", 80)  # another burst remembers that the attempt before had ended
    put(buffer, "a", "Succeeded", 81)
    put(buffer, "b", "Succeeded", 82)
    assert phases(buffer.take()) == [("a", "Running", "80"), ("a", "Succeeded", "81"), ("b", "Succeeded", "82")]


def test_a_burst_is_bounded_and_the_reader_waits():
    buffer = Coalescing(WORKFLOW, linger_s=0)
    done = []

    def fill():
        try:
            for number in range(10_000):
                put(buffer, f"u{number}", "Running", number + 1)
        except Stopped:
            return
        done.append(True)

    thread = threading.Thread(target=fill)
    thread.start()
    sizes, last = [], 0
    while last < 10_000:
        burst = buffer.take()
        sizes.append(len(burst.changes))
        assert burst.versions[""] == burst.changes[-1].item.metadata.resource_version
        last = int(burst.versions[""])
    thread.join(5)
    assert done == [True]
    assert sum(sizes) == 10_000
    assert max(sizes) <= BURST_CHANGES


def test_what_came_before_a_failure_is_given_first():
    buffer = Coalescing(WORKFLOW, linger_s=0)
    put(buffer, "a", "Running", 1)
    buffer.fail(TransientError("lost"))
    assert phases(buffer.take()) == [("a", "Running", "1")]
    with pytest.raises(TransientError, match="lost"):
        buffer.take()


def test_places_do_not_go_back():
    places = Places()
    places.reached("", Place(version="100"))
    before = places.before_list("", "90")
    assert before == Place(version="100")
    assert places.listed("120", before).epoch == 0
    assert places.listed("50", before).epoch == 1
    assert places.after_list("", Place(version="50", epoch=1), "90") == "1:50"
    assert places.after_list("", Place(version="60", epoch=1), "1:50") is None


def test_an_error_event_decodes_as_no_workflow():
    codec = Codec(WORKFLOW)
    line = json.dumps(recorded_events("30")[0]).encode()
    with pytest.raises(Exception, match="status"):
        codec.event(line)


def test_pages_can_be_serialised(cluster, make_adapter):
    import msgspec

    for page in make_adapter(cluster).poll({}):
        assert as_json(msgspec.to_builtins(page))
