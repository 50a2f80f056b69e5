"""The guard's own arithmetic, on a clock that the test moves."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from runlink.hosting import Guard
from runlink.hosting.meters import SkewMeter, TokenBucket
from runlink.spi import TransientError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_the_bucket_gives_a_burst_and_then_the_rate():
    clock = Clock()
    bucket = TokenBucket(60, clock)
    assert [bucket.take() for _ in range(6)] == [0.0] * 6
    assert bucket.take() == pytest.approx(1.0)
    clock.now += 0.5
    assert bucket.take() == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.take() == 0.0
    clock.now += 3600
    assert [bucket.take() for _ in range(7)].count(0.0) == 6


def test_the_smallest_budget_still_gives_one_request():
    bucket = TokenBucket(1, Clock())
    assert bucket.take() == 0.0
    assert bucket.take() == pytest.approx(60.0)


def test_a_budget_that_outlasts_the_turn_is_transient_and_says_when():
    clock = Clock()
    guard = Guard(max_requests_per_minute=10, clock=clock)
    guard.begin_turn(clock.now + 5)
    guard.admit("GET /")
    with pytest.raises(TransientError, match="max_requests_per_minute") as caught:
        guard.admit("GET /")
    assert caught.value.retry_after_s == pytest.approx(6.0)
    assert guard.requests == 1


def test_waiting_for_the_budget_ends_with_the_close():
    guard = Guard(max_requests_per_minute=1)
    guard.admit("GET /")
    raised = []

    def wait():
        try:
            guard.admit("GET /")
        except TransientError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    guard.close()
    thread.join(5)
    assert str(raised[0]).startswith("closed")


def test_the_time_limit_is_the_least_of_three():
    clock = Clock()
    guard = Guard(request_timeout_s=30, clock=clock)
    assert guard.timeout() == 30
    assert guard.timeout(5) == 5
    assert guard.timeout(500) == 30
    guard.begin_turn(clock.now + 3)
    assert guard.timeout(5) == 3
    clock.now += 4
    with pytest.raises(TransientError, match="turn's time is up"):
        guard.timeout()
    guard.begin_turn(None)
    assert guard.timeout() == 30


def test_the_skew_is_the_median_so_that_one_wild_answer_does_not_move_it():
    meter = SkewMeter()
    for date in ("Fri, 02 Jan 2026 12:00:10 GMT",) * 3 + ("Fri, 02 Jan 2026 18:00:00 GMT",):
        meter.read(date, NOON, 0.2)
    assert meter.skew_s == pytest.approx(10.6)


@pytest.mark.parametrize(
    ("date", "round_trip_s"), [(None, 0.1), ("yesterday", 0.1), ("Fri, 02 Jan 2026 12:00:10 GMT", 60)]
)
def test_the_skew_meter_passes_over_what_tells_nothing(date, round_trip_s):
    meter = SkewMeter()
    meter.read(date, NOON, round_trip_s)
    assert meter.skew_s is None


def test_answers_out_of_a_cache_tell_nothing_of_the_clock():
    guard = Guard(now=lambda: NOON)
    guard.answered(200, "Fri, 02 Jan 2026 11:00:00 GMT", "3600", 0.0)
    assert guard.skew_s is None
