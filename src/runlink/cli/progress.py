"""How far a long look through the stored instances is, on a terminal. `plan` and `relink` come here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runlink.cli import output

if TYPE_CHECKING:
    from runlink.application.relink import Relinked


@contextmanager
def instances_bar(total: int) -> Iterator[Callable[[Relinked], None]]:
    """Something to call with what is done so far; it shows nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=output.stderr(), transient=True) as progress:
        task = progress.add_task("instances", total=total)
        yield lambda done: progress.update(task, completed=done.instances)
