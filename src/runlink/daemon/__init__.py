"""Keeps every engine's feeds running. `runlink serve` and `runlink sync` come here.

`turn` is what one turn of a feed does, a plain function; `feed` is one feed's life from turn to turn; `workers` runs
turns and lets go of those that hang; `service` schedules all of it; `relay` hands events to subscribers.
"""

from runlink.daemon.feed import EngineFeed, Progress
from runlink.daemon.service import Daemon

__all__ = ["Daemon", "EngineFeed", "Progress"]
