"""From Airflow's rows to observations: pure functions, no requests. The adapter comes here, and whoever asks what an
Airflow state means to runlink.

The DAG run is the instance, its task instances are the steps. Clearing makes the same run begin again: that is a new
attempt, which Airflow counts (`clear_number`) and does not tell; what tells it is a later `queued_at`. Sources: the
recordings, and `airflow.models` of Airflow 3.3.2.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from runlink.spi import UNKNOWN, ExecutionStatus, Observation, Revision, Step, Unknown

Row = Mapping[str, Any]
Task = tuple[str, int]
"""(task_id, map_index); the index is -1 for what is not mapped."""

RUN_STATES: Final[Mapping[str, ExecutionStatus]] = {
    "queued": ExecutionStatus.PENDING,
    "running": ExecutionStatus.PROCESSING,
    "success": ExecutionStatus.COMPLETED,
    "failed": ExecutionStatus.FAILED,
}
"""A cancelled run is `failed` too; see `Facts.cancelled`."""

TASK_STATES: Final[Mapping[str | None, ExecutionStatus]] = {
    None: ExecutionStatus.PENDING,
    "scheduled": ExecutionStatus.PENDING,
    "queued": ExecutionStatus.PENDING,
    "running": ExecutionStatus.PROCESSING,
    "deferred": ExecutionStatus.PROCESSING,
    "up_for_reschedule": ExecutionStatus.PROCESSING,
    "awaiting_input": ExecutionStatus.PROCESSING,
    "up_for_retry": ExecutionStatus.RETRYING,
    "restarting": ExecutionStatus.RETRYING,
    "success": ExecutionStatus.COMPLETED,
    "skipped": ExecutionStatus.COMPLETED,
    "failed": ExecutionStatus.FAILED,
    "upstream_failed": ExecutionStatus.FAILED,
    "removed": ExecutionStatus.CANCELLED,
}

NEVER_BEGAN: Final = (None, "skipped", "upstream_failed", "removed")
"""States a task instance may have without a try of its own: after a clear, `try_number` still counts the one before."""

_EXTERNAL_ID: Final = re.compile(r"([^/]+)/(.+)@(\d+\.\d{6})", re.DOTALL)


def external_id(dag_id: str, dag_run_id: str, run_after: datetime) -> str:
    """`DAG/RUN@SECONDS`: a run id may be used again once its run was deleted, the time it was due is then another.

    `run_after` never changes (not by a clear either), and OpenLineage events carry it too.
    """
    moment = run_after.astimezone(UTC)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return f"{dag_id}/{dag_run_id}@{seconds}.{moment.microsecond:06}"


def identity(run: Row) -> str:
    """The external id of a row of DAG runs. Raises KeyError, ValueError or TypeError for a row that makes no sense."""
    return external_id(run["dag_id"], run["dag_run_id"], datetime.fromisoformat(run["run_after"]))


def parse_external_id(text: str) -> tuple[str, str] | None:
    """(dag_id, dag_run_id), None for what is no id of this plugin."""
    match = _EXTERNAL_ID.fullmatch(text)
    return (match[1], match[2]) if match else None


def step_id(task_id: str, map_index: int | None) -> str:
    """`TASK`, or `TASK[INDEX]` for one of a mapped task."""
    return task_id if map_index is None or map_index < 0 else f"{task_id}[{map_index}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was read about one DAG run.

    tasks      its task instances, each in its latest try; None: not read; UNKNOWN: not to be had
    tries      of a task instance that was tried before: every try, the past ones first (as …/tries answers)
    retrying   whether a task was seen to wait for its next try, where `tasks` were not read this time
    cancelled  who or what ended it by hand, in a sentence
    parent     external id of the run that triggered it
    """

    run: Row
    url: str
    tasks: Sequence[Row] | Unknown | None = None
    tries: Mapping[Task, Sequence[Row]] = field(default_factory=dict)
    retrying: bool = False
    cancelled: str | None = None
    parent: str | None = None


def observe(facts: Facts) -> Observation:
    """The run as it is now. Raises ValueError, KeyError or TypeError for rows that make no sense."""
    run = facts.run
    tasks = facts.tasks if isinstance(facts.tasks, Sequence) else ()
    ended = run["state"] in ("success", "failed")
    return Observation(
        external_id=identity(run),
        workflow=run["dag_id"],
        status=_status(facts, tasks),
        native_status=run["state"],
        revision=revision(time(run["queued_at"]), time(run["start_date"])),
        created_at=time(run["queued_at"] or run["run_after"]),
        started_at=time(run["start_date"]),
        finished_at=time(run["end_date"]) if ended else None,
        url=f"{facts.url}/dags/{quote(run['dag_id'], safe='')}/runs/{quote(run['dag_run_id'], safe='')}",
        parent=facts.parent,
        parameters=run["conf"] or {},
        labels=_labels(run),
        message=_message(facts, tasks),
        metadata=_metadata(run),
        steps=UNKNOWN if facts.tasks is UNKNOWN else None if facts.tasks is None else tuple(_steps(facts, tasks)),
    )


def as_queued(seen: Observation) -> Observation:
    """The same run at the moment it was queued, for the attempt that begins there: told first, it is what makes two
    attempts of a run that was cleared and has ended again between two polls."""
    return msgspec.structs.replace(
        seen,
        status=ExecutionStatus.PENDING,
        native_status="queued",
        revision=revision(seen.created_at, None),
        started_at=None,
        finished_at=None,
        message=None,
        steps=None,
    )


def revision(queued_at: datetime | None, started_at: datetime | None) -> Revision | None:
    """Orders the attempts of a run: each is queued, and then begins, later than anything of the one before.

    Microseconds of the later of the two, which OpenLineage events carry as well (`start_date`).
    """
    known = [moment for moment in (queued_at, started_at) if moment is not None]
    if not known:
        return None
    latest = max(known)
    return Revision(int(latest.replace(microsecond=0).timestamp()) * 1_000_000 + latest.microsecond)


def time(text: str | None) -> datetime | None:
    """An aware time in UTC. Raises ValueError for one without a time zone."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)


# --- the run -------------------------------------------------------------------------------------------------------


def _status(facts: Facts, tasks: Sequence[Row]) -> ExecutionStatus:
    state = facts.run["state"]
    if state not in RUN_STATES:
        raise ValueError(f"state is {state!r}; Airflow 3.3.2 knows {', '.join(RUN_STATES)}")
    if state == "failed" and facts.cancelled is not None:
        return ExecutionStatus.CANCELLED
    if state == "running" and (is_retrying(tasks) if facts.tasks is not None else facts.retrying):
        return ExecutionStatus.RETRYING
    return RUN_STATES[state]


def is_retrying(tasks: Iterable[Row] | Unknown) -> bool:
    """Whether a task waits for its next try."""
    return not isinstance(tasks, Unknown) and any(
        TASK_STATES.get(t["state"]) is ExecutionStatus.RETRYING for t in tasks
    )


def _message(facts: Facts, tasks: Sequence[Row]) -> str | None:
    """Airflow gives a run no reason of its own: the tasks that it failed by. Of an end alone, because a message stays
    when another observation tells none."""
    if facts.run["state"] != "failed" or facts.cancelled is not None:
        return facts.cancelled if facts.run["state"] == "failed" else None
    told = [
        f"task {step_id(t['task_id'], t['map_index'])} failed (try {max(1, t['try_number'])} of "
        f"{max(t['max_tries'] + 1, t['try_number'])})"
        for t in sorted(tasks, key=lambda t: (t["task_id"], t["map_index"]))
        if t["state"] == "failed"
    ]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return ", ".join(told[:3]) + more if told else None


def _labels(run: Row) -> dict[str, str]:
    told = {"run_type": run["run_type"], "triggered_by": run["triggered_by"], "user": run["triggering_user_name"]}
    return {name: str(value) for name, value in told.items() if value}


def _metadata(run: Row) -> dict[str, Any]:
    """Without what moves while nothing happens (`last_scheduling_decision`, each second; recording 040)."""
    names = ("logical_date", "run_after", "data_interval_start", "data_interval_end", "note", "bundle_version")
    told = {name: run.get(name) for name in (*names, "partition_key", "partition_date")}
    told["dag_versions"] = [version["version_number"] for version in run.get("dag_versions") or ()] or None
    return {name: value for name, value in told.items() if value is not None}


# --- its steps -----------------------------------------------------------------------------------------------------


def tried_before(task: Row) -> bool:
    """Whether a task instance may have tries that its own row does not show."""
    return task["try_number"] > 1 or (task["try_number"] == 1 and task["state"] in NEVER_BEGAN)


def _steps(facts: Facts, tasks: Sequence[Row]) -> Iterator[Step]:
    """A mapped task is a step with its instances as parts: what it was before it was expanded bears its name."""
    by_task: dict[str, list[Row]] = {}
    for task in tasks:
        by_task.setdefault(task["task_id"], []).append(task)
    for task_id in sorted(by_task):
        parts = sorted(by_task[task_id], key=lambda task: task["map_index"])
        if parts[0]["map_index"] >= 0:
            yield _mapped(task_id, parts)
        for task in parts:
            yield from _every_try(task, facts.tries.get((task_id, task["map_index"]), ()))


def _every_try(task: Row, tries: Sequence[Row]) -> Iterator[Step]:
    """`try_number` counts on over clears, so a step has one numbering over all attempts of its run."""
    number = max(1, task["try_number"])
    waits_anew = task["state"] is None and task["try_number"] > 0  # cleared; the next try has no number yet
    if waits_anew or sum(past["try_number"] == task["try_number"] for past in tries) > 1:
        number += 1
    past: dict[int, Row] = {}
    for each in tries:
        if each["try_number"] < number:
            past.setdefault(max(1, each["try_number"]), each)
    for before in sorted(past):
        yield _step(past[before], before, past=True)
    yield _step(task, number, past=False)


def _step(task: Row, number: int, *, past: bool) -> Step:
    state = task["state"]
    # A word that is not known is work in progress while the run goes on; a past try will be ended by nobody any more.
    status = TASK_STATES.get(state, ExecutionStatus.PROCESSING)
    if past and not status.is_ended:
        status = ExecutionStatus.CANCELLED
    waiting = status is ExecutionStatus.PENDING  # with the times of the try before (recording 041)
    ended = status.is_ended or status is ExecutionStatus.RETRYING
    return Step(
        external_id=step_id(task["task_id"], task["map_index"]),
        name=step_id(task.get("task_display_name") or task["task_id"], task["map_index"]),
        status=status,
        native_status=state or "none",
        attempt=number,
        final=False if past or status is ExecutionStatus.RETRYING else True if status.is_ended else None,
        started_at=None if waiting else time(task["start_date"]),
        finished_at=time(task["end_date"]) if ended else None,
        message=task.get("note") or None,
        parent=task["task_id"] if task["map_index"] >= 0 else None,
    )


def _mapped(task_id: str, parts: Sequence[Row]) -> Step:
    """The whole of a mapped task; Airflow has no row for it, hence the word `mapped`."""
    statuses = {TASK_STATES.get(part["state"], ExecutionStatus.PROCESSING) for part in parts}
    ended = all(status.is_ended for status in statuses)
    if not ended:
        begun = statuses != {ExecutionStatus.PENDING}
        status = ExecutionStatus.PROCESSING if begun else ExecutionStatus.PENDING
    elif ExecutionStatus.FAILED in statuses:
        status = ExecutionStatus.FAILED
    else:
        status = ExecutionStatus.COMPLETED if ExecutionStatus.COMPLETED in statuses else ExecutionStatus.CANCELLED
    starts = [
        moment for part in parts if (moment := time(part["start_date"])) and status is not ExecutionStatus.PENDING
    ]
    ends = [moment for part in parts if (moment := time(part["end_date"])) and ended]
    return Step(
        external_id=task_id,
        name=parts[0].get("task_display_name") or task_id,
        status=status,
        native_status="mapped",
        final=True if ended else None,
        started_at=min(starts, default=None),
        finished_at=max(ends, default=None),
    )
