"""Where polling goes on: the cursor of the one partition `buildrequests`. The adapter comes here.

All times in it are the engine's own, in whole seconds since the epoch; the host's clock never enters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from runlink.spi import CursorExpired

PARTITION: Final = "buildrequests"

OVERLAP_S: Final = 120
"""How far before the latest seen end the next poll looks for ends. Buildbot writes whole seconds, commits a little
later than it takes the time, and the masters of one database have each their own clock."""

_TOLD_LIMIT: Final = 4_000
"""Keeps the cursor under 40 KiB (the host takes 64). Beyond it some ends are told twice, which changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far everything has been told.

    head, head_at  the highest build request id and its submitted_at. The next poll asks for this row again: if it is
                   gone or another one, the master's database was reset or restored
    ended          the latest complete_at
    told           ids that ended within OVERLAP_S of it: told already
    after          set while the first look at the look-back window is under way: told up to this id
    """

    head: int = 0
    head_at: int = 0
    ended: int = 0
    told: frozenset[int] = frozenset()
    after: int | None = None

    def dump(self) -> str:
        """As the host stores it."""
        content: dict[str, object] = {"v": 1, "head": [self.head, self.head_at], "ended": self.ended}
        if self.told:
            content["told"] = sorted(self.told)
        if self.after is not None:
            content["after"] = self.after
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """Raises CursorExpired for what an other version of this plugin wrote."""
        try:
            content = json.loads(text)
            if content["v"] != 1:
                raise ValueError(f"version {content['v']!r}")
            head, head_at = content["head"]
            after = content.get("after")
            return cls(
                head=int(head),
                head_at=int(head_at),
                ended=int(content["ended"]),
                told=frozenset(map(int, content.get("told", ()))),
                after=None if after is None else int(after),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CursorExpired(f"the stored cursor is not one of this plugin's ({error})") from error


class Ends:
    """The ends met while reading, reduced to what a cursor keeps of them."""

    def __init__(self, place: Place) -> None:
        self._latest = place.ended
        self._at: dict[int, int] = dict.fromkeys(place.told, place.ended)

    def saw(self, ends: Mapping[int, int]) -> None:
        """`ends`: build request id -> its complete_at."""
        self._at.update(ends)
        self._latest = max((self._latest, *ends.values()))
        if len(self._at) > 2 * _TOLD_LIMIT:
            self._forget()

    def _forget(self) -> None:
        recent = [(at, id_) for id_, at in self._at.items() if at >= self._latest - OVERLAP_S]
        self._at = {id_: at for at, id_ in sorted(recent)[-_TOLD_LIMIT:]}

    def latest(self) -> int:
        """The latest complete_at seen."""
        return self._latest

    def told(self) -> frozenset[int]:
        """The ids that ended within OVERLAP_S of the latest."""
        self._forget()
        return frozenset(self._at)
