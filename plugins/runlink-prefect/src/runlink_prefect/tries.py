"""From a run's states, oldest first, to its tries. `translate` comes here, for flow runs and for task runs.

Prefect keeps one row per run, however often it runs; only its states tell the tries apart (recordings 066, 067, and the
run again in place of 074). `run_count` of the row is not enough: it counts entries into RUNNING, so it stays the same
when an ended run is scheduled again, or is marked as ended otherwise by hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

State = Mapping[str, Any]

TERMINAL: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
"""The state types after which a run does nothing more by itself."""


def time_of(text: str | None) -> datetime | None:
    """A time as Prefect writes it, in UTC."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


@dataclass(slots=True)
class Try:
    """One try. `last` is the state it is in, or was in when the next one began; `started_at` is None before it ran."""

    last: State
    started_at: datetime | None = None
    is_resuming: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it can only be followed by another try."""
        return self.last["type"] in TERMINAL

    def ends_before(self, state: State) -> bool:
        """Whether this state belongs to a new try: what follows an end, and each new start that resumes no pause."""
        starts_again = state["type"] == "RUNNING" and self.started_at is not None and not self.is_resuming
        return self.has_ended or starts_again

    def take(self, state: State) -> None:
        """Moves on to its next state."""
        self.last = state
        if state["type"] == "RUNNING":
            self.started_at, self.is_resuming = self.started_at or time_of(state["timestamp"]), False
        elif state["type"] == "PAUSED" or state["name"] == "Resuming":
            self.is_resuming = True


def tries(states: Iterable[State]) -> list[Try]:
    """The tries that these states make, oldest first. Raises KeyError for what is no state."""
    found: list[Try] = []
    for state in states:
        if not found or found[-1].ends_before(state):
            found.append(Try(state))
        found[-1].take(state)
    return found
