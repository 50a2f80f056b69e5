"""From Dagster's rows to observations: pure functions, no requests. The adapter comes here, and whoever asks what a
Dagster status means to runlink.

A run is the instance. Dagster never runs one again: a re-execution, by hand or automatic, is a new run that names its
parent (recording 054). Sources: the recordings; `dagster._core.execution.stats` of 1.13.28 for what steps tell.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from runlink.spi import ExecutionStatus, Observation, Step, Unknown

Row = Mapping[str, Any]

STATUSES: Final[Mapping[str, ExecutionStatus]] = {
    "QUEUED": ExecutionStatus.PENDING,
    "NOT_STARTED": ExecutionStatus.PENDING,
    "MANAGED": ExecutionStatus.PENDING,
    "STARTING": ExecutionStatus.PENDING,
    "STARTED": ExecutionStatus.PROCESSING,
    "SUSPENDED": ExecutionStatus.PROCESSING,
    "CANCELING": ExecutionStatus.PROCESSING,
    "SUCCESS": ExecutionStatus.COMPLETED,
    "FAILURE": ExecutionStatus.FAILED,
    "CANCELED": ExecutionStatus.CANCELLED,
}

_STEP_ENDS: Final[Mapping[str, ExecutionStatus]] = {
    "SUCCESS": ExecutionStatus.COMPLETED,
    "FAILURE": ExecutionStatus.FAILED,
    "SKIPPED": ExecutionStatus.COMPLETED,
}

INTERRUPTED: Final = "DagsterExecutionInterruptedError"
"""The error of a step whose run was terminated; `stepStats` calls it FAILURE like any other (recording 051)."""

_HIDDEN: Final = ".dagster/"
"""Tags that Dagster keeps for itself and shows nobody."""

_PARAMETERS_BYTES: Final = 16_384
"""A larger run configuration is left out, and `metadata.run_config` says so."""

_ASSETS: Final = 50
_MESSAGE_CHARACTERS: Final = 1_000


def observe(run: Row, details: Row | Unknown | None, url: str) -> Observation:
    """The run as it is now. `details`: its steps and, where it failed, its events; None: not read; UNKNOWN: not to be
    had. Raises ValueError, KeyError or TypeError for rows that make no sense.
    """
    status = _status(run)
    parameters, left_out = _parameters(run)
    errors = _Errors(details if isinstance(details, Mapping) else {})
    return Observation(
        external_id=run["runId"],
        workflow=workflow(run),
        status=status,
        native_status=run["status"],
        created_at=_time(run["creationTime"]),
        started_at=_time(_started(run)),
        finished_at=_time(run["endTime"] or run["updateTime"]) if status.is_ended else None,
        url=f"{url}/runs/{run['runId']}",
        parent=run["parentRunId"],
        parameters=parameters,
        labels={tag["key"]: tag["value"] for tag in run["tags"] if not tag["key"].startswith(_HIDDEN)},
        message=errors.of_run,
        metadata=_metadata(run, left_out),
        steps=_steps(run, details, errors),
    )


def workflow(run: Row) -> str:
    """LOCATION/JOB, as Dagster's own pages call it; LOCATION/REPOSITORY/JOB where the repository has a name.

    A run that no code location was asked for (`execute_in_process`) has the name of its job alone.
    """
    origin = run["repositoryOrigin"]
    if origin is None:
        return str(run["jobName"])
    names = (origin["repositoryLocationName"], origin["repositoryName"], run["jobName"])
    return "/".join(name for name in names if name != "__repository__")


def is_ended(run: Row) -> bool:
    """Whether the run will change no more, but for its tags."""
    return _status(run).is_ended


def is_failed(run: Row) -> bool:
    """Whether its events tell why it ended as it did."""
    return run["status"] in ("FAILURE", "CANCELED")


def has_details(run: Row) -> bool:
    """Whether there may be steps, or a reason why there are none."""
    return _started(run) is not None or is_failed(run)


def _started(run: Row) -> float | None:
    """Dagster gives a run that ended without having begun its end as its start, too (recording 112, the queued one)."""
    began: float | None = run["startTime"]
    return None if began == run["endTime"] else began


def _status(run: Row) -> ExecutionStatus:
    status = STATUSES.get(run["status"])
    if status is None:
        raise ValueError(f"status is {run['status']!r}; Dagster 1.13 knows {', '.join(STATUSES)}")
    return status


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _parameters(run: Row) -> tuple[Mapping[str, Any] | None, str | None]:
    """The run configuration, or why it is not told."""
    config = run["runConfig"]
    if not isinstance(config, Mapping):
        return None, None if config is None else "not an object"
    size = len(json.dumps(config))
    return (config, None) if size <= _PARAMETERS_BYTES else (None, f"left out: {size} bytes")


def _metadata(run: Row, left_out: str | None) -> dict[str, Any]:
    assets = ["/".join(asset["path"]) for asset in run["assetSelection"] or ()]
    told = {
        "root_run": run["rootRunId"],
        "run_config": left_out,
        "assets": sorted(assets)[:_ASSETS] or None,
        "asset_count": len(assets) or None,
    }
    return {name: value for name, value in told.items() if value is not None}


class _Errors:
    """What a run's events say went wrong: `of_run`, and of steps by key."""

    def __init__(self, details: Row) -> None:
        self.of_run: str | None = None
        self._of_steps: dict[str, Row] = {}
        connection = details.get("eventConnection") or {}
        for event in connection.get("events", ()):
            if event["__typename"] == "ExecutionStepFailureEvent":
                self._of_steps[event["stepKey"]] = event["error"] or {}
            elif event["__typename"] in ("RunFailureEvent", "RunCanceledEvent"):
                self.of_run = _sentence(event.get("error")) or _line(event["message"])

    def of_step(self, key: str) -> str | None:
        return _sentence(self._of_steps.get(key))

    def was_interrupted(self, key: str) -> bool | None:
        """Whether the step was ended because its run was; None where no event of it was read."""
        error = self._of_steps.get(key)
        return None if error is None else error.get("className") == INTERRUPTED


def _sentence(error: Row | None) -> str | None:
    """The user's own error: Dagster wraps it in one of its own, and what is wrapped stands last in the chain."""
    if not error:
        return None
    chain = error.get("errorChain") or ()
    return _line((chain[-1]["error"] if chain else error)["message"])


def _line(text: str | None) -> str | None:
    stripped = (text or "").strip()
    return stripped[:_MESSAGE_CHARACTERS] or None


def _steps(run: Row, details: Row | Unknown | None, errors: _Errors) -> tuple[Step, ...] | Unknown | None:
    if _started(run) is None:
        return ()
    if not isinstance(details, Mapping):
        return details
    return tuple(step for stats in details["stepStats"] for step in _attempts(run, stats, errors))


def _attempts(run: Row, stats: Row, errors: _Errors) -> Iterator[Step]:
    """One step for each try. `attempts` are those that have ended; all but the last asked to be tried again."""
    key, native, tries = stats["stepKey"], stats["status"], list(stats["attempts"])
    ended = native in _STEP_ENDS
    if ended and not tries:
        tries = [{"startTime": stats["startTime"], "endTime": stats["endTime"]}]
    for number, each in enumerate(tries, 1):
        if ended and number == len(tries):
            status = _STEP_ENDS[native]
            if native == "FAILURE" and _was_interrupted(run, key, errors):
                status = ExecutionStatus.CANCELLED
            yield _step(key, number, status, native, each, final=True, message=errors.of_step(key))
        else:
            yield _step(key, number, ExecutionStatus.FAILED, "UP_FOR_RETRY", each, final=False)
    if not ended:
        yield _open_try(run, stats, len(tries))


def _was_interrupted(run: Row, key: str, errors: _Errors) -> bool:
    said = errors.was_interrupted(key)
    return run["status"] == "CANCELED" if said is None else said


def _open_try(run: Row, stats: Row, earlier: int) -> Step:
    """The try under way, or waited for; in a run that has ended, one that nobody will end any more.

    `startTime` is that of the first try. A step without a status has a worker that was started, and has not begun.
    """
    native = stats["status"] or "STARTING"
    if native not in ("IN_PROGRESS", "STARTING"):
        raise ValueError(f"step {stats['stepKey']!r}: status is {native!r}")
    begun = {"startTime": stats["startTime"] if not earlier else None, "endTime": None}
    over = is_ended(run)
    status = ExecutionStatus.PROCESSING if native == "IN_PROGRESS" else ExecutionStatus.PENDING
    return _step(
        stats["stepKey"],
        earlier + 1,
        ExecutionStatus.CANCELLED if over else status,
        native,
        begun,
        final=True if over else None,
    )


def _step(
    key: str,
    number: int,
    status: ExecutionStatus,
    native: str,
    times: Row,
    *,
    final: bool | None,
    message: str | None = None,
) -> Step:
    return Step(
        external_id=key,
        name=key,
        status=status,
        native_status=native,
        attempt=number,
        final=final,
        started_at=_time(times["startTime"]),
        finished_at=_time(times["endTime"]),
        message=message,
    )
