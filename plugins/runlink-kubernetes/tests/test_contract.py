"""Every promise of the adapter interface, kept against a scripted API server that answers as the recorded one did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from runlink.spi import ExecutionStatus
from runlink.testing import AdapterContract, Reply, Request, ScriptedEngine, ScriptedRun
from runlink_kubernetes import ArgoAdapter, KubernetesJobAdapter

S = ExecutionStatus
STOPPED = "Failed after a Stop"
NODES = {S.PENDING: "Pending", S.PROCESSING: "Running", S.COMPLETED: "Succeeded", S.FAILED: "Failed",
         S.CANCELLED: "Failed"}  # fmt: skip


def failure(code: int, reason: str, message: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message, **more}  # fmt: skip


class ScriptedCluster(ScriptedEngine):
    """A run is a Workflow of a template. Versions are the changes; a restart empties the watch cache."""

    api: ClassVar[str] = "/apis/argoproj.io/v1alpha1"
    plural: ClassVar[str] = "workflows"
    statuses = {
        "Pending": S.PENDING,
        "Running": S.PROCESSING,
        "Succeeded": S.COMPLETED,
        "Failed": S.FAILED,
        "Error": S.FAILED,
        STOPPED: S.CANCELLED,
    }
    workflows = ("ci/etl", "ci/a.b-c")  # of one namespace: an owner is of its own, always
    lacks = {"attempts": "a workflow counts the tries of its nodes, not its own (test_translate.py has those)"}

    def __init__(self) -> None:
        super().__init__()
        self._oldest = 0

    def external_id(self, run: ScriptedRun) -> str:
        return f"{_namespace(run)}/{_name(run)}@{_uid(run)}"

    def forget(self) -> None:
        self._oldest = self.change

    def restarted(self) -> None:
        self._oldest = self.change

    def answer(self, request: Request) -> Any:
        if request.path == "/version":
            return {"gitVersion": "v1.36.2"}
        if request.path == self.api:
            return {"resources": [{"name": self.plural}]}
        if request.path.endswith("/selfsubjectaccessreviews"):
            return {"status": {"allowed": True}}
        if not request.path.startswith(f"{self.api}/"):
            return 404
        match request.path.removeprefix(f"{self.api}/").split("/"):
            case [self.plural]:
                return self._watch(request.query) if "watch" in request.query else self._list(request.query)
            case ["namespaces", namespace, self.plural, name]:
                return self._one(namespace, name)
        return 404

    def item(self, run: ScriptedRun) -> dict[str, Any]:
        """The object as Argo's controller leaves it."""
        return workflow(run)

    def _list(self, query: Any) -> Any:
        after = tuple(query.get("continue", "").split("/"))
        runs = sorted((_key(run), run) for run in self.runs if _key(run) > after)
        page = runs[: int(query["limit"])]
        more = "/".join(page[-1][0]) if len(page) < len(runs) else ""
        meta = {"resourceVersion": str(self.change), "continue": more}
        return {"metadata": meta, "items": [self.item(run) for _, run in page]}

    def _one(self, namespace: str, name: str) -> Any:
        run = next((run for run in self.runs if _key(run) == (namespace, name)), None)
        if run is not None:
            return self.item(run)
        details = {"name": name, "kind": self.plural}
        told = failure(404, "NotFound", f"{self.plural} {name!r} not found", details=details)
        return Reply(404, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def _watch(self, query: Any) -> Reply:
        version = int(query["resourceVersion"])
        events = self._events(version)
        if version < self._oldest:
            expired = failure(410, "Expired", f"too old resource version: {version} ({self._oldest})")
            events = iter([_line("ERROR", expired)])
        return Reply(200, {"Content-Type": "application/json"}, events)

    def _events(self, version: int) -> Iterator[bytes]:
        for run in self.follow(version):
            yield _line("DELETED" if run.deleted else "MODIFIED", self.item(run))


def _line(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


class ScriptedJobs(ScriptedCluster):
    """A run is a Job of a CronJob. Its state is in conditions and counts of pods, as the Job controller sets them."""

    api = "/apis/batch/v1"
    plural = "jobs"
    statuses = {
        "Pending": S.PENDING,
        "Suspended": S.PENDING,
        "Active": S.PROCESSING,
        "Retrying": S.RETRYING,
        "Terminating": S.PROCESSING,
        "Complete": S.COMPLETED,
        "Failed": S.FAILED,
    }
    lacks = {
        "attempts": "a Job counts failed pods, and is itself begun once",
        "parameters": "a Job has an environment and a command, and no parameters",
        "parents": "its owner is a CronJob, which is no run",
        "reruns": "a Job that has ended is never begun again; CronJobs make new ones",
        "steps": "its pods are objects of their own, which are not read",
    }

    def item(self, run: ScriptedRun) -> dict[str, Any]:
        owner = {"kind": "CronJob", "name": run.workflow.partition("/")[2], "uid": "c"}
        status: dict[str, Any] = {"startTime": run.started_at and _time(run.started_at)}
        status["active"] = int(run.native == "Active")
        status["failed"] = int(run.native in ("Retrying", "Failed"))
        condition = {"Terminating": "FailureTarget"}.get(run.native, run.native)
        if condition in ("Complete", "Failed", "FailureTarget"):
            told = {"type": condition, "status": "True", "lastTransitionTime": _time(run.changed_at)}
            status["conditions"] = [told | ({"message": run.message} if run.message else {})]
        if run.native == "Complete" and run.finished_at:
            status["completionTime"] = _time(run.finished_at)
        return {
            "metadata": _meta(run) | {"ownerReferences": [owner]},
            "spec": {"completions": 1, "suspend": run.native == "Suspended"},
            "status": {k: v for k, v in status.items() if v is not None},
        }


def _meta(run: ScriptedRun) -> dict[str, Any]:
    return {
        "namespace": _namespace(run),
        "name": _name(run),
        "uid": _uid(run),
        "resourceVersion": str(run.change),
        "creationTimestamp": _time(run.created_at),
    }


def workflow(run: ScriptedRun) -> dict[str, Any]:
    """The object as Argo's controller leaves it."""
    meta = _meta(run)
    if run.parent is not None:
        meta["ownerReferences"] = [{"kind": "Workflow", "name": _name(run.parent), "uid": _uid(run.parent)}]
    parameters = [{"name": name, "value": value} for name, value in run.parameters.items()]
    spec: dict[str, Any] = {"workflowTemplateRef": {"name": run.workflow.partition("/")[2]}}
    spec["arguments"] = {"parameters": parameters}
    if run.native == STOPPED:
        spec["shutdown"] = "Stop"
    status = {
        "phase": "Failed" if run.native == STOPPED else run.native,
        "startedAt": run.started_at and _time(run.started_at),
        "finishedAt": run.finished_at and _time(run.finished_at),
        "message": run.message,
        "nodes": {step.name: _node(step) for step in run.steps},
    }
    return {"metadata": meta, "spec": spec, "status": {k: v for k, v in status.items() if v is not None}}


def _node(step: Any) -> dict[str, Any]:
    told = {
        "id": step.name,
        "name": step.name,
        "displayName": step.name,
        "type": "Pod",
        "phase": NODES.get(step.status, "Running"),
        "startedAt": step.started_at and _time(step.started_at),
        "finishedAt": step.finished_at and _time(step.finished_at),
    }
    return {k: v for k, v in told.items() if v is not None}


def _key(run: ScriptedRun) -> tuple[str, str]:
    return _namespace(run), _name(run)


def _namespace(run: ScriptedRun) -> str:
    return run.workflow.partition("/")[0]


def _name(run: ScriptedRun) -> str:
    return f"{run.workflow.partition('/')[2]}-{run.number:06d}"


def _uid(run: ScriptedRun) -> str:
    return f"00000000-0000-4000-{run.epoch:04d}-{run.number:012d}"


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class TestArgo(AdapterContract):
    adapter = ArgoAdapter
    engine = ScriptedCluster
    config = {"token": "t0ken-0f-the-cluster"}


class TestKubernetesJob(AdapterContract):
    adapter = KubernetesJobAdapter
    engine = ScriptedJobs
    config = {"token": "t0ken-0f-the-cluster"}
    exempt = {
        "test_an_unknown_native_status_is_named": "a Job has no word for its state: the adapter makes one of "
        "conditions, and passes over those that it does not know (test_jobs.py)"
    }
