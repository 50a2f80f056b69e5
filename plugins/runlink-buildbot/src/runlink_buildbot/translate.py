"""From Buildbot's rows to observations: pure functions, no requests. The adapter comes here, and whoever asks what a
Buildbot result means to runlink.

The build *request* is the instance: Buildbot retries by giving the same request a new build (recordings
020_poll_05…13), so a build is one attempt of it. Sources: `buildbot.process.results` of Buildbot 4.3.0, the recordings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from runlink.spi import Attempt, ExecutionStatus, Observation, Step

Row = Mapping[str, Any]

RESULTS: Final[Mapping[int, tuple[str, ExecutionStatus]]] = {
    0: ("SUCCESS", ExecutionStatus.COMPLETED),
    1: ("WARNINGS", ExecutionStatus.COMPLETED),
    2: ("FAILURE", ExecutionStatus.FAILED),
    3: ("SKIPPED", ExecutionStatus.COMPLETED),
    4: ("EXCEPTION", ExecutionStatus.FAILED),
    # The end of one try: its request goes back into the queue. Never the end of a request.
    5: ("RETRY", ExecutionStatus.FAILED),
    6: ("CANCELLED", ExecutionStatus.CANCELLED),
}
RETRY: Final = 5

_EXTERNAL_ID: Final = re.compile(r"buildrequest:(\d+)@(\d+)")

_RUNNING_WORDS: Final = frozenset({"created", "starting", "preparing worker", "pinging worker", "building"})

_WITHOUT_BUILD: Final = {
    "SKIPPED": "never built: Buildbot collapsed it into a like request",
    "CANCELLED": "cancelled before a build began",
}


def external_id(request: Row) -> str:
    """`buildrequest:ID@SUBMITTED_AT`: with a new database ids begin at 1 again, the second of submission does not."""
    return f"buildrequest:{request['buildrequestid']}@{request['submitted_at']}"


def parse_external_id(text: str) -> tuple[int, int] | None:
    """(build request id, submitted_at), None for what is no id of this plugin."""
    match = _EXTERNAL_ID.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Builder:
    """What a builder id stands for."""

    name: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a buildset came from. It never changes. `parent` is the external id of the request that triggered it."""

    reason: str | None = None
    parent: str | None = None
    relationship: str | None = None
    rebuilt_build: int | None = None
    sources: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was read about one build request. `builds` oldest first; `steps` by build id, absent if not read."""

    request: Row
    builder: Builder
    builds: Sequence[Row]
    origin: Origin
    steps: Mapping[int, Sequence[Row]]
    url: str


def observe(facts: Facts) -> Observation:
    """The request as it is now. Raises ValueError, KeyError or TypeError for rows that make no sense."""
    request, builds = facts.request, facts.builds
    status, native = _state(request, builds)
    steps = _steps(facts)
    latest = builds[-1] if builds else None
    return Observation(
        external_id=external_id(request),
        workflow=facts.builder.name,
        status=status,
        native_status=native,
        attempt=max(1, len(builds)),
        created_at=_time(request["submitted_at"]),
        started_at=_time(latest["started_at"]) if latest else None,
        finished_at=_time(request["complete_at"]) if request["complete"] else None,
        url=build_url(facts.url, latest) if latest else f"{facts.url}/#/buildrequests/{request['buildrequestid']}",
        parent=facts.origin.parent,
        parameters=_parameters(request),
        labels=_labels(facts),
        message=_message(facts, native),
        metadata=_metadata(facts),
        steps=steps,
        attempts=tuple(_attempt(facts, number, build) for number, build in enumerate(builds[:-1], 1)),
    )


def is_running(build: Row) -> bool:
    """Whether a build has not ended."""
    return not build["complete"]


def _state(request: Row, builds: Sequence[Row]) -> tuple[ExecutionStatus, str]:
    """Builds are read after their request, so a running build is newer evidence than an unclaimed request."""
    if request["complete"]:
        word, status = _result(request["results"])
        if request["results"] == RETRY:
            raise ValueError("a complete build request with results 5 (RETRY)")
        return status, word
    if builds and is_running(builds[-1]):
        return ExecutionStatus.PROCESSING, "building"
    native = "claimed" if request["claimed"] else "pending"
    # Unclaimed with a build behind it: it is waiting for the next one, whatever ended the last (a killed master too).
    if builds and (builds[-1]["results"] == RETRY or not request["claimed"]):
        return ExecutionStatus.RETRYING, native
    if builds:
        return ExecutionStatus.PROCESSING, "building"
    return (ExecutionStatus.PROCESSING if request["claimed"] else ExecutionStatus.PENDING), native


def _result(results: Any) -> tuple[str, ExecutionStatus]:
    if results not in RESULTS:
        raise ValueError(f"results is {results!r}; Buildbot 4.3.0 knows 0 to 6")
    return RESULTS[results]


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def build_url(url: str, build: Row) -> str:
    """The build's page, where the master answers at `url`."""
    return f"{url}/#/builders/{build['builderid']}/builds/{build['number']}"


def _attempt(facts: Facts, number: int, build: Row) -> Attempt:
    word, status = ("building", ExecutionStatus.PROCESSING) if is_running(build) else _result(build["results"])
    return Attempt(
        number=number,
        status=status,
        native_status=word,
        started_at=_time(build["started_at"]),
        finished_at=_time(build["complete_at"]),
        message=sentence(build) or None,
        url=build_url(facts.url, build),
    )


def _parameters(request: Row) -> dict[str, Any] | None:
    """Properties are [value, source] pairs; `properties` is null unless asked for."""
    properties = request.get("properties")
    return None if properties is None else {name: pair[0] for name, pair in sorted(properties.items())}


def _labels(facts: Facts) -> dict[str, str]:
    labels = {}
    if facts.builder.tags:
        labels["tags"] = ",".join(facts.builder.tags)
    scheduler = (_parameters(facts.request) or {}).get("scheduler")
    if isinstance(scheduler, str):
        labels["scheduler"] = scheduler
    return labels


def _message(facts: Facts, native: str) -> str | None:
    """The last build's own sentence, the same whether its steps were read or not."""
    return (sentence(facts.builds[-1]) or None) if facts.builds else _WITHOUT_BUILD.get(native)


def sentence(build: Row) -> str:
    """Buildbot's own, except where a killed master left a running build's word behind (4.3.0, tried with kill -9)."""
    sentence = str(build["state_string"] or "")
    if not is_running(build) and sentence in _RUNNING_WORDS:
        return f"{_result(build['results'])[0]}: the master or worker was lost while {sentence}"
    return sentence


def _metadata(facts: Facts) -> dict[str, Any]:
    request, origin = facts.request, facts.origin
    told = {
        "buildset": request["buildsetid"],
        "reason": origin.reason,
        "priority": request.get("priority"),
        "waited_for": request.get("waited_for"),
        "relationship": origin.relationship,
        "rebuilt_build": origin.rebuilt_build,
        "sources": list(origin.sources) or None,
        "builds": [_build_metadata(build) for build in facts.builds] or None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _build_metadata(build: Row) -> dict[str, Any]:
    told = {"id": build["buildid"], "number": build["number"]}
    for name, (value, _source) in sorted((build.get("properties") or {}).items()):
        told[{"workername": "worker"}.get(name, name)] = value
    return told


def _steps(facts: Facts) -> tuple[Step, ...] | None:
    """Of every build, or None when those of one were not read: half a list would look like the whole."""
    if any(build["buildid"] not in facts.steps for build in facts.builds):
        return None
    return tuple(_each_step(facts))


def _each_step(facts: Facts) -> Iterator[Step]:
    last = len(facts.builds)
    for attempt, build in enumerate(facts.builds, 1):
        final = False if attempt < last else (True if facts.request["complete"] else None)
        for step in sorted(facts.steps[build["buildid"]], key=lambda step: step["number"]):
            yield _step(step, build, attempt, final)


def _step(step: Row, build: Row, attempt: int, final: bool | None) -> Step:
    if step["complete"]:
        native, status = _result(step["results"])
    elif not is_running(build):  # the master was killed: nobody will end this step any more
        native, status = "unfinished", ExecutionStatus.CANCELLED
    elif step["started_at"] is None:
        native, status = "pending", ExecutionStatus.PENDING
    else:
        native, status = "running", ExecutionStatus.PROCESSING
    return Step(
        external_id=f"{step['number']}:{step['name']}",
        name=step["name"],
        status=status,
        native_status=native,
        attempt=attempt,
        final=final,
        started_at=_time(step["started_at"]),
        finished_at=_time(step["complete_at"]),
        message=step["state_string"] or None,
    )
