"""What several commands ask for in the same words: their options, and times as operators write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from runlink.cli.output import Output


class Status(StrEnum):
    """The statuses of whatever executes: those of `runlink.domain`, which costs too much to import for `--help`."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    RETRYING = "RETRYING"
    CANCELLED = "CANCELLED"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str) -> datetime:
    """A time as an operator writes it: ISO 8601 (in UTC where it names no zone), or how long ago: `7d`, `12h`."""
    text = text.strip()
    now = datetime.now(UTC)
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return now - timedelta(seconds=float(span[1]) * _SECONDS[span[2]])
        told = datetime.fromisoformat(text)
        told = told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no time; give a date or time (2026-07-01, 2026-07-01T12:00Z) or how long ago (7d, 12h, 30m)"
        ) from None
    if told > now:
        raise typer.BadParameter(f"{text!r} is in the future")
    return told


def span(text: str) -> float:
    """Seconds, from how operators write a length of time: 90d, 12h, 30m."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no length of time; give one such as 90d, 12h or 30m")
    return float(found[1]) * _SECONDS[found[2]]


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table or json: one JSON array on stdout.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many rows.")]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="ID", help="Only older rows than this one: the next page.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only from this time on: a date or time in UTC, or 7d, 12h, 30m."),
]
StatusOption = Annotated[Status | None, typer.Option("--status", case_sensitive=False, help="Only with this status.")]
EngineOption = Annotated[str | None, typer.Option("--engine", metavar="NAME", help="Only this engine.")]
AutomationOption = Annotated[
    str | None, typer.Option("--automation", metavar="NAME", help="Only what belongs to this automation.")
]
LogLevelOption = Annotated[
    LogLevel, typer.Option("--log-level", case_sensitive=False, help="How much is logged, on stderr.")
]
