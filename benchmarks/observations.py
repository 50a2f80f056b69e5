"""The observations that both sides of `ingest` are given: 4,000 Runs of 5 instances, 1 % of them still running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from runlink.spi import ExecutionStatus, Observation

RUNS = 4000
INSTANCES_PER_RUN = 5
ROWS = RUNS * INSTANCES_PER_RUN
OPEN_EVERY = 100
PAGE = 1000
T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)


def first() -> list[Observation]:
    """As a Jenkins plugin would tell them; every hundredth runs."""
    return [_observation(number) for number in range(ROWS)]


def second(before: Sequence[Observation]) -> list[Observation]:
    """The same, told again: what ran has ended, nothing else is different. All are new objects, as they would be."""
    again = [_observation(number) for number in range(ROWS)]
    for number in range(0, ROWS, OPEN_EVERY):
        again[number] = msgspec.structs.replace(
            again[number],
            status=ExecutionStatus.COMPLETED,
            native_status="SUCCESS",
            finished_at=again[number].started_at + timedelta(seconds=95),  # type: ignore[operator]
        )
    assert sum(a != b for a, b in zip(before, again, strict=True)) == ROWS // OPEN_EVERY
    return again


def pages(observations: Sequence[Observation]) -> Iterator[Sequence[Observation]]:
    """In pages of a thousand."""
    for start in range(0, len(observations), PAGE):
        yield observations[start : start + PAGE]


def run_key(number: int) -> str:
    """The correlation id of the Run that an observation belongs to."""
    return f"release-{number // INSTANCES_PER_RUN:05}"


def _observation(number: int) -> Observation:
    job, build = f"team-{number % 20}/service-{number % 200}", 1 + number // 200
    running = number % OPEN_EVERY == 0
    started = T0 + timedelta(seconds=number, milliseconds=number % 997)
    return Observation(
        external_id=f"{job}#{build}@{1_795_000_000_000 + number * 1000}",
        workflow=job,
        status=ExecutionStatus.PROCESSING if running else ExecutionStatus.COMPLETED,
        native_status="BUILDING" if running else "SUCCESS",
        started_at=started,
        finished_at=None if running else started + timedelta(seconds=30 + number % 600),
        url=f"https://jenkins.example.org/job/team-{number % 20}/job/service-{number % 200}/{build}/",
        parameters={"RUN_ID": run_key(number), "BRANCH": "main", "DRY_RUN": False},
        labels={"folder": job.partition("/")[0], "cause": "UserIdCause", "user": "release-bot"},
        metadata={
            "number": build,
            "queueId": 1000 + number,
            "displayName": f"#{build}",
            "builtOn": f"agent-{number % 12}",
            "causes": ["Started by user release-bot"],
        },
    )
