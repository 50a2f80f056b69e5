"""Kubernetes Jobs (`batch/v1`), as a table of translations over the same reflector.

The host comes here for the adapter.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from runlink.spi import Context, ExecutionStatus, Observation, load_schema
from runlink_kubernetes.following import KubernetesAdapter
from runlink_kubernetes.objects import Kind, Meta, external_id, kept_annotations, revision, workflow_name
from runlink_kubernetes.translate import Surroundings


class Condition(msgspec.Struct, rename="camel"):
    """One of `status.conditions`."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class JobStatus(msgspec.Struct, rename="camel"):
    """`status`."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    start_time: datetime | None = None
    completion_time: datetime | None = None
    conditions: list[Condition] | None = None


class JobSpec(msgspec.Struct, rename="camel"):
    """`spec`."""

    completions: int | None = None
    parallelism: int | None = None
    backoff_limit: int | None = None
    suspend: bool | None = None


class Job(msgspec.Struct):
    """A Job."""

    metadata: Meta
    spec: JobSpec | None = None
    status: JobStatus | None = None


def _condition(job: Job, kind: str) -> Condition | None:
    conditions = (job.status.conditions if job.status else None) or ()
    return next((one for one in conditions if one.type == kind and one.status == "True"), None)


def native_of(job: Job) -> str:
    """By its conditions first: Kubernetes sets Complete or Failed only after the last pod has ended."""
    if _condition(job, "Complete"):
        return "Complete"
    if _condition(job, "Failed"):
        return "Failed"
    status = job.status or JobStatus()
    if _condition(job, "FailureTarget") or _condition(job, "SuccessCriteriaMet"):
        return "Terminating"
    if _condition(job, "Suspended") or (job.spec is not None and job.spec.suspend):
        return "Suspended"
    if status.active:
        return "Active"
    return "Retrying" if status.failed else "Pending"


STATUSES: Final = {
    "Pending": ExecutionStatus.PENDING,
    "Active": ExecutionStatus.PROCESSING,
    "Terminating": ExecutionStatus.PROCESSING,
    "Retrying": ExecutionStatus.RETRYING,
    "Complete": ExecutionStatus.COMPLETED,
    "Failed": ExecutionStatus.FAILED,
}


def is_ended(job: Job) -> bool:
    """Whether it is complete or has failed for good."""
    return native_of(job) in ("Complete", "Failed")


def ended_at(job: Job) -> datetime | None:
    """When it ended, None while it has not."""
    if not is_ended(job) or job.status is None:
        return None
    failed = _condition(job, "Failed")
    return job.status.completion_time or (failed.last_transition_time if failed else None)


def workflow_of(job: Job) -> str:
    """`NAMESPACE/` and the CronJob, or the name without its generated part."""
    return workflow_name(job.metadata, _cron_job(job.metadata))


def observe(job: Job, around: Surroundings) -> Observation:
    """A Job that was suspended after its start stays PROCESSING; its pods, which are not part of it, are not read."""
    meta, status = job.metadata, job.status or JobStatus()
    native = native_of(job)
    waiting = ExecutionStatus.PROCESSING if status.start_time else ExecutionStatus.PENDING
    why = _condition(job, "Failed") or _condition(job, "FailureTarget")
    return Observation(
        external_id=external_id(meta),
        workflow=workflow_of(job),
        status=STATUSES.get(native, waiting),
        native_status=native,
        revision=None if around.epoch is None else revision(meta, around.epoch),
        created_at=meta.creation_timestamp,
        started_at=status.start_time,
        finished_at=ended_at(job),
        labels=meta.labels or {},
        message=": ".join(filter(None, (why.reason, why.message))) or None if why else None,
        metadata=_metadata(job, status),
    )


def _cron_job(meta: Meta) -> str | None:
    return next((owner.name for owner in meta.owner_references or () if owner.kind == "CronJob"), None)


def _metadata(job: Job, status: JobStatus) -> dict[str, Any]:
    meta, spec = job.metadata, job.spec or JobSpec()
    told = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "cron_job": _cron_job(meta),
        "completions": spec.completions,
        "parallelism": spec.parallelism,
        "backoff_limit": spec.backoff_limit,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "annotations": kept_annotations(meta),
    }
    return {name: value for name, value in told.items() if value not in (None, {}, "")}


JOB: Final = Kind(
    title="Kubernetes",
    group="batch",
    version="v1",
    plural="jobs",
    item=Job,
    ended=is_ended,
    ended_at=ended_at,
    workflow=workflow_of,
    native=native_of,
    observe=observe,
)


class KubernetesJobAdapter(KubernetesAdapter[Job]):
    """Follows the Jobs of a cluster."""

    name = "kubernetes-job"
    config_schema = load_schema("runlink_kubernetes", "job.schema.json")

    def __init__(self, context: Context) -> None:
        super().__init__(context, JOB)
