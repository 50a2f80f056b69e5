"""Where polling goes on: the cursor of the one partition `flow-runs`. The adapter comes here.

All times in it are the engine's own, except `again`, which the host's clock both sets and reads.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from runlink.spi import CursorExpired
from runlink_prefect.events import Event
from runlink_prefect.tries import time_of

PARTITION: Final = "flow-runs"

OVERLAP: Final = timedelta(seconds=60)
"""How far before the latest seen event the next poll looks. Prefect writes events in batches, up to 5 s after they
occurred (3.9.1), and its servers have each their own clock."""

_TOLD_LIMIT: Final = 3_000
"""Keeps the cursor under 60 KB (the host takes 64 KiB). Beyond it some runs are read twice, which changes nothing."""


def tail(state_id: str) -> str:
    """The random part of an id. The event of a state has the id of that state."""
    return state_id[-12:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far everything has been told.

    since   when the latest event occurred
    last    its id (tail). The next poll meets it again, or else the events were purged or the database was reset
    told    tail of the state's id -> when it came about: told already, and within OVERLAP of `since`
    again   flow run -> until when it is read again: it has ended, and its task runs may still be on their way
    ended   the latest end seen, while events are off and ends are asked for in their place
    before  set while the first look at the look-back window is under way: ends are told down to this one
    """

    since: datetime
    last: str | None = None
    told: Mapping[str, datetime] = field(default_factory=dict)
    again: Mapping[str, datetime] = field(default_factory=dict)
    ended: datetime | None = None
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
        """Whether the state of this id, or its event, was told."""
        return tail(state_id) in self.told

    def saw_end(self, state_id: str, ended: datetime) -> Self:
        """With this end told, while events are off."""
        place = replace(self, ended=ended if self.ended is None else max(self.ended, ended))
        return replace(place, told=_recent({**self.told, tail(state_id): ended}, place.ended or ended))

    def dump(self) -> str:
        """As the host stores it."""
        content: dict[str, Any] = {"v": 1, "since": self.since.isoformat()}
        if self.told:  # seconds before `since`: it only matters for leaving them out in time
            content["told"] = {name: round((self.since - at).total_seconds(), 1) for name, at in self.told.items()}
        if self.again:
            content["again"] = {name: at.isoformat() for name, at in self.again.items()}
        times = {"ended": self.ended, "before": self.before}
        content |= {name: at.isoformat() for name, at in times.items() if at is not None}
        if self.last is not None:
            content["last"] = self.last
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """Raises CursorExpired for what another version of this plugin wrote."""
        try:
            content = json.loads(text)
            if content["v"] != 1:
                raise ValueError(f"version {content['v']!r}")
            since = datetime.fromisoformat(content["since"])
            told, again = content.get("told", {}), content.get("again", {})
            return cls(
                since=since,
                last=content.get("last"),
                told={name: since - timedelta(seconds=ago) for name, ago in told.items()},
                again={name: datetime.fromisoformat(at) for name, at in again.items()},
                ended=time_of(content.get("ended")),
                before=time_of(content.get("before")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CursorExpired(f"the stored cursor is not one of this plugin's ({error})") from error


def _recent(told: Mapping[str, datetime], latest: datetime) -> dict[str, datetime]:
    recent = sorted((at, name) for name, at in told.items() if at >= latest - OVERLAP)
    return {name: at for at, name in recent[-_TOLD_LIMIT:]}
