"""Where polling goes on: the cursor of the one partition `dag_runs`. The adapter comes here.

All times in it are the engine's own; the host's clock does not enter as long as the engine dates its answers.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from runlink.spi import CursorExpired

PARTITION: Final = "dag_runs"

OVERLAP: Final = timedelta(seconds=120)
"""How far before the last poll's beginning the next one looks. Airflow takes `updated_at` before it commits, each of
its hosts has a clock of its own, and the `Date` of an answer has whole seconds (3.3.2: up to two seconds behind)."""

WINDOW: Final = timedelta(minutes=10)
"""A window in which nothing was touched is only moved on when it has grown so long: an idle poll stores nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A window of `updated_at`, and how far it was read.

    since     where the window begins
    began_at  the engine's time when the reading of this window began; None before the first answer
    after     the engine's token of the next page; None at the window's beginning
    first     whether it is the first look at the look-back window
    """

    since: datetime
    began_at: datetime | None = None
    after: str | None = None
    first: bool = False

    def next_window(self) -> "Place":
        """The window after this one, which has been read to its end."""
        return Place(since=(self.began_at or self.since) - OVERLAP)

    def outgrown(self) -> bool:
        """Whether an empty window should be moved on. The first look's always."""
        return self.first or self.began_at is None or self.began_at - self.since > WINDOW

    def dump(self) -> str:
        """As the host stores it."""
        content: dict[str, object] = {"v": 1, "since": self.since.isoformat()}
        if self.after is not None and self.began_at is not None:
            content |= {"began_at": self.began_at.isoformat(), "after": self.after, "first": self.first}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Self:
        """Raises CursorExpired for what an other version of this plugin wrote."""
        try:
            content = json.loads(text)
            if content["v"] != 1:
                raise ValueError(f"version {content['v']!r}")
            after = content.get("after")
            return cls(
                since=_time(content["since"]),
                began_at=None if after is None else _time(content["began_at"]),
                after=None if after is None else str(after),
                first=bool(content.get("first", False)),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise CursorExpired(f"the stored cursor is not one of this plugin's ({error})") from error


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
