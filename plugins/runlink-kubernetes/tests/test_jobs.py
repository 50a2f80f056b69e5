"""Kubernetes Jobs over the same reflector: a table of conditions."""

import pytest
from fake_cluster import FakeCluster

from runlink_kubernetes import KubernetesJobAdapter
from runlink_kubernetes.jobs import JOB
from runlink_kubernetes.objects import Codec
from runlink_kubernetes.translate import Surroundings


def job(name="nightly-28", status=None, spec=None, version="10", **meta):
    owner = [{"kind": "CronJob", "name": "nightly", "uid": "c", "controller": True}]
    meta = {"name": name, "namespace": "ci", "uid": f"u-{name}", "resourceVersion": version,
            "creationTimestamp": "2026-11-23T14:00:00Z", "ownerReferences": owner} | meta  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec or {"completions": 1},
            "status": status or {}}  # fmt: skip


def condition(kind, **more):
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-11-23T14:09:00Z", **more}


STARTED = {"startTime": "2026-11-23T14:01:00Z"}
COMPLETE = {**STARTED, "completionTime": "2026-11-23T14:09:00Z", "conditions": [condition("Complete")]}
TOO_LATE = {**STARTED, "conditions": [condition("FailureTarget"), condition("Failed", reason="DeadlineExceeded")]}


@pytest.mark.parametrize(
    ("status", "spec", "expected", "native"),
    [
        ({}, {}, "PENDING", "Pending"),
        ({}, {"suspend": True}, "PENDING", "Suspended"),
        ({**STARTED, "active": 1}, {}, "PROCESSING", "Active"),
        ({**STARTED, "conditions": [condition("Suspended")]}, {}, "PROCESSING", "Suspended"),
        ({**STARTED, "failed": 1}, {}, "RETRYING", "Retrying"),
        ({**STARTED, "conditions": [condition("FailureTarget")]}, {}, "PROCESSING", "Terminating"),
        ({**STARTED, "conditions": [condition("SuccessCriteriaMet")]}, {}, "PROCESSING", "Terminating"),
        ({**STARTED, "active": 1, "conditions": [condition("BrandNewWord")]}, {}, "PROCESSING", "Active"),
        (COMPLETE, {}, "COMPLETED", "Complete"),
        (TOO_LATE, {}, "FAILED", "Failed"),
    ],
)
def test_statuses(status, spec, expected, native):
    import json

    found = JOB.observe(Codec(JOB).item(json.dumps(job(status=status, spec=spec)).encode()), Surroundings())
    assert (found.status.value, found.native_status, found.workflow) == (expected, native, "ci/nightly")
    assert (found.finished_at is not None) == found.status.is_ended
    if native == "Failed":
        assert found.message == "DeadlineExceeded"


def test_listed_and_watched(make_host):
    with FakeCluster("jobs", "/apis/batch/v1") as cluster:
        cluster.load([job()], 10)
        host = make_host(cluster, KubernetesJobAdapter)
        assert host.adapter.check().product == "Kubernetes"
        assert host.poll()
        assert host.status("nightly-28") == ("PENDING", "Pending")
        cluster.put(job(status={**STARTED, "active": 1}))
        cluster.put(job(status=COMPLETE))
        cluster.delete("ci", "nightly-28")
        host.watch()
        assert host.status("nightly-28") == ("COMPLETED", "Complete")
