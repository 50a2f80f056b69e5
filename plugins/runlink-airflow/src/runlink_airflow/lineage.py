"""From OpenLineage events, which Airflow pushes, to observations: pure functions. The adapter comes here.

apache-airflow-providers-openlineage 2.20.3 sends events of DAG runs (facet `airflowDagRun`) and of tasks (facet
`airflow`, the run as `parent`). They make the same external ids, steps and revisions as a poll does. Nothing is sent
when a run is queued; a FAIL is sent for each failed try of a task; after a clear the run starts again, with another
runId (`clear_number` is in it).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from runlink.spi import DeliveryRejected, ExecutionStatus, Observation, Step
from runlink_airflow.translate import external_id, revision, step_id, time

_STATUSES: Final[Mapping[str, tuple[str, ExecutionStatus]]] = {
    "START": ("running", ExecutionStatus.PROCESSING),
    "RUNNING": ("running", ExecutionStatus.PROCESSING),
    "COMPLETE": ("success", ExecutionStatus.COMPLETED),
    "FAIL": ("failed", ExecutionStatus.FAILED),
    "ABORT": ("failed", ExecutionStatus.CANCELLED),
}
"""Event type -> Airflow's word, and what it means. Of other types (OTHER) nothing is to be learnt."""

_BY_HAND: Final = "manually set"
"""In the message of a FAIL that somebody caused (recording openlineage/41)."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one event tells.

    run_id       OpenLineage's own id of the DAG run's attempt: events that name nothing else (40, 52) belong to it
    name         the external id of the DAG run; None where the event does not tell
    observation  None where the run should rather be read again
    reread       whether to read it again in any case: it or a task of it has ended, and an event knows neither the
                 other steps, nor when a task began, nor who ended it
    """

    run_id: str
    name: str | None
    observation: Observation | None = None
    reread: bool = False


def read_event(body: bytes) -> Told | None:
    """What an event tells; None for one that is not Airflow's, or of a type that says nothing about a state.

    Raises DeliveryRejected for what is no OpenLineage run event.
    """
    try:
        event = json.loads(body)
        kind, job, run = str(event["eventType"]).upper(), event["job"], event["run"]
        facets = run.get("facets") or {}
        if kind not in _STATUSES or not _is_airflow(job, facets):
            return None
        if "airflowDagRun" in facets:
            return _of_run(kind, run, facets)
        return _of_task(kind, event, facets)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeliveryRejected(
            f"this is no OpenLineage run event of Airflow: {type(error).__name__}: {error}"
        ) from error


def _is_airflow(job: Mapping[str, Any], facets: Mapping[str, Any]) -> bool:
    kind = (job.get("facets") or {}).get("jobType") or {}
    return kind.get("integration") == "AIRFLOW" or bool(facets.keys() & {"airflow", "airflowDagRun"})


def _of_run(kind: str, run: Mapping[str, Any], facets: Mapping[str, Any]) -> Told:
    native, status = _STATUSES[kind]
    known = facets["airflowDagRun"]["dagRun"]
    name = _name(known)
    if kind == "ABORT" or _BY_HAND in _message(facets):  # who did it is in the audit log: one judge, not two
        return Told(run["runId"], name, reread=True)
    seen = _observation(
        name, known, status=status, native_status=native, finished_at=time(known.get("end_date")), message=None
    )
    return Told(run["runId"], name, seen, reread=status.is_ended)


def _of_task(kind: str, event: Mapping[str, Any], facets: Mapping[str, Any]) -> Told:
    parent = facets["parent"]["run"]["runId"]
    known = (facets.get("airflow") or {}).get("dagRun")
    if known is None:  # a task whose state was set by hand
        return Told(parent, None, reread=True)
    name = _name(known)
    task = facets["airflow"]["task"]
    instance = facets["airflow"]["taskInstance"]
    native, status = _STATUSES[kind]
    at = datetime.fromisoformat(event["eventTime"])
    index = instance.get("map_index")
    step = Step(
        external_id=step_id(task["task_id"], index),
        name=step_id(task["task_id"], index),
        status=status,
        native_status=native,
        attempt=max(1, instance["try_number"]),
        final=None if status is ExecutionStatus.FAILED else True if status.is_ended else None,
        started_at=at if kind == "START" else None,
        finished_at=at if status.is_ended else None,
        message=_message(facets) or None,
        parent=task["task_id"] if index is not None and index >= 0 else None,
    )
    running = ExecutionStatus.PROCESSING
    seen = _observation(name, known, status=running, native_status="running", steps=(step,))
    return Told(parent, name, seen, reread=status.is_ended)


def _observation(name: str, known: Mapping[str, Any], **told: Any) -> Observation:
    """What a dagRun facet tells, whichever event it stands in; a part of the whole state."""
    started_at = time(known.get("start_date"))
    return Observation(
        external_id=name,
        workflow=known["dag_id"],
        revision=revision(None, started_at),
        started_at=started_at,
        parameters=known.get("conf") or {},
        complete=False,
        **told,
    )


def _name(known: Mapping[str, Any]) -> str:
    return external_id(known["dag_id"], known["run_id"], datetime.fromisoformat(known["run_after"]))


def _message(facets: Mapping[str, Any]) -> str:
    return str((facets.get("errorMessage") or {}).get("message") or "")
