"""One record of every run, whichever engine ran it.

Programs come here: `connect` opens the record, and gives Runs to make, pass on and wait for. Adapters import
`runlink.spi`, their tests `runlink.testing`; the `runlink` command is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runlink.application.errors import Missing
    from runlink.domain import DomainError, ExecutionStatus, InvalidStateError, ValidationError
    from runlink.record import InstanceState, ItemState, Record, RunNotEnded, RunState, connect

_ROOMS = {
    "runlink.application.errors": ("Missing",),
    "runlink.domain": ("DomainError", "ExecutionStatus", "InvalidStateError", "ValidationError"),
    "runlink.record": ("InstanceState", "ItemState", "Record", "RunNotEnded", "RunState", "connect"),
}

__all__ = [
    "DomainError",
    "ExecutionStatus",
    "InstanceState",
    "InvalidStateError",
    "ItemState",
    "Missing",
    "Record",
    "RunNotEnded",
    "RunState",
    "ValidationError",
    "connect",
]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: an adapter that imports `runlink.spi` needs no store."""
    from importlib import import_module

    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module 'runlink' has no attribute {name!r}")
