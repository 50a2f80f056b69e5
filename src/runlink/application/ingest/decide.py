"""What an observation means for an instance that is known: a pure function. Come here for the rules of order.

Two kinds of reading differ. A read that the host ordered itself (a poll, a refetch: one reader per engine, and the
time it began) is authoritative: what it shows is how things are, also when that is less far than what is known. A push,
or a read that began no later than the one that told what is known, may have been overtaken on its way: it only moves
forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from runlink.application.rows import Tracked
from runlink.domain import ExecutionStatus
from runlink.spi import Observation, Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How a page came to us.

    began_at        when the host began the read (for all pages of one poll the same: when the poll began)
    authoritative   whether it may move an instance back
    baseline        the engine's first sync: rows and links, no instance events, no Runs made
    fence           the daemon's fencing token; None outside a lease
    """

    feed: str
    began_at: datetime
    authoritative: bool = True
    baseline: bool = False
    fence: int | None = None

    @property
    def cursors_of(self) -> str:
        """The feed whose cursors this read moves: a watch goes on where the poll ended, and they share them."""
        return "poll" if self.feed == "watch" else self.feed


class Verdict(Enum):
    """What to do with an observation of a known instance."""

    FORWARD = "take it in"
    AGAIN = "take it in as a new attempt that the engine did not count"
    STALE = "leave it: something newer is known"


_PROGRESS = {
    ExecutionStatus.PENDING: 0,
    ExecutionStatus.PROCESSING: 1,
    ExecutionStatus.RETRYING: 1,
    ExecutionStatus.COMPLETED: 2,
    ExecutionStatus.FAILED: 2,
    ExecutionStatus.CANCELLED: 2,
}


def decide(known: Tracked, told: Observation, read: Read) -> Verdict:
    """Whether what was told moves what is known forward, begins it again, or comes too late."""
    instance = known.instance
    order = _revision_order(instance.revision, told.revision)
    if order < 0:
        return Verdict.STALE
    since = instance.observed_at
    newer = order > 0 or (since is not None and read.began_at > since)
    attempt = told.attempt + known.attempt_offset
    if attempt > instance.attempt:
        return Verdict.FORWARD
    if attempt < instance.attempt:
        began_anew = _other_epoch(instance.revision, told.revision) and newer and read.authoritative
        return Verdict.AGAIN if began_anew else Verdict.STALE
    if known.attempt_offset and order == 0 and since is not None and read.began_at < since:
        return Verdict.STALE  # of this attempt, or of one before that the engine did not count: only the time can tell
    if instance.status.is_ended:
        if told.status is instance.status:
            fills_in = known.digest is None and told.complete and read.authoritative  # a push was quicker, with a part
            return Verdict.FORWARD if newer or fills_in else Verdict.STALE
    elif _PROGRESS[told.status] >= _PROGRESS[instance.status]:
        return Verdict.FORWARD
    return Verdict.AGAIN if newer and (read.authoritative or order > 0) else Verdict.STALE


def _revision_order(known: str | None, told: Revision | None) -> int:
    """-1, 0 or 1 where both carry a revision of the same epoch, else 0: no order is known."""
    if known is None or told is None or _other_epoch(known, told):
        return 0
    number = known.rpartition(":")[2]
    return (told.number > int(number)) - (told.number < int(number))


def _other_epoch(known: str | None, told: Revision | None) -> bool:
    """Whether the engine began to count anew, as a restored one does."""
    return known is not None and told is not None and known.rpartition(":")[0] != told.epoch
