"""How the command speaks: data to stdout, as a table or as JSON, and everything else to stderr.

Times are shown in UTC. On a terminal tables are drawn by rich; elsewhere they are plain columns, cut nowhere, for grep.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
Cell = str | Callable[[Row], Any]
"""A column's content: the name of a field, or a function of the row."""

_WIDE = 100_000
"""Columns of what is no terminal: nothing is wrapped."""
_MAX_CELL = 120
_STYLES = {
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "yellow",
    "PROCESSING": "cyan",
    "RETRYING": "magenta",
    "PENDING": "dim",
    "ok": "green",
    "lost": "bold red",
    "denied": "bold red",
    "stopped": "bold red",
    "faulty": "bold red",
    "hung": "bold red",
    "refused": "bold red",
    "failed": "bold red",
    "missing": "yellow",
    "dead": "bold red",
    "done": "green",
    "sent": "green",
    "waiting": "cyan",
}


class Output(StrEnum):
    """How a listing is written."""

    TABLE = "table"
    JSON = "json"


@cache
def stderr() -> Console:
    """The console of everything that is not data; logs and progress bars share it."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def stdout() -> Console:
    """The console of data."""
    from rich.console import Console

    plain = not sys.stdout.isatty()
    return Console(highlight=False, width=_WIDE if plain else None)


_speech = {"json": False}


def speak_json(wanted: bool) -> None:
    """From now on `say` and `complain` write JSON, as the log does."""
    _speech["json"] = wanted


def speaks_json() -> bool:
    """Whether everything on stderr is JSON."""
    return _speech["json"]


def json_line(at: datetime, level: str, logger: str, message: str, facts: Mapping[str, Any] | None = None) -> str:
    """One object in one line, whatever the texts hold."""
    import msgspec

    line = {"time": at.isoformat(timespec="milliseconds"), "level": level, "logger": logger, "message": message}
    line |= facts or {}
    try:
        return msgspec.json.encode(line).decode()
    except (TypeError, ValueError):  # halves of a character, or what is no JSON
        return json.dumps(line, default=str)


def _tell(level: str, message: str, facts: Mapping[str, Any] | None = None) -> None:
    sys.stderr.write(json_line(datetime.now(UTC), level, "runlink.cli", message, facts) + "\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """One thing to people, on stderr."""
    if speaks_json():
        _tell("info", text)
        return
    stderr().print(clean(text), markup=False, soft_wrap=True)


def complain(text: str, bug: BaseException | None = None) -> None:
    """An error, on stderr; of a `bug` with its traceback."""
    if speaks_json():
        _tell("error", text, {"traceback": "".join(traceback.format_exception(bug))} if bug else None)
        return
    from rich.text import Text

    if bug is not None:
        traceback.print_exception(bug, file=sys.stderr)
    stderr().print(Text("error: ", style="bold red") + Text(clean(text)), soft_wrap=True)


def write_json(value: object) -> None:
    """JSON to stdout, times in ISO 8601, ids as text."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(text + "\n")


def draws() -> bool:
    """Whether progress is drawn: somebody looks, and reads no JSON."""
    return sys.stderr.isatty() and not speaks_json()


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, on a terminal only: call what it gives with how many are done, and of how many."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit)
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not draws()) as bar:
        task = bar.add_task(doing, total=0)
        yield lambda done, every: bar.update(task, completed=done, total=every)


def listing(rows: Sequence[Row], columns: Mapping[str, Cell], output: Output, *, empty: str = "") -> None:
    """A listing: one JSON array, or a table of these columns. `empty` is said instead of an empty table."""
    if output is Output.JSON:
        write_json(rows)
    elif rows:
        table(rows, columns)
    elif empty:
        say(empty)


def more(rows: Sequence[Row], limit: int, option: str, field: str = "id") -> None:
    """Says how to go on when a listing was cut off by its limit."""
    if len(rows) == limit:
        say(f"that is the limit of {limit}; go on with {option} {rows[-1][field]}, or give a higher --limit")


def table(rows: Iterable[Row], columns: Mapping[str, Cell]) -> None:
    """A table to stdout."""
    cells = [[_cell(row, column) for column in columns.values()] for row in rows]
    if sys.stdout.isatty():
        _rich_table(list(columns), cells)
    else:
        _plain_table(list(columns), cells)


def _cell(row: Row, column: Cell) -> str:
    text = shown(row[column] if isinstance(column, str) else column(row))
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…"


def _rich_table(titles: list[str], cells: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        drawn.add_column(title, no_wrap=title == "id", overflow="fold")
    for line in cells:
        drawn.add_row(*(Text(cell, style=style_of(cell)) for cell in line))
    stdout().print(drawn)


def _plain_table(titles: list[str], cells: list[list[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(titles, *cells, strict=True)]
    for line in (titles, *cells):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def style_of(text: str) -> str:
    """The style of a status or state; none for anything else."""
    return _STYLES.get(text.partition(" ")[0], "")


def shown(value: object) -> str:
    """A value in one line, as tables show it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, list | tuple):
        return ", ".join(shown(part) for part in value)
    if isinstance(value, Mapping):
        return clean(json.dumps(value, ensure_ascii=False, default=str))
    return clean(" ".join(str(value).split("\n")))


def when(moment: datetime | None) -> str:
    """A time, in UTC, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def took(seconds: float | None) -> str:
    """A duration: 850 ms, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{took(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    found = f"{whole} s"
    for unit, below, size, per in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size:
            break
        larger, rest = divmod(whole, size)
        found = f"{larger} {unit}" + (f" {rest // per} {below}" if rest // per else "")
    return found


def clean(text: str) -> str:
    """Text from outside made harmless for a terminal: control characters but line ends and tabs are spelt out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
