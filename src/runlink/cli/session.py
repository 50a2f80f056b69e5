"""From the global options to an open runlink, and who it is that writes. Every command comes here first."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from runlink.cli.options import LogFormat

if TYPE_CHECKING:
    from runlink.application.settings import Settings
    from runlink.bootstrap import Runlink
    from runlink.store import SqlUnitOfWork

T = TypeVar("T")

DEFAULT_PATH = Path("runlink.toml")


@dataclass(frozen=True)
class Globals:
    """The options before the command. `disabled` are names of plugins that are not to be loaded."""

    config: Path | None = None
    disabled: tuple[str, ...] = ()
    log_format: LogFormat = LogFormat.TEXT

    @property
    def path(self) -> Path:
        """Where the configuration is, whether it exists or not."""
        return self.config or Path(os.environ.get("RUNLINK_CONFIG") or DEFAULT_PATH)


def given(context: typer.Context) -> Globals:
    """The global options of this call."""
    found = context.find_root().obj
    return found if isinstance(found, Globals) else Globals()


def settings_of(context: typer.Context) -> Settings:
    """The configuration. Raises ConfigError."""
    from runlink import bootstrap

    return bootstrap.load_settings(given(context).config)


@contextmanager
def record(context: typer.Context) -> Iterator[Runlink]:
    """The configuration and its store, without plugins: for whoever reads and writes by hand."""
    from runlink.bootstrap import Runlink

    runlink = Runlink.open_record(given(context).config)
    try:
        yield runlink
    finally:
        runlink.close()


@contextmanager
def whole(context: typer.Context) -> Iterator[Runlink]:
    """Configuration, plugins and store, checked: for whoever talks to engines."""
    from runlink.bootstrap import Runlink

    runlink = Runlink.open(given(context).config, disabled=given(context).disabled)
    try:
        yield runlink
    finally:
        runlink.close()


def write(runlink: Runlink, work: Callable[[SqlUnitOfWork], T]) -> T:
    """Does `work` in one transaction, in the name of whoever called; it may run more than once."""
    return runlink.store.write(work, actor=actor(), urgent=True)


def actor() -> str:
    """`cli:USER`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = f"uid {os.getuid()}"
    return f"cli:{name}"


def now() -> datetime:
    """The time."""
    from runlink import bootstrap

    return bootstrap.utc_now()


def exit_code(failed: int, total: int) -> int:
    """0 when nothing failed, 1 when everything did, 3 in between."""
    if not failed:
        return 0
    return 1 if failed == total else 3
