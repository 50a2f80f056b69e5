"""Logs go to stderr: drawn by rich on a terminal, one plain line each elsewhere, or one JSON object each.

Only runlink's own loggers (and, below them, those handed to adapters, which know no secrets) follow `--log-level`; the
libraries beneath would print requests. In JSON everything on stderr is such an object: what the command says and
complains of, warnings, and what nobody caught.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from runlink.cli import output
from runlink.cli.options import LogFormat, LogLevel

log = logging.getLogger("runlink.cli")


class _Clean(logging.Formatter):
    """Control characters from outside are spelt out; times in UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return output.clean(super().format(record))


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message, and what the line is made from (of the access log: method, path,
    status, duration_s, client, actor)."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = dict(getattr(record, "facts", {}))
        if record.exc_text:  # an adapter's, from which secrets were taken
            facts["traceback"] = record.exc_text
        elif record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            facts["stack"] = self.formatStack(record.stack_info)
        at = datetime.fromtimestamp(record.created, UTC)
        return output.json_line(at, record.levelname.lower(), record.name, record.getMessage(), facts)


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what `sys.stderr` is when a line comes."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _JsonToStderr(_ToStderr):
    """What cannot be written as it was meant is told as an object, too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        trouble = sys.exc_info()[1]
        text = f"a line of the log could not be written: {trouble!r}: {record.msg!r}"
        self.stream.write(output.json_line(datetime.now(UTC), "error", record.name, text) + "\n")


def configure(level: LogLevel, form: LogFormat = LogFormat.TEXT) -> None:
    """Sets up logging for this command; may be called again."""
    handler: logging.Handler
    is_json = form is LogFormat.JSON
    if is_json:
        handler = _JsonToStderr()
        handler.setFormatter(_Json())
    elif sys.stderr.isatty():
        from rich.logging import RichHandler

        handler = RichHandler(console=output.stderr(), show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(_Clean("%(message)s"))
    else:
        handler = _ToStderr()
        handler.setFormatter(_Clean("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    handler.set_name("runlink.cli")
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.name == "runlink.cli"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("runlink").setLevel(level.value.upper())
    output.speak_json(is_json)
    logging.captureWarnings(is_json)
    _log_uncaught(is_json)


def _log_uncaught(wanted: bool) -> None:
    """What ends a thread, or comes of an object that is going, is a record instead of lines of Python's."""
    if wanted:
        threading.excepthook, sys.unraisablehook = _of_thread, _of_object
    elif threading.excepthook is _of_thread:
        threading.excepthook, sys.unraisablehook = threading.__excepthook__, sys.__unraisablehook__


def _of_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and told.exc_type is not SystemExit:
        name = told.thread.name if told.thread is not None else "?"
        log.error("thread %s ended by an error", name, exc_info=told.exc_value)


def _of_object(told: sys.UnraisableHookArgs) -> None:
    if told.exc_value is not None:
        log.error("%s: %r", told.err_msg or "an error was ignored in", told.object, exc_info=told.exc_value)
