"""How things are measured: CPU seconds of this process and of a database server, medians of rounds."""

from __future__ import annotations

import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Figure:
    """One line of the result. `ratio` says how much better than `baseline` (above 1: better), None without one."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    goal: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


def emit(figure: Figure) -> None:
    """Prints a figure."""
    line = {k: _short(v) for k, v in vars(figure).items() if k != "more" and not (k == "goal" and v is None)}
    print(json.dumps(line | {k: _short(v) for k, v in figure.more.items()}), flush=True)


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def progress(text: str) -> None:
    """Says on stderr what goes on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def peak_mb() -> float:
    """The most memory this process had, in MB. (Not `ru_maxrss`: that counts the parent's memory at the fork, too.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) / 1024


def cpu_of_tree(root: int) -> float:
    """CPU seconds of a process, its living descendants, and those it has reaped."""
    total = 0.0
    for pid in [root, *_descendants(root)]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) * _TICK_S  # utime, stime, and of waited-for children cutime, cstime
    return total


def _descendants(root: int) -> list[int]:
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(word) for word in thread.read_text().split()]
            except OSError:
                continue
            found += children
            waiting += children
    return found


@contextmanager
def cpu(server_pid: int | None = None) -> Iterator[Callable[[], float]]:
    """CPU seconds spent in the block, by this process and by a server's processes: call what it gives, afterwards.

    What was there before (the benchmark's own data) is frozen, so that the collector does not walk it again and again.
    """
    gc.collect()
    gc.freeze()
    server = cpu_of_tree(server_pid) if server_pid else 0.0
    began = time.process_time()
    ended: list[float] = []
    yield lambda: ended[0]
    gc.unfreeze()
    spent = time.process_time() - began
    ended.append(spent + (cpu_of_tree(server_pid) - server if server_pid else 0.0))


def compared(
    name: str,
    product: list[float],
    baseline: list[float],
    *,
    rows: int,
    unit: str,
    goal: str | None = None,
    baseline_rows: int | None = None,
    **more: Any,
) -> Figure:
    """Rates per CPU second from the seconds of each round, by medians; the ratio is the median of the rounds'."""
    ours = rows / statistics.median(product)
    other = (baseline_rows or rows) / statistics.median(baseline)
    scale = rows / (baseline_rows or rows)
    ratio = statistics.median(theirs * scale / mine for mine, theirs in zip(product, baseline, strict=True))
    rounds = [round(theirs * scale / mine, 3) for mine, theirs in zip(product, baseline, strict=True)]
    return Figure(name, ours, unit, other, ratio, goal, {"rounds": rounds, **more})
