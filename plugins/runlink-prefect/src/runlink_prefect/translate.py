"""From Prefect's rows to observations: pure functions, no requests. The adapter comes here, and whoever asks what a
Prefect state means to runlink.

The flow run is the instance. Sources: Prefect 3.9.1, its recordings, and `prefect.server.schemas.states` of it.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runlink.spi import Attempt, ExecutionStatus, Observation, Step
from runlink_prefect.tries import TERMINAL, State, Try, time_of, tries

Row = Mapping[str, Any]

STATUSES: Final[Mapping[str, ExecutionStatus]] = {
    "SCHEDULED": ExecutionStatus.PENDING,
    "PENDING": ExecutionStatus.PENDING,
    "RUNNING": ExecutionStatus.PROCESSING,
    "PAUSED": ExecutionStatus.PROCESSING,
    "CANCELLING": ExecutionStatus.PROCESSING,
    "COMPLETED": ExecutionStatus.COMPLETED,
    "FAILED": ExecutionStatus.FAILED,
    "CRASHED": ExecutionStatus.FAILED,
    "CANCELLED": ExecutionStatus.CANCELLED,
}
"""By state type. The name refines it, and is the native status."""

_RETRYING: Final = frozenset({("SCHEDULED", "AwaitingRetry"), ("RUNNING", "Retrying")})

_KEPT: Final = (
    "name", "flow_id", "flow_version", "deployment_id", "deployment_version", "idempotency_key", "work_pool_name",
    "work_queue_name", "expected_start_time", "state_type", "created_by",
)  # fmt: skip


def is_flow_run_id(text: str) -> bool:
    """Whether it is written as Prefect writes an id; one other in a filter, and the whole question is refused."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def has_ended(row: Row) -> bool:
    """Whether a flow run or task run is in a terminal state (which it may leave again)."""
    return row["state_type"] in TERMINAL


def is_ahead_of_time(row: Row) -> bool:
    """Whether a schedule made this run and it only waits for its time: up to a hundred per deployment, which Prefect
    deletes and makes anew whenever the schedule changes."""
    return bool(row["auto_scheduled"]) and (row["state_type"], row["state_name"]) == ("SCHEDULED", "Scheduled")


def needs_history(row: Row) -> bool:
    """Whether the row shows that there may be more than one try (see `tries`): it ran twice or waits to, or it was
    marked as ended otherwise by hand, which moves the state's time and leaves `end_time` (seen in 3.9.1)."""
    if row["run_count"] > 1 or row["empirical_policy"]["retry_type"] is not None:
        return True
    if row["run_count"] == 1 and row["state_type"] in ("SCHEDULED", "PENDING"):
        return True
    return has_ended(row) and row["end_time"] is not None and row["state"]["timestamp"] != row["end_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was read about one flow run.

    workflow   `FLOW/DEPLOYMENT`, or `FLOW` for a run without a deployment
    parent     the flow run that started it
    states     all its states, oldest first; None where they were not read, because the row tells of one try only
    tasks      its task runs, None if not read; `task_states` by task run id, for those with more than one try
    settled    whether it ended so long ago that no more task runs of it will be written
    """

    row: Row
    workflow: str
    parent: str | None = None
    states: Sequence[State] | None = None
    tasks: Sequence[Row] | None = None
    task_states: Mapping[str, Sequence[State]]
    settled: bool = False
    ui_url: str | None = None


def observe(facts: Facts) -> Observation:
    """The flow run as it is now. Raises ValueError, KeyError or TypeError for rows that make no sense."""
    row = facts.row
    made = tries(facts.states) if facts.states else []
    number = len(made) or max(1, row["run_count"])
    started, finished = row["start_time"], row["end_time"]
    return Observation(
        external_id=row["id"],
        workflow=facts.workflow,
        status=_status(row, made),
        native_status=row["state_name"],
        attempt=number,
        created_at=time_of(row["created"]),
        started_at=made[-1].started_at if made else time_of(started),
        finished_at=time_of(made[-1].last["timestamp"] if made else finished) if has_ended(row) else None,
        url=facts.ui_url and f"{facts.ui_url}/runs/flow-run/{row['id']}",
        parent=facts.parent,
        parameters=row["parameters"],
        labels=_labels(row),
        message=row["state"].get("message") or None,
        metadata=_metadata(row),
        steps=None if facts.tasks is None else tuple(_steps(facts)),
        attempts=tuple(_attempt(place, each) for place, each in enumerate(made[:-1], 1)) if made else None,
    )


def status_of(kind: str, name: str) -> ExecutionStatus:
    """Raises ValueError for a type that Prefect 3.9.1 does not have."""
    if kind not in STATUSES:
        raise ValueError(f"the state type is {kind!r}; Prefect 3.9.1 knows {', '.join(STATUSES)}")
    return ExecutionStatus.RETRYING if (kind, name) in _RETRYING else STATUSES[kind]


def _status(row: Row, made: Sequence[Try]) -> ExecutionStatus:
    """A run that waits after it has run, or after an end, waits for its next try, also once it is Pending or
    Submitting; one that was paused goes on."""
    status = status_of(row["state_type"], row["state_name"])
    if status is not ExecutionStatus.PENDING or (len(made) <= 1 and not row["run_count"]):
        return status
    return ExecutionStatus.PROCESSING if made and made[-1].is_resuming else ExecutionStatus.RETRYING


def _attempt(number: int, each: Try) -> Attempt:
    return Attempt(
        number=number,
        status=_end_of(each),
        native_status=each.last["name"],
        started_at=each.started_at,
        finished_at=time_of(each.last["timestamp"]),
        message=each.last["message"] or None,
    )


def _end_of(each: Try) -> ExecutionStatus:
    """A failure that is followed by a retry is never written as FAILED: AwaitingRetry stands in its place."""
    return STATUSES[each.last["type"]] if each.has_ended else ExecutionStatus.FAILED


def _labels(row: Row) -> dict[str, str]:
    """Prefect's labels, then its tags: `key:value` as key and value, a bare tag with itself as its value."""
    labels = {name: str(value) for name, value in (row["labels"] or {}).items()}
    for tag in row["tags"] or ():
        key, separator, value = tag.partition(":")
        labels[key] = value if separator else tag
    return labels


def _metadata(row: Row) -> dict[str, Any]:
    """Nothing that Prefect works out anew at each reading (`estimated_run_time` and the like)."""
    told = {name: row.get(name) for name in _KEPT} | {"auto_scheduled": row["auto_scheduled"] or None}
    return {name: value for name, value in told.items() if value not in (None, {})}


# --- steps -----------------------------------------------------------------------------------------------------------


def _steps(facts: Facts) -> Iterator[Step]:
    for task in sorted(facts.tasks or (), key=lambda task: (task["expected_start_time"] or "", task["id"])):
        made = tries(facts.task_states.get(task["id"], ()))
        for number, each in enumerate(made[:-1], 1):
            yield Step(
                external_id=task["id"],
                name=_step_name(task),
                status=_end_of(each),
                native_status=each.last["name"],
                attempt=number,
                final=False,
                started_at=each.started_at,
                finished_at=time_of(each.last["timestamp"]),
                message=each.last["message"] or None,
            )
        yield _present_step(facts, task, made)


def _present_step(facts: Facts, task: Row, made: Sequence[Try]) -> Step:
    status, native = status_of(task["state_type"], task["state_name"]), task["state_name"]
    if not has_ended(task) and facts.settled:  # its process was killed: nobody will end this task run any more
        status, native = ExecutionStatus.CANCELLED, f"{native} (unfinished)"
    return Step(
        external_id=task["id"],
        name=_step_name(task),
        status=status,
        native_status=native,
        attempt=len(made) or max(1, task["run_count"]),
        final=_is_final(facts, task),
        started_at=made[-1].started_at if made else time_of(task["start_time"]),
        finished_at=time_of(task["end_time"]) if has_ended(task) else None,
        message=task["state"].get("message") or None,
    )


def _is_final(facts: Facts, task: Row) -> bool | None:
    """What failed in an earlier try of the flow run is tried again, as another task run."""
    if (task["state_type"], task["state_name"]) == ("SCHEDULED", "AwaitingRetry") and not facts.settled:
        return False
    if 0 < task["flow_run_run_count"] < facts.row["run_count"] and task["state_type"] != "COMPLETED":
        return False
    return True if has_ended(task) or facts.settled else None


def _step_name(task: Row) -> str:
    """A task run that nobody named is called after its task and three characters of its key, which are left out: they
    differ at each run."""
    name, key = str(task["name"]), str(task["dynamic_key"])
    return name.removesuffix(f"-{key[:3]}") if len(key) == 36 else name
