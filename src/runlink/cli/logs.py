"""Logs go to stderr: drawn by rich on a terminal, one plain line each elsewhere, or one JSON object each.

Only runlink's own loggers (and, below them, those handed to adapters, which know no secrets) follow `--log-level`; the
libraries beneath would print requests.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime

from runlink.cli import output
from runlink.cli.options import LogFormat, LogLevel


class _Clean(logging.Formatter):
    """Control characters from outside are spelt out; times in UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return output.clean(super().format(record))


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message, and what the line is made from (of the access log: method, path,
    status, duration_s, client, actor)."""

    def format(self, record: logging.LogRecord) -> str:
        import msgspec

        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what `sys.stderr` is when a line comes."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure(level: LogLevel, form: LogFormat = LogFormat.TEXT) -> None:
    """Sets up logging for this command; may be called again."""
    handler: logging.Handler
    if form is LogFormat.JSON:
        handler = _ToStderr()
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
