"""What an Argo Workflow means to runlink, field by field. The adapter comes here with decoded objects.

Read off Argo 4.1.2 (CRD `argoproj.io/v1alpha1`) and its recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from runlink.spi import UNKNOWN, ExecutionStatus, Observation, Step, Unknown
from runlink_kubernetes import nodes as argo_nodes
from runlink_kubernetes.nodes import NodesUnreadable, Parameter, Values
from runlink_kubernetes.objects import Kind, Meta, external_id, kept_annotations, revision, workflow_name

LABEL: Final = "workflows.argoproj.io/"
PERSISTED: Final = "Persisted"
"""`workflow-archiving-status` of a workflow that was read out of the archive."""

STATUSES: Final = {
    "": ExecutionStatus.PENDING,
    "Pending": ExecutionStatus.PENDING,
    "Running": ExecutionStatus.PROCESSING,
    "Succeeded": ExecutionStatus.COMPLETED,
    "Failed": ExecutionStatus.FAILED,
    "Error": ExecutionStatus.FAILED,
}


class TemplateRef(msgspec.Struct, rename="camel"):
    """`workflowTemplateRef`."""

    name: str = ""
    cluster_scope: bool = False


class TTL(msgspec.Struct, rename="camel"):
    """`ttlStrategy`, in seconds."""

    seconds_after_completion: int | None = None
    seconds_after_success: int | None = None
    seconds_after_failure: int | None = None


class Spec(msgspec.Struct, rename="camel"):
    """`spec`, or the stored one of a template."""

    entrypoint: str | None = None
    arguments: Values | None = None
    shutdown: str | None = None
    suspend: bool | None = None
    workflow_template_ref: TemplateRef | None = None
    ttl_strategy: TTL | None = None


class WorkflowStatus(msgspec.Struct, rename="camel"):
    """`status`. The nodes stay undecoded until the snapshot is known to be told."""

    phase: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None
    progress: str | None = None
    nodes: msgspec.Raw = msgspec.Raw(b"")
    compressed_nodes: str | None = None
    offload_node_status_version: str | None = None
    outputs: Values | None = None
    stored_workflow_template_spec: Spec | None = None


class Workflow(msgspec.Struct):
    """A Workflow. Just submitted it has neither labels nor a status; a bookmark has nothing but a version."""

    metadata: Meta
    spec: Spec | None = None
    status: WorkflowStatus | None = None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an object does not say of itself.

    epoch       of its version; None leaves the version out (an archived copy's is not comparable)
    ui_url      of Argo's interface
    parent_of   external id of the workflow of a name in a namespace, as far as known
    has_server  whether offloaded nodes can be had from an Argo Server
    """

    epoch: int | None = 0
    ui_url: str | None = None
    parent_of: Callable[[str, str], str | None] = lambda _namespace, _name: None
    has_server: bool = False


def phase_of(workflow: Workflow) -> str:
    """Argo's word for its state, "" while it has none."""
    return workflow.status.phase if workflow.status is not None else ""


def is_ended(workflow: Workflow) -> bool:
    """By the phase alone: a retried workflow keeps the old `finishedAt` and `message` for a while."""
    return phase_of(workflow) in ("Succeeded", "Failed", "Error")


def ended_at(workflow: Workflow) -> datetime | None:
    """When it ended, None while it has not."""
    return workflow.status.finished_at if workflow.status is not None and is_ended(workflow) else None


def workflow_of(workflow: Workflow) -> str:
    """`NAMESPACE/` and the CronWorkflow, the template, or the name without its generated part."""
    return workflow_name(workflow.metadata, _origin(workflow))


def is_offloaded(workflow: Workflow) -> bool:
    """Whether its nodes are in Argo's database and not here."""
    status = workflow.status
    return status is not None and bool(status.offload_node_status_version) and not has_nodes(workflow)


def has_nodes(workflow: Workflow) -> bool:
    """Whether the object itself holds nodes."""
    status = workflow.status
    return status is not None and (bool(status.compressed_nodes) or bytes(status.nodes) not in (b"", b"null", b"{}"))


def shutdown_of(workflow: Workflow) -> str:
    """ "Stop" or "Terminate" when somebody asked for it."""
    status, spec = workflow.status, workflow.spec
    stored = status.stored_workflow_template_spec if status is not None else None
    return (spec.shutdown if spec else None) or (stored.shutdown if stored else None) or ""


def status_of(workflow: Workflow) -> ExecutionStatus:
    """CANCELLED once it has ended unsuccessfully after a Stop or Terminate; until then pods and exit handlers run."""
    status = STATUSES.get(phase_of(workflow), ExecutionStatus.PROCESSING)
    if status is ExecutionStatus.FAILED and shutdown_of(workflow):
        return ExecutionStatus.CANCELLED
    return status


def observe(workflow: Workflow, around: Surroundings) -> Observation:
    """Raises ValueError for what breaks the rules of Observation."""
    meta, status = workflow.metadata, workflow.status or WorkflowStatus()
    ended = is_ended(workflow)
    told, suspended = _steps(workflow, around)
    phase = phase_of(workflow)
    native = f"{phase} (Suspended)" if not ended and (suspended or _asked_to_wait(workflow)) else phase
    labels = meta.labels or {}
    return Observation(
        external_id=external_id(meta),
        workflow=workflow_of(workflow),
        status=status_of(workflow),
        native_status=native.strip() or "(new)",
        revision=None if around.epoch is None else revision(meta, around.epoch),
        created_at=meta.creation_timestamp,
        started_at=status.started_at,
        finished_at=ended_at(workflow),
        url=_url(meta, around),
        parent=_parent(meta, around),
        parameters=_parameters(workflow),
        labels=labels,
        message=(status.message or None) if ended or not status.finished_at else None,
        metadata=_metadata(workflow),
        steps=told,
    )


def _asked_to_wait(workflow: Workflow) -> bool:
    return bool(workflow.spec and workflow.spec.suspend)


def _steps(workflow: Workflow, around: Surroundings) -> tuple[tuple[Step, ...] | Unknown | None, bool]:
    """The steps, and whether one of them is a suspension that waits."""
    status = workflow.status
    if status is None:
        return (), False
    if is_offloaded(workflow):
        return None if around.has_server else UNKNOWN, False
    try:
        found = argo_nodes.decode(status.nodes, status.compressed_nodes)
    except NodesUnreadable:
        return UNKNOWN, False
    return argo_nodes.steps(found), argo_nodes.is_suspended(found)


def _origin(workflow: Workflow) -> str | None:
    """The CronWorkflow, or else the (cluster) workflow template."""
    labels, spec = workflow.metadata.labels or {}, workflow.spec
    reference = spec.workflow_template_ref if spec else None
    return (
        labels.get(f"{LABEL}cron-workflow")
        or (reference.name if reference else None)
        or labels.get(f"{LABEL}workflow-template")
        or labels.get(f"{LABEL}cluster-workflow-template")
    )


def _parameters(workflow: Workflow) -> dict[str, Any]:
    """Of the template, with those given at submission over them."""
    status, spec = workflow.status, workflow.spec
    stored = status.stored_workflow_template_spec if status is not None else None
    given: list[Parameter] = []
    for one in (stored, spec):
        given += (one.arguments.parameters or []) if one is not None and one.arguments is not None else []
    return {p.name: p.value for p in given if p.name and p.value is not None}


def _parent(meta: Meta, around: Surroundings) -> str | None:
    """The workflow that made this one (its owner), or that it was resubmitted from."""
    for owner in meta.owner_references or ():
        if owner.kind == "Workflow" and owner.uid:
            return f"{meta.namespace}/{owner.name}@{owner.uid}"
    former = (meta.labels or {}).get(f"{LABEL}resubmitted-from-workflow")
    return around.parent_of(meta.namespace, former) if former else None


def _url(meta: Meta, around: Surroundings) -> str | None:
    if not around.ui_url:
        return None
    return f"{around.ui_url}/workflows/{quote(meta.namespace)}/{quote(meta.name)}?uid={quote(meta.uid)}"


def _metadata(workflow: Workflow) -> dict[str, Any]:
    meta, spec, status = workflow.metadata, workflow.spec, workflow.status
    labels = meta.labels or {}
    reference = spec.workflow_template_ref if spec else None
    outputs = status.outputs if status else None
    told: dict[str, Any] = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "entrypoint": spec.entrypoint if spec else None,
        "progress": status.progress if status else None,
        "shutdown": shutdown_of(workflow),
        "suspend": _asked_to_wait(workflow),
        "cron_workflow": labels.get(f"{LABEL}cron-workflow"),
        "workflow_template": reference.name if reference and not reference.cluster_scope else None,
        "cluster_workflow_template": reference.name if reference and reference.cluster_scope else None,
        "resubmitted_from": labels.get(f"{LABEL}resubmitted-from-workflow"),
        "annotations": kept_annotations(meta),
        "outputs": {p.name: p.value for p in (outputs.parameters or ())} if outputs else None,
        "deletion_asked_at": meta.deletion_timestamp.isoformat() if meta.deletion_timestamp else None,
    }
    return {name: value for name, value in told.items() if value}


WORKFLOW: Final = Kind(
    title="Argo Workflows",
    group="argoproj.io",
    version="v1alpha1",
    plural="workflows",
    item=Workflow,
    ended=is_ended,
    ended_at=ended_at,
    workflow=workflow_of,
    native=phase_of,
    observe=observe,
)
