"""From Jenkins' words to runlink's: identities, statuses, and the observation of a build, a queue item, its stages.

The polling and rereading modules come here with one decoded item at a time. Nothing here asks the server. Fields as
in Jenkins 2.426.2; whatever makes no sense raises ValueError, TypeError, AttributeError or KeyError (`SENSELESS`),
which the caller reports as Unreadable.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from runlink.spi import ExecutionStatus, Observation, Step
from runlink_jenkins.client import path_of

SENSELESS: Final = (ValueError, TypeError, AttributeError, KeyError, OverflowError)

ACTIONS: Final = "actions[causes[shortDescription,userId,upstreamProject,upstreamBuild],parameters[name,value]]"
BUILD: Final = f"number,result,building,timestamp,duration,queueId,displayName,description,keepLog,builtOn,{ACTIONS}"
"""The fields asked of a build. Not estimatedDuration, which moves with every new build, also for old ones."""
QUEUE: Final = f"items[id,inQueueSince,why,stuck,task[fullName,name,url],{ACTIONS}]"

PIPELINE: Final = "WorkflowRun"
"""How the class of a Pipeline build ends: the only kind that has stages."""

_S = ExecutionStatus
RESULTS: Final[Mapping[str, ExecutionStatus]] = {
    "SUCCESS": _S.COMPLETED,
    "UNSTABLE": _S.COMPLETED,
    "FAILURE": _S.FAILED,
    "ABORTED": _S.CANCELLED,
    "NOT_BUILT": _S.CANCELLED,
}
STAGES: Final[Mapping[str, ExecutionStatus]] = {
    "SUCCESS": _S.COMPLETED,
    "UNSTABLE": _S.COMPLETED,
    "FAILED": _S.FAILED,
    "ABORTED": _S.CANCELLED,
    "NOT_EXECUTED": _S.CANCELLED,
    "IN_PROGRESS": _S.PROCESSING,
    "PAUSED_PENDING_INPUT": _S.PROCESSING,
    "QUEUED": _S.PENDING,
}
_ENDED: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_TEXT: Final = 4000
_MOST_CAUSES: Final = 20
_MOVING: Final = re.compile(r"\s*(Expires in .*|\(ETA: [^)]*\))$")
"""The parts of a queue item's `why` that change from second to second."""

Resolve = Callable[[str, int, int], str | None]
"""(upstream fullName, its build number, the child's time in ms) -> the parent's external id, None where unknown."""


class BuildId(NamedTuple):
    """What makes a build unique for ever: numbers start again when a job is deleted and created anew."""

    job: str
    number: int
    timestamp_ms: int

    def __str__(self) -> str:
        return f"{self.job}#{self.number}@{self.timestamp_ms}"


class QueueId(NamedTuple):
    """Queue ids are given again after a crash of the server, hence the time."""

    number: int
    since_ms: int

    def __str__(self) -> str:
        return f"queue:{self.number}@{self.since_ms}"


def parse_id(external_id: str) -> BuildId | QueueId | None:
    """The parts of an external id; None for a text that no version of this plugin has made.

    Unambiguous, because Jenkins allows none of `#@:` in an item's name.
    """
    head, _, time = external_id.rpartition("@")
    try:
        if head.startswith("queue:"):
            return QueueId(int(head[6:]), int(time))
        job, _, number = head.rpartition("#")
        return BuildId(job, int(number), int(time)) if job else None
    except ValueError:
        return None


def at(milliseconds: int) -> datetime:
    """Milliseconds since the epoch as an aware datetime, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def build_id(raw: Mapping[str, Any], job: str) -> BuildId:
    """The identity of a build. Raises for a timestamp of 0, which a badly reloaded record has (jenkins#27009)."""
    number, timestamp = raw["number"], raw["timestamp"]
    if not isinstance(number, int) or not isinstance(timestamp, int) or number < 1 or timestamp <= 0:
        raise ValueError(f"number {number!r} and timestamp {timestamp!r} make no build")
    return BuildId(job, number, timestamp)


def is_pipeline(raw: Mapping[str, Any]) -> bool:
    """Whether a build is of the kind that has stages."""
    return str(raw.get("_class", "")).endswith(PIPELINE)


def observe_build(
    raw: Mapping[str, Any],
    identity: BuildId,
    base_url: str,
    *,
    resolve: Resolve,
    queued: QueueId | None = None,
    unstable_as: ExecutionStatus = _S.COMPLETED,
    steps: tuple[Step, ...] | Any = None,
) -> Observation:
    """One build as it is now. `result` counts only when `building` is false: a running build may have one already.

    `queued` is the queue item it was, when that was seen: it gives `created_at` and `supersedes`.
    """
    building, result, duration = raw["building"], raw.get("result"), raw.get("duration") or 0
    status, native = _status(building, result, unstable_as)
    actions = _Actions(raw.get("actions"))
    return Observation(
        external_id=str(identity),
        workflow=identity.job,
        status=status,
        native_status=native,
        created_at=at(queued.since_ms) if queued else None,
        started_at=at(identity.timestamp_ms),
        finished_at=None if building else at(identity.timestamp_ms + max(0, duration)),
        url=f"{base_url}{path_of(identity.job)}/{identity.number}/",
        parent=actions.parent(resolve, identity.timestamp_ms),
        parameters=actions.parameters,
        labels=actions.labels(identity.job),
        message="; ".join(actions.interruptions) or None,
        metadata=_build_metadata(raw, actions),
        steps=steps,
        supersedes=str(queued) if queued else None,
    )


def _status(building: Any, result: Any, unstable_as: ExecutionStatus) -> tuple[ExecutionStatus, str]:
    if building is True:
        return _S.PROCESSING, "BUILDING"
    if building is not False:
        raise ValueError(f"building is {building!r}")
    if result == "UNSTABLE":
        return unstable_as, result
    if result not in RESULTS:
        raise ValueError(f"not building, and the result is {result!r}: no verdict")
    return RESULTS[result], result


def _build_metadata(raw: Mapping[str, Any], actions: _Actions) -> dict[str, Any]:
    metadata = {
        "number": raw["number"],
        "queueId": raw.get("queueId"),
        "displayName": raw.get("displayName"),
        "description": raw.get("description"),
        "keepLog": raw.get("keepLog"),
        "builtOn": raw.get("builtOn"),
        "causes": actions.causes,
    }
    return {k: v[:_LONGEST_TEXT] if v.__class__ is str else v for k, v in metadata.items() if v}


class _Actions:
    """What is asked for of a build's or queue item's `actions`: mostly `{}` and bare `_class`es, so all are scanned.

    An InterruptedBuildAction has `causes` too: those of the abort, not of the start.
    """

    __slots__ = ("_origins", "causes", "interruptions", "parameters")

    def __init__(self, actions: Any) -> None:
        self.parameters: dict[str, Any] = {}
        self._origins: list[Mapping[str, Any]] = []
        self.interruptions: list[str] = []
        for action in actions or ():
            for parameter in action.get("parameters") or ():
                self.parameters[parameter["name"]] = _parameter(parameter)
            causes = action.get("causes")
            if not causes:
                continue
            if action.get("_class", "").endswith("InterruptedBuildAction"):
                self.interruptions += [c["shortDescription"] for c in causes if c.get("shortDescription")]
            else:
                self._origins += causes
        texts = [c["shortDescription"][:_LONGEST_TEXT] for c in self._origins if c.get("shortDescription")]
        self.causes = list(dict.fromkeys(texts))[:_MOST_CAUSES]

    def labels(self, job: str) -> dict[str, str]:
        labels = {}
        if "/" in job:
            labels["folder"] = job.rpartition("/")[0]
        for cause in self._origins:
            labels.setdefault("cause", _simple_name(cause.get("_class", "")) or "unknown")
            if cause.get("userId"):
                labels.setdefault("user", cause["userId"])
        return labels

    def parent(self, resolve: Resolve, child_ms: int) -> str | None:
        for cause in self._origins:
            # RebuildCause is an UpstreamCause by inheritance, and names the build that was repeated.
            if "upstreamBuild" in cause and cause.get("_class", "").endswith("UpstreamCause"):
                return resolve(cause["upstreamProject"], cause["upstreamBuild"], child_ms)
        return None


@functools.lru_cache(maxsize=1024)
def _simple_name(class_name: str) -> str:
    """`hudson.model.Cause$UserIdCause` -> `UserIdCause`."""
    return re.split(r"[.$]", class_name)[-1]


def _parameter(parameter: Mapping[str, Any]) -> Any:
    """A password parameter has a name and no value; a server that sent one anyway is not believed."""
    if "Password" in parameter.get("_class", ""):
        return None
    return parameter.get("value")


def queue_job(item: Mapping[str, Any]) -> str | None:
    """The fullName of the job a queue item is for; None for what is no job (a Pipeline's wait for a node).

    `task.url` is only taken apart, never asked: its host is whatever the server's configuration says.
    """
    task = item.get("task") or {}
    if isinstance(task.get("fullName"), str):
        return str(task["fullName"])
    parts = str(task.get("url") or "").rstrip("/").split("/")
    names: list[str] = []
    while len(parts) > 1 and parts[-2] == "job":
        names.insert(0, unquote(parts[-1]))
        parts = parts[:-2]
    return "/".join(names) or None


def observe_queue_item(
    item: Mapping[str, Any], job: str, base_url: str, *, resolve: Resolve
) -> tuple[QueueId, Observation]:
    """A trigger that waits, or one that was cancelled. Its `native_status` is the class: WaitingItem, BlockedItem, …

    What it waits for is metadata, not the message: a message would outlive the wait.
    """
    number, since = item["id"], item["inQueueSince"]
    if not isinstance(number, int) or not isinstance(since, int) or since <= 0:
        raise ValueError(f"id {number!r} and inQueueSince {since!r} make no queue item")
    identity = QueueId(number, since)
    cancelled = item.get("cancelled") is True
    actions = _Actions(item.get("actions"))
    observation = Observation(
        external_id=str(identity),
        workflow=job,
        status=_S.CANCELLED if cancelled else _S.PENDING,
        native_status="cancelled" if cancelled else _simple_name(item.get("_class", "")) or "queued",
        created_at=at(since),
        url=f"{base_url}/queue/item/{number}/",
        parent=actions.parent(resolve, since),
        parameters=actions.parameters,
        labels=actions.labels(job),
        metadata={"queueId": number, "causes": actions.causes, "why": _MOVING.sub("", item.get("why") or "")},
    )
    return identity, observation


def observe_stages(answer: Mapping[str, Any]) -> tuple[Step, ...]:
    """The stages of a Pipeline build, from `wfapi/describe` of the plugin pipeline-rest-api.

    Fields by that plugin's documentation (id, name, status, startTimeMillis, durationMillis, error): no recording of
    a working wfapi was to be had.
    """
    steps = []
    for stage in answer.get("stages") or ():
        status = STAGES[stage["status"]]
        started, ended = stage.get("startTimeMillis") or 0, status in _ENDED
        error = stage.get("error") or {}
        steps.append(
            Step(
                external_id=str(stage["id"]),
                name=str(stage.get("name") or stage["id"]),
                status=status,
                native_status=stage["status"],
                final=True if ended else None,
                started_at=at(started) if started > 0 else None,
                finished_at=at(started + max(0, stage.get("durationMillis") or 0)) if ended and started > 0 else None,
                message=(error.get("message") or "")[:_LONGEST_TEXT] or None,
            )
        )
    return tuple(steps)
