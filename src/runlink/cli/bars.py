"""A Run's timeline across engines, drawn as bars on one time axis. `runlink explain` comes here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from runlink.cli.output import clean, style_of, took, when

Bar = Mapping[str, Any]

_LABEL = 34
_TAIL = 24
_LEAST = 20
_MAX_STEPS = 12
"""Steps of one instance that are drawn; what failed comes first, the rest is counted."""


def draw_bars(bars: Sequence[Bar], width: int) -> Text:
    """The timeline, as `application.explaining.timeline` gives it, in `width` columns; empty where nothing has a time.

    `░` queued, `█` running, `▶` goes on. The times on the axis are UTC.
    """
    times = [at for bar in bars for at in (bar["queued_at"], bar["started_at"], bar["until"]) if at is not None]
    if not times:
        return Text()
    first, last = min(times), max(times)
    room = max(_LEAST, min(width, 160) - _LABEL - _TAIL)
    drawn = Text(" " * _LABEL + when(first).ljust(room) + when(last)[11:] + "\n", style="dim")
    for line in _shown(bars):
        drawn.append(line if isinstance(line, Text) else _line(line, first, last, room))
    drawn.rstrip()
    return drawn


def _shown(bars: Sequence[Bar]) -> Iterator[Bar | Text]:
    """The bars, and how many steps of an instance were left out."""
    steps: list[Bar] = []
    for bar in [*bars, None]:
        if bar is not None and bar["kind"] == "step":
            steps.append(bar)
            continue
        chosen = sorted(steps, key=lambda step: step["status"] != "FAILED")[:_MAX_STEPS]
        yield from (step for step in steps if step in chosen)
        if len(steps) > _MAX_STEPS:
            yield Text(f"    … {len(steps) - _MAX_STEPS} more steps\n", style="dim")
        steps = []
        if bar is not None:
            yield bar


def _line(bar: Bar, first: datetime, last: datetime, room: int) -> Text:
    style = style_of(bar["status"])
    label = "  " * bar["depth"] + clean(str(bar["label"]))
    line = Text(label[: _LABEL - 2].ljust(_LABEL), style="bold" if bar["kind"] == "run" else "")
    began, started, until = bar["queued_at"] or bar["started_at"], bar["started_at"], bar["until"]
    if began is None or until is None:
        line.append("".ljust(room))
    else:
        line.append(" " * (begin := _place(began, first, last, room)))
        end = max(begin + 1, _place(until, first, last, room))
        start = end if started is None else min(max(begin, _place(started, first, last, room)), end - 1)
        line.append("░" * (start - begin), style="dim")
        line.append("█" * (end - start - bar["is_open"]) + "▶" * min(bar["is_open"], end - start), style=style)
        line.append(" " * (room - end))
    lasted = f" {took((until - started).total_seconds())}" if started is not None and until is not None else ""
    line.append(f" {bar['status']}", style=style)
    line.append(lasted + "\n")
    return line


def _place(at: datetime, first: datetime, last: datetime, room: int) -> int:
    span = (last - first).total_seconds()
    return round((at - first).total_seconds() / span * room) if span else 0
