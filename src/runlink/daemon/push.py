"""Whether an engine's deliveries tell all there is to know. The poll asks this before it slows down.

Measured, never assumed: a poll that finds something moved has found what no delivery told.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Push:
    """What deliveries told of an engine, and what they missed, since the daemon began.

    told, missed   instances that moved (are new, or at another status or attempt), by a delivery or only by a poll
    is_healthy     a delivery came, a poll after it found nothing more, and none has since
    waiting        deliveries are being processed: what a poll finds meanwhile may be theirs
    """

    told: int = 0
    missed: int = 0
    is_healthy: bool = False
    waiting: bool = False
    _heard: bool = False
    _polled: bool = False

    def delivered(self, moved: int) -> None:
        """A delivery was taken in, after which so many instances had moved."""
        self.told += moved
        self._heard = True

    def polled(self, moved: int) -> None:
        """A poll ended, which found that so many instances had moved. The first after a start counts for nothing: it
        finds what happened while nobody could be told."""
        if not self._polled:
            self._polled = True
        elif moved and not self.waiting:
            self.missed += moved
            self.is_healthy = self._heard = False
        elif self._heard and not moved:
            self.is_healthy = True
