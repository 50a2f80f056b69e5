"""The statuses of everything that executes, and the one table of what may follow what.

Come here to learn or to change which transition is legal; every entity asks this table.
"""

from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType


class ExecutionStatus(StrEnum):
    """How far an execution has come; each value equals its name."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    RETRYING = "RETRYING"
    CANCELLED = "CANCELLED"

    @property
    def is_ended(self) -> bool:
        """Whether no transition leads out of it."""
        return not TRANSITIONS[self]

    def can_transition_to(self, target: "ExecutionStatus") -> bool:
        """Whether `target` may follow directly. No status follows itself."""
        return target in TRANSITIONS[self]

    def path_to(self, target: "ExecutionStatus") -> "tuple[ExecutionStatus, ...] | None":
        """The shortest legal way: every status entered, `target` last; `()` when already there, None without a way."""
        return _shortest_path(self, target)


_S = ExecutionStatus

TRANSITIONS: Mapping[ExecutionStatus, tuple[ExecutionStatus, ...]] = MappingProxyType(
    {
        _S.PENDING: (_S.PROCESSING, _S.CANCELLED),
        _S.PROCESSING: (_S.COMPLETED, _S.FAILED, _S.RETRYING, _S.CANCELLED),
        _S.RETRYING: (_S.PROCESSING, _S.FAILED, _S.CANCELLED),
        _S.COMPLETED: (),
        _S.FAILED: (),
        _S.CANCELLED: (),
    }
)


@cache
def _shortest_path(start: ExecutionStatus, target: ExecutionStatus) -> tuple[ExecutionStatus, ...] | None:
    ways: deque[tuple[ExecutionStatus, ...]] = deque([()])
    seen = {start}
    while ways:
        way = ways.popleft()
        here = way[-1] if way else start
        if here is target:
            return way
        for following in TRANSITIONS[here]:
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return None
