"""Where polling goes on: the cursor of the one partition `flow-runs`. The adapter comes here.

All times in it are the engine's own, except `again`, which the host's clock both sets and reads.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from runlink.spi import CursorExpired
from runlink_prefect.events import Event
from runlink_prefect.tries import time_of

PARTITION: Final = "flow-runs"

OVERLAP: Final = timedelta(seconds=60)
"""How far before the latest seen event the next poll looks. Prefect writes events in batches, up to 5 s after they
occurred (3.9.1), and its servers have each their own clock."""

_TOLD_LIMIT: Final = 1_000
"""Of either kind. Keeps the cursor, with _AGAIN_LIMIT, under the 64 KiB that the host takes. Beyond it some flow runs
are read more often than they need."""

_AGAIN_LIMIT: Final = 300
"""Beyond it the steps of some flow runs may lack what was written after their end."""


def tail(state_id: str) -> str:
    """The random part of an id."""
    return state_id[-12:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far everything has been told.

    since   when the latest event occurred
    last    its id (tail). The next poll meets it again, or else the events were purged or the database was reset
    told    tail of the state's id -> when it came about: told already, and within OVERLAP of `since`
    again   flow run -> until when it is read again: it has ended, and its task runs may still be on their way
    swept   when all that is open and has ended since was last listed, whether events name it or not
    silent  whether events are off, so that each poll lists it
    ends    tail of the state's id -> when it ended, within OVERLAP of `swept`: told already, while events are off
    before  set while the first look at the look-back window is under way: ends are told down to this one
    """

    since: datetime
    last: str | None = None
    told: Mapping[str, datetime] = field(default_factory=dict)
    again: Mapping[str, datetime] = field(default_factory=dict)
    swept: datetime
    silent: bool = False
    ends: Mapping[str, datetime] = field(default_factory=dict)
    before: datetime | None = None

    def saw(self, events: Iterable[Event]) -> Self:
        """With these events told."""
        place = self
        told = dict(self.told)
        for event in events:
            told[tail(event.id)] = event.occurred
            if place.last is None or event.occurred > place.since:
                place = replace(place, since=event.occurred, last=tail(event.id))
        return replace(place, told=_recent(told, place.since))

    def heard_of(self, state_id: str) -> bool:
        """Whether the state of this id, or its event, was told. The event of a state has the id of that state."""
        return tail(state_id) in self.told or tail(state_id) in self.ends

    def swept_at(self, began: datetime, ends: Mapping[str, datetime]) -> Self:
        """With everything listed that was so when the sweep began, these ends (by the id of their state) among it."""
        told = {**self.ends, **{tail(name): at for name, at in ends.items()}}
        return replace(self, swept=began, ends=_recent(told, began) if self.silent else {})

    def dump(self) -> str:
        """As the host stores it."""
        content: dict[str, Any] = {"v": 1, "since": self.since.isoformat(), "swept": self.swept.isoformat()}
        if self.last is not None:
            content["last"] = self.last
        for name, times, latest in (("told", self.told, self.since), ("ends", self.ends, self.swept)):
            if times:  # seconds ago: it only matters for leaving them out in time
                content[name] = {key: round((latest - at).total_seconds(), 1) for key, at in times.items()}
        if self.again:
            until = sorted((round(at.timestamp()), name) for name, at in self.again.items())[-_AGAIN_LIMIT:]
            content["again"] = {name: second for second, name in until}
        if self.silent:
            content["silent"] = True
        if self.before is not None:
            content["before"] = self.before.isoformat()
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """Raises CursorExpired for what another version of this plugin wrote."""
        try:
            content = json.loads(text)
            if content["v"] != 1:
                raise ValueError(f"version {content['v']!r}")
            since, swept = (datetime.fromisoformat(content[name]) for name in ("since", "swept"))
            return cls(
                since=since,
                swept=swept,
                last=content.get("last"),
                told={name: since - timedelta(seconds=ago) for name, ago in content.get("told", {}).items()},
                ends={name: swept - timedelta(seconds=ago) for name, ago in content.get("ends", {}).items()},
                again={name: datetime.fromtimestamp(at, UTC) for name, at in content.get("again", {}).items()},
                silent=bool(content.get("silent")),
                before=time_of(content.get("before")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CursorExpired(f"the stored cursor is not one of this plugin's ({error})") from error


def _recent(told: Mapping[str, datetime], latest: datetime) -> dict[str, datetime]:
    recent = sorted((at, name) for name, at in told.items() if at >= latest - OVERLAP)
    return {name: at for at, name in recent[-_TOLD_LIMIT:]}
