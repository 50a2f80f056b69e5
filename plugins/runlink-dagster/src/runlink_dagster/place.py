"""Where polling goes on: the cursor of the one partition `runs`. The adapter comes here.

All times are the engine's own, in seconds of the epoch; the host's clock enters only as the start of the first look.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Final, Self

from runlink.spi import CursorExpired

PARTITION: Final = "runs"

OVERLAP_S: Final = 300.0
"""How far before the place the next poll looks. Dagster stamps a run with the time of the event that changed it, taken
where the run is worked on, and stores it later: so stamps come late, and from as many clocks as there are machines.
`updatedAfter` itself is strict (recording 035)."""

_REST_S: Final = 2 * OVERLAP_S
"""How long nothing may have changed before the place follows the engine's clock, so that an idle poll lists nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far everything has been told.

    since   everything that was updated before is told
    until   set while a listing of several pages is under way: what `since` becomes when it is done
    after   the run id up to which that listing, newest first, has been told
    """

    since: float
    until: float | None = None
    after: str | None = None

    @property
    def asked_from(self) -> float:
        """What `updatedAfter` is to be. Never 0, which Dagster takes for no filter."""
        return max(1.0, self.since - OVERLAP_S)

    def begun(self, at: float | None, latest: float | None) -> Self:
        """A listing was begun. `at`: the engine's clock; `latest`: the latest update on its first page.

        Neither alone will do: one worker's clock that is ahead must not carry the place past what others will stamp,
        and what is updated while later pages are read is before the latest stamp on them.
        """
        until = self.since if latest is None else max(self.since, latest if at is None else min(at, latest))
        if at is not None and at - until > _REST_S:
            until = at - OVERLAP_S
        return dataclasses.replace(self, until=until)

    def told(self, run_id: str) -> Self:
        """The listing under way has been told up to this run."""
        return dataclasses.replace(self, after=run_id)

    def done(self) -> Self:
        """The listing under way has been told to its end."""
        since = self.since if self.until is None else self.until
        return dataclasses.replace(self, since=since, until=None, after=None)

    def dump(self) -> str:
        """As the host stores it."""
        content: dict[str, object] = {"v": 1, "since": self.since}
        if self.after is not None:
            content |= {"until": self.until, "after": self.after}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """Raises CursorExpired for what another version of this plugin wrote."""
        try:
            content = json.loads(text)
            if content["v"] != 1:
                raise ValueError(f"version {content['v']!r}")
            after, until = content.get("after"), content.get("until")
            return cls(
                since=float(content["since"]),
                until=None if until is None else float(until),
                after=None if after is None else str(after),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CursorExpired(f"the stored cursor is not one of this plugin's ({error})") from error
