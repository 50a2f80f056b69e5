"""From a CDEvent to an observation. The adapter comes here with one event's data at a time.

Facts as in the CDEvents specification 0.3 to 0.5 (`pipelinerun`, `taskrun`, and `build` where nothing coarser is sent).
Whatever makes no sense raises one of SENSELESS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from runlink.spi import ExecutionStatus, Observation, Revision, Step

SENSELESS: Final = (ValueError, TypeError, AttributeError, KeyError, OverflowError)

_S = ExecutionStatus
TYPE: Final = re.compile(r"dev\.cdevents\.(pipelinerun|taskrun|build)\.(queued|started|finished)(?:\.|$)")
OUTCOMES: Final[Mapping[str, ExecutionStatus]] = {
    "success": _S.COMPLETED,
    "failure": _S.FAILED,
    "error": _S.FAILED,
    "cancel": _S.CANCELLED,
    "cancelled": _S.CANCELLED,
    "canceled": _S.CANCELLED,
}
_NAMES: Final = {"pipelinerun": "pipelineName", "taskrun": "taskName", "build": "buildName"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_TEXT: Final = 4000

Names = Callable[[str], str | None]
"""external id -> the workflow it is known to be of; None where it is not known."""


def observe(event: Mapping[str, Any], kind: str, predicate: str, workflow_of: Names) -> Observation:
    """The run of an event; of a task that names its pipeline run, that run with one step."""
    context, subject = event["context"], event["subject"]
    content = subject.get("content") or {}
    run = content.get("pipelineRun")
    status, native = _status(predicate, content)
    at = _time(context["timestamp"])
    identity = external_id(subject, context)
    name = str(content.get(_NAMES[kind]) or subject["id"])
    if kind == "taskrun" and run and run.get("id"):
        step = Step(
            external_id=identity,
            name=name,
            status=status,
            native_status=native,
            final=True if status.is_ended else None,
            started_at=at if predicate == "started" else None,
            finished_at=at if status.is_ended else None,
            message=_message(content, status),
        )
        whole = external_id(run, context)
        return Observation(
            external_id=whole,
            workflow=workflow_of(whole) or str(run["id"]),
            status=_S.PROCESSING,  # an end of a part is no end of the whole
            native_status="started",
            steps=(step,),
            complete=False,
        )
    return Observation(
        external_id=identity,
        workflow=name,
        status=status,
        native_status=native,
        revision=None if predicate == "queued" else Revision((at - _EPOCH) // timedelta(microseconds=1)),
        created_at=at if predicate == "queued" else None,
        started_at=at if predicate == "started" else None,
        finished_at=at if status.is_ended else None,
        url=content.get("url") or content.get("uri"),
        parameters=_parameters(event),
        labels=_labels(context),
        message=_message(content, status),
    )


def external_id(subject: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """A subject's id is unique together with its source, which is the event's where it has none."""
    if not isinstance(subject.get("id"), str) or not subject["id"].strip():
        raise ValueError("the subject has no id")
    source = subject.get("source") or context.get("source") or ""
    return f"{source}#{subject['id']}" if source else subject["id"]


def _status(predicate: str, content: Mapping[str, Any]) -> tuple[ExecutionStatus, str]:
    if predicate == "queued":
        return _S.PENDING, predicate
    if predicate == "started":
        return _S.PROCESSING, predicate
    outcome = str(content.get("outcome", "")).lower()
    if outcome not in OUTCOMES:
        raise ValueError(f"it has finished, and its outcome is {outcome!r}: no verdict")
    return OUTCOMES[outcome], outcome


def _parameters(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whatever the sender put into `customData`; an event that has none says nothing of it."""
    custom = event.get("customData")
    found = {name: value for name, value in custom.items() if value is not None} if isinstance(custom, Mapping) else {}
    return found or None


def _labels(context: Mapping[str, Any]) -> dict[str, str]:
    found = {"source": context.get("source", ""), "chain_id": context.get("chainId")}
    return {name: str(value) for name, value in found.items() if value is not None}


def _message(content: Mapping[str, Any], status: ExecutionStatus) -> str | None:
    errors = content.get("errors")
    return str(errors)[:_LONGEST_TEXT] if errors and status.is_ended else None


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
