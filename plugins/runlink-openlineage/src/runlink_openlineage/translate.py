"""From an OpenLineage run event to an observation. The adapter comes here with one decoded event at a time.

Facts as in the specification 2-0-2 and in what Airflow 3.3.2 with its provider 2.20.3 sends (tests/recordings).
Whatever makes no sense raises one of SENSELESS.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from runlink.spi import ExecutionStatus, Observation, Revision, Step

SENSELESS: Final = (ValueError, TypeError, AttributeError, KeyError, OverflowError)

_S = ExecutionStatus
STATUSES: Final[Mapping[str, ExecutionStatus]] = {
    "START": _S.PROCESSING,
    "RUNNING": _S.PROCESSING,
    "COMPLETE": _S.COMPLETED,
    "FAIL": _S.FAILED,
    "ABORT": _S.CANCELLED,
    "OTHER": _S.PENDING,
}
"""OTHER tells no state: it makes an unknown run known, and moves no other."""
_ORDERED: Final = frozenset({"START", "COMPLETE", "FAIL", "ABORT"})
"""Events whose time orders them. A START after an end begins the run again, where its producer keeps the id (Airflow
gives a new one after a clear)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_TEXT: Final = 4000
_MOST_TRIES: Final = 10_000

Facets = Mapping[str, Any]


class Tries:
    """Which step and try a task's run id was, for events that do not say (Airflow's, after a state was set by hand).

    Kept for as long as the adapter lives; after that, such an event counts for the first try.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def note(self, run_id: str, step: str, attempt: int) -> None:
        """Remembers one."""
        self._known[run_id] = (step, attempt)
        if len(self._known) > _MOST_TRIES:
            self._known.popitem(last=False)

    def of(self, run_id: str) -> tuple[str, int] | None:
        """What was remembered."""
        return self._known.get(run_id)


class _Event(NamedTuple):
    """The parts of an event that every translation needs."""

    type: str
    at: datetime
    run_id: str
    job: str
    namespace: str
    run: Facets
    job_facets: Facets


class _Run(NamedTuple):
    """The run that another is a part of."""

    id: str
    job: str
    namespace: str


def observe(event: Mapping[str, Any], *, as_steps: bool, tries: Tries) -> Observation:
    """The run of an event; or, of an event of a part of a run (`as_steps`), that run with one step."""
    told = _event(event)
    parent, root = _parents(told.run)
    if parent is None or root is None or root.id == told.run_id:
        return _observe_run(told, None, event)
    if not as_steps:
        return _observe_run(told, parent, event)
    step = _step(told, parent, root, tries)
    return Observation(
        external_id=root.id,
        workflow=root.job,
        status=_S.PROCESSING,  # an end of a part is no end of the whole: a task that fails may be tried again
        native_status="RUNNING",
        labels={"namespace": root.namespace},
        parameters=_parameters(told.run),
        steps=(step,),
        complete=False,
    )


def _event(event: Mapping[str, Any]) -> _Event:
    run, job = event["run"], event["job"]
    kind = str(event.get("eventType") or "OTHER").upper()
    if kind not in STATUSES:
        raise ValueError(f"the eventType {kind!r} is none of {', '.join(STATUSES)}")
    name, namespace = job["name"], job.get("namespace") or ""
    if not isinstance(name, str) or not name.strip() or not isinstance(namespace, str):
        raise ValueError(f"job {name!r} in namespace {namespace!r} is no job")
    return _Event(
        type=kind,
        at=_time(event["eventTime"]),
        run_id=str(UUID(run["runId"])),
        job=name,
        namespace=namespace,
        run=run.get("facets") or {},
        job_facets=job.get("facets") or {},
    )


def _parents(facets: Facets) -> tuple[_Run | None, _Run | None]:
    """The run that started this one, and the one that all of it belongs to."""
    parent = facets.get("parent")
    if not parent:
        return None, None
    nearest = _named(parent)
    return nearest, _named(parent["root"]) if parent.get("root") else nearest


def _named(facet: Facets) -> _Run:
    job = facet["job"]
    return _Run(str(UUID(facet["run"]["runId"])), str(job["name"]), str(job.get("namespace") or ""))


def _observe_run(told: _Event, parent: _Run | None, event: Mapping[str, Any]) -> Observation:
    status, dag_run = STATUSES[told.type], _dag_run(told.run)
    began = _optional_time(dag_run.get("start_date")) or (told.at if told.type == "START" else None)
    ended = (_optional_time(dag_run.get("end_date")) or told.at) if status.is_ended else None
    return Observation(
        external_id=told.run_id,
        workflow=told.job,
        status=status,
        native_status=told.type,
        revision=Revision((told.at - _EPOCH) // timedelta(microseconds=1)) if told.type in _ORDERED else None,
        started_at=began,
        finished_at=ended,
        parent=parent.id if parent else None,
        parameters=_parameters(told.run),
        labels=_labels(told),
        message=_message(told.run) if status is not _S.COMPLETED else None,
        metadata=_metadata(told, event, dag_run),
        complete=False,
    )


def _step(told: _Event, parent: _Run, root: _Run, tries: Tries) -> Step:
    status = STATUSES[told.type]
    name = told.job.removeprefix(f"{parent.job}.")
    external_id, attempt, final = told.run_id, 1, True if status is _S.COMPLETED else None
    task = (told.run.get("airflow") or {}).get("taskInstance")
    if task is not None:  # Airflow counts tries, and gives each a run id of its own
        index = task.get("map_index")
        name = external_id = name if index is None or index < 0 else f"{name}[{index}]"
        attempt = int(task.get("try_number") or 1)
        retries = (told.run["airflow"].get("task") or {}).get("retries")
        if status is _S.FAILED and isinstance(retries, int):
            final = attempt > retries
        tries.note(told.run_id, external_id, attempt)
    elif (known := tries.of(told.run_id)) is not None:
        external_id, attempt = known
        name = external_id
    elif _integration(told) == "AIRFLOW":
        external_id = name
    return Step(
        external_id=external_id,
        name=name,
        status=status,
        native_status=told.type,
        attempt=attempt,
        final=final,
        started_at=told.at if told.type == "START" else None,
        finished_at=told.at if status.is_ended else None,
        message=_message(told.run),
        parent=None if parent.id == root.id else parent.job.removeprefix(f"{root.job}."),
    )


def _dag_run(facets: Facets) -> Facets:
    found: Facets = (facets.get("airflowDagRun") or facets.get("airflow") or {}).get("dagRun") or {}
    return found


def _parameters(facets: Facets) -> Mapping[str, Any] | None:
    """What an Airflow run was started with; other producers do not tell."""
    conf = _dag_run(facets).get("conf")
    return conf if isinstance(conf, dict) else None


def _labels(told: _Event) -> dict[str, str]:
    labels = {"namespace": told.namespace}
    if integration := _integration(told):
        labels["integration"] = integration
    for tag in (told.job_facets.get("tags") or {}).get("tags") or ():
        labels.setdefault(str(tag["key"]), str(tag.get("value", "")))
    return labels


def _integration(told: _Event) -> str:
    return str((told.job_facets.get("jobType") or {}).get("integration") or "").upper()


def _message(facets: Facets) -> str | None:
    message = (facets.get("errorMessage") or {}).get("message")
    return str(message)[:_LONGEST_TEXT] if message else None


def _metadata(told: _Event, event: Mapping[str, Any], dag_run: Facets) -> dict[str, Any]:
    engine = told.run.get("processing_engine") or {}
    found = {
        "producer": event.get("producer"),
        "engine": engine.get("name"),
        "engine_version": engine.get("version"),
        "nominal_start": (told.run.get("nominalTime") or {}).get("nominalStartTime"),
        "dag_run_id": dag_run.get("run_id"),
        "clear_number": dag_run.get("clear_number"),
        "note": dag_run.get("note"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _optional_time(text: Any) -> datetime | None:
    return _time(text) if isinstance(text, str) and text else None
