"""What the demo shows while builds run: a live table on a terminal, one line per change elsewhere."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from runlink.bootstrap import Runlink

ENDED = ("COMPLETED", "FAILED", "CANCELLED")
STYLES = {
    "PENDING": "dim",
    "PROCESSING": "yellow",
    "RETRYING": "magenta",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "blue",
}


class Scene:
    """Reads the store and shows what has changed. `began` is when the demo was started, in seconds of the epoch."""

    def __init__(self, console: Console, runlink: Runlink, began: float) -> None:
        self._console = console
        self._runlink = runlink
        self._began = began
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._shown: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._linked = False

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def refresh(self, *, expected_runs: int) -> bool:
        """Shows what is new; whether all instances have ended and as many Runs as expected."""
        with self._runlink.store.reading() as uow:
            instances = uow.reports.instances(limit=100)[::-1]
            runs = {row["id"]: row for row in uow.reports.runs(limit=100)[::-1]}
        names = {run_id: row["correlation_id"] for run_id, row in runs.items()}
        self._tell_first_link(instances, names)
        if self._live is not None:
            self._live.update(self._table(instances, runs, names))
        else:
            self._lines(instances, runs, names)
        everything = [*instances, *runs.values()]
        return len(runs) >= expected_runs and all(row["status"] in ENDED for row in everything)

    def _tell_first_link(self, instances: list[dict[str, Any]], names: dict[Any, str]) -> None:
        linked = next((row for row in instances if row["runs"]), None)
        if linked is not None and not self._linked:
            self._linked = True
            after = time.time() - self._began
            self._console.print(
                f"   first linked Run after {after:.0f} s: {names.get(linked['runs'][0])} <- {linked['external_id']}\n"
            )

    def _table(self, instances: list[dict[str, Any]], runs: dict[Any, Any], names: dict[Any, str]) -> Table:
        table = Table("instance", "workflow", "status", "engine says", "try", "Run", "Run's status", box=None)
        for row in instances:
            run = runs.get(row["runs"][0]) if row["runs"] else None
            table.add_row(
                row["external_id"],
                row["workflow"] if row["parent_external_id"] is None else f"└ {row['workflow']}",
                _coloured(row["status"]),
                row["native_status"],
                str(row["attempt"]),
                names[run["id"]] if run else "-",
                _coloured(run["status"]) if run else "-",
            )
        return table

    def _lines(self, instances: list[dict[str, Any]], runs: dict[Any, Any], names: dict[Any, str]) -> None:
        for row in instances:
            linked = ", ".join(names[run_id] for run_id in row["runs"] if run_id in names)
            state = (row["status"], row["native_status"], row["attempt"], linked)
            if self._shown.get(("instance", row["external_id"])) != state:
                self._shown["instance", row["external_id"]] = state
                text = f"{row['status']} ({row['native_status']}), try {row['attempt']}"
                self._print(f"   {row['workflow']:<7} {row['external_id']}  {text}  run: {linked or '-'}")
        for run in runs.values():
            if self._shown.get(("run", str(run["id"]))) != (run["status"],):
                self._shown["run", str(run["id"])] = (run["status"],)
                self._print(f"   Run {run['correlation_id']}  {run['status']}  {run['error_summary'] or ''}".rstrip())

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)


def _coloured(status: str) -> str:
    return f"[{STYLES[status]}]{status}[/]"
