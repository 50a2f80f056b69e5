"""What each recorded workflow and node means to runlink, and every way that Argo packs nodes."""

import base64
import gzip
import json

import brotli
import pytest
import zstandard
from fake_cluster import recorded_items

from runlink.spi import UNKNOWN, ExecutionStatus
from runlink_kubernetes.nodes import Node, NodesUnreadable, decode, decompress, steps
from runlink_kubernetes.objects import Codec, external_id, parse_external_id
from runlink_kubernetes.translate import WORKFLOW, Surroundings, observe

ITEMS = {item["metadata"]["name"]: item for item in recorded_items()}
codec = Codec(WORKFLOW)


def seen(name, around=None, **changes):
    item = json.loads(json.dumps(ITEMS[name]))
    for part in ("spec", "status", "metadata"):
        item.setdefault(part, {}).update(changes.get(part, {}))
    return observe(codec.item(json.dumps(item).encode()), around or Surroundings())


@pytest.mark.parametrize(
    ("name", "status", "native"),
    [
        ("brand-new-8wq2z", "PENDING", "(new)"),
        ("queued-hg7kt", "PENDING", "Pending"),
        ("build-image-vk8sd", "PROCESSING", "Running"),
        ("suspend", "PROCESSING", "Running (Suspended)"),
        ("suspended-by-spec-q8f4m", "PROCESSING", "Running (Suspended)"),
        ("stopping-4xk2d", "PROCESSING", "Running"),
        ("container-set-termination-demopw5vv", "PROCESSING", "Running"),
        ("terminated-x5n8p", "CANCELLED", "Failed"),
        ("deadline-z9tr5", "FAILED", "Failed"),
        ("bad-spec-7c2lw", "FAILED", "Error"),
        ("archived-m2k9b", "COMPLETED", "Succeeded"),
        ("wf-retry-stopped-pn6mm", "PROCESSING", "Running"),
    ],
)
def test_statuses(name, status, native):
    found = seen(name)
    assert (found.status.value, found.native_status) == (status, native)
    assert (found.finished_at is not None) == found.status.is_ended


def test_succeeded_stays_completed_after_a_stop():
    assert seen("stopping-4xk2d", status={"phase": "Succeeded"}).status is ExecutionStatus.COMPLETED
    assert seen("stopping-4xk2d", status={"phase": "Error"}).status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize(
    ("name", "workflow"),
    [
        ("nightly-report-1763692800", "batch/nightly-report"),
        ("build-image-vk8sd", "ci/build-image"),
        ("workflow-template-hello-world-jdkdw", "batch/workflow-template-submittable-2.9"),
        ("many-items-z26lj", "argo/many-items"),
        ("suspend", "ci/suspend"),
    ],
)
def test_the_workflow_is_what_it_was_made_from(name, workflow):
    assert seen(name).workflow == workflow


def test_parameters_of_template_and_submission():
    assert seen("build-image-vk8sd").parameters == {"image": "registry.example.com/app:1.4.2"}
    assert seen("workflow-template-hello-world-jdkdw").parameters == {"message": "hello world"}


def test_parents():
    around = Surroundings(parent_of=lambda namespace, name: f"{namespace}/{name}@u")
    assert seen("resubmitted-8r2fj", around).parent == "argo/steps-9fkqc@u"
    owner = {"ownerReferences": [{"kind": "Workflow", "name": "outer", "uid": "o-1"}]}
    assert seen("suspend", metadata=owner).parent == "ci/outer@o-1"
    assert seen("nightly-report-1763692800").parent is None


def test_links_labels_and_identity():
    found = seen("build-image-vk8sd", Surroundings(ui_url="https://argo.test"))
    uid = "2fdc310d-a81f-4d6b-b284-0c71dcdea04b"
    assert found.url == f"https://argo.test/workflows/ci/build-image-vk8sd?uid={uid}"
    assert found.external_id == f"ci/build-image-vk8sd@{uid}"
    assert parse_external_id(found.external_id) == ("ci", "build-image-vk8sd", uid)
    assert found.labels["workflows.argoproj.io/workflow-template"] == "build-image"
    assert found.metadata["workflow_template"] == "build-image"
    assert "managedFields" not in json.dumps(found.metadata)
    assert external_id(codec.item(json.dumps(ITEMS["suspend"]).encode()).metadata).startswith("ci/suspend@")


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_retry_is_one_step_with_attempts():
    found = seen("retry-backoff-s69z6").steps
    assert [(s.external_id, s.attempt, s.native_status, s.final) for s in found] == [
        ("retry-backoff-s69z6", 1, "Failed", False),
        ("retry-backoff-s69z6", 2, "Failed", False),  # the retry node still runs
    ]
    assert found[0].outputs == {"exitCode": "1"}


def test_hooks_of_a_retried_step_are_no_attempts():
    found = {s.name: s for s in seen("test-workflow-with-retry-strategy8h899").steps}
    assert found["Python2Compile"].attempt == 1
    assert found["Python2Compile"].final is True
    assert "Python2Compile.onExit" in found
    assert "Python2Compile(0)" not in found


def test_fan_out_items_belong_to_their_group():
    found = {s.name: s for s in seen("many-items-z26lj").steps}
    assert found["sleep(10:ten)"].parent == found["[0]"].external_id
    assert found["[0]"].parent == "many-items-z26lj"


def test_skipped_and_omitted_are_told():
    natives = {s.native_status for name in ITEMS for s in _steps_of(name)}
    assert {"Skipped", "Omitted", "Succeeded", "Failed", "Error", "Running", "Pending", "(new)"} <= natives


def _steps_of(name):
    found = seen(name).steps
    return found if isinstance(found, tuple) else ()


def test_inputs_and_outputs_of_all_fan_outs():
    items = [s for s in seen("fan-out-60-kp4xz").steps if s.inputs]
    assert len(items) >= 60
    assert len({json.dumps(s.inputs) for s in items}) >= 60


def test_the_child_of_an_empty_group_is_not_its_member():
    nodes = {
        "g": Node(id="g", name="wf.A", type="TaskGroup", phase="Succeeded", boundary_id="d", children=["next"]),
        "next": Node(id="next", name="wf.B", type="Pod", phase="Running", boundary_id="d"),
    }
    assert [s.parent for s in steps(nodes)] == ["d", "d"]


def zstd_stream(data):
    """Without the size in its header, as a Go encoder writes it."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd-stream": zstd_stream,
    "brotli": brotli.compress,
}


@pytest.mark.parametrize("packing", PACKERS)
def test_compressed_nodes(packing):
    nodes = ITEMS["many-items-z26lj"]["status"]["nodes"]
    packed = base64.b64encode(PACKERS[packing](json.dumps(nodes).encode())).decode()
    found = seen("many-items-z26lj", status={"nodes": None, "compressedNodes": packed})
    assert found.steps == seen("many-items-z26lj").steps


def test_recorded_compressed_nodes():
    assert len(seen("fan-out-3000-tt8rc").steps) == 3002


@pytest.mark.parametrize("packing", ["gzip", "zstd", "brotli"])
def test_broken_nodes_are_unknown_and_never_none(packing):
    whole = PACKERS[packing](json.dumps(ITEMS["many-items-z26lj"]["status"]["nodes"]).encode())
    cut = base64.b64encode(whole[:-20]).decode()
    with pytest.raises(NodesUnreadable):
        decode(None, cut)
    assert seen("many-items-z26lj", status={"nodes": None, "compressedNodes": cut}).steps is UNKNOWN
    with pytest.raises(NodesUnreadable):
        decompress("not base64!")


def test_a_bomb_is_not_unpacked():
    for packer in (gzip.compress, zstandard.ZstdCompressor().compress, lambda data: brotli.compress(data, quality=1)):
        with pytest.raises(NodesUnreadable, match="more than"):
            decompress(base64.b64encode(packer(b" " * (65 << 20))).decode())


def test_offloaded_nodes_are_unknown_without_an_argo_server():
    assert seen("fan-out-offloaded-9cz6v").steps is UNKNOWN
    assert seen("fan-out-offloaded-9cz6v", Surroundings(has_server=True)).steps is None
    assert seen("bad-spec-7c2lw").steps == ()
