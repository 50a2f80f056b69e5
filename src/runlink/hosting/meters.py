"""What is measured of one engine's requests: how many may be made, how they were answered, whose clock is ahead.

`guard` comes here with each request and answer; the daemon and the server read what came of it.
"""

from __future__ import annotations

import email.utils
import statistics
import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

_SKEW_SAMPLES: Final = 15
_SKEW_MAX_ROUND_TRIP_S: Final = 10.0
"""An answer that took longer says too little about when the engine looked at its clock."""


class Budget(NamedTuple):
    """How many requests may be made at once now, a small burst at most, and how many in a minute."""

    left: int
    per_minute: float


class Bucket(Protocol):
    """A request budget."""

    def take(self) -> float: ...
    @property
    def budget(self) -> Budget: ...


class Meter(Protocol):
    """Measures the clock skew."""

    def read(self, date: str | None, answered_at: datetime, round_trip_s: float) -> None: ...
    @property
    def skew_s(self) -> float | None: ...


class Tally(Protocol):
    """Counts requests by what was answered."""

    def ask(self) -> None: ...
    def answer(self, status: int) -> None: ...
    def counts(self) -> dict[str, int]: ...


class TokenBucket:
    """So many requests per minute, with a small burst (a tenth of a minute's worth, 1 to 20 requests)."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60.0
        self._burst = max(1.0, min(20.0, per_minute / 10.0))
        self._tokens = self._burst
        self._clock = clock
        self._filled_at = clock()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Takes one request out and returns 0, or takes nothing and returns the seconds until there will be one."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return 0.0
            return (1.0 - self._tokens) / self._rate

    @property
    def budget(self) -> Budget:
        """What is left now."""
        with self._lock:
            left = min(self._burst, self._tokens + (self._clock() - self._filled_at) * self._rate)
        return Budget(left=int(left), per_minute=self._rate * 60)


class SkewMeter:
    """How far the engine's clock is ahead of the host's, in seconds (negative: behind), from `Date` headers.

    A header counts whole seconds, so one reading is good to half a second; the median of the last 15 is kept.
    """

    def __init__(self) -> None:
        self._readings: deque[float] = deque(maxlen=_SKEW_SAMPLES)
        self._lock = threading.Lock()

    def read(self, date: str | None, answered_at: datetime, round_trip_s: float) -> None:
        """Takes in one answer; a missing or senseless header and a slow answer are passed over."""
        if not date or round_trip_s > _SKEW_MAX_ROUND_TRIP_S:
            return
        try:
            engine = email.utils.parsedate_to_datetime(date)
        except ValueError:
            return
        if engine.tzinfo is None:
            engine = engine.replace(tzinfo=UTC)
        midway = answered_at - timedelta(seconds=round_trip_s / 2)
        with self._lock:
            self._readings.append((engine - midway).total_seconds() + 0.5)

    @property
    def skew_s(self) -> float | None:
        """The estimate, None before the first reading."""
        with self._lock:
            return statistics.median(self._readings) if self._readings else None


class Answers:
    """How often which status was answered."""

    def __init__(self) -> None:
        self._asked = 0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def ask(self) -> None:
        """One more request is sent."""
        with self._lock:
            self._asked += 1

    def answer(self, status: int) -> None:
        """One more is answered."""
        with self._lock:
            self._counts[str(status)] += 1

    def counts(self) -> dict[str, int]:
        """By code; `none` are those that have had no answer."""
        with self._lock:
            return {"none": self._asked - self._counts.total(), **self._counts}
