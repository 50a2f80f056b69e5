"""What follows each failure: the table, and its bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlink.daemon.backoff import react
from runlink.daemon.errors import AdapterMisbehaved, StoreTrouble, TurnGivenUp
from runlink.daemon.health import STATES
from runlink.hosting import AdapterFault
from runlink.hosting.errors import SecretUnavailable
from runlink.spi import (
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    DeliveryRejected,
    NotFound,
    Refused,
    TransientError,
)

ERRORS = [
    TransientError("t"),
    CredentialsRejected("c"),
    SecretUnavailable("s"),
    ConfigRejected("c"),
    CursorExpired("c"),
    NotFound("n"),
    Refused("r"),
    DeliveryRejected("d"),
    AdapterFault("a"),
    AdapterMisbehaved("a"),
    TurnGivenUp("t"),
    StoreTrouble("s"),
    RuntimeError("r"),
    SystemExit(3),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize(
    ("error", "state", "waits", "renew", "bug"),
    [
        (TransientError("t"), "lost", (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300), False, False),
        (TransientError("t", retry_after_s=20), "lost", (20, 20, 20, 20, 20, 32, 64), False, False),
        (TransientError("t", retry_after_s=1e9), "lost", (3600, 3600), False, False),
        (CredentialsRejected("c"), "denied", (60, 120, 240, 480, 960, 1800, 1800), True, False),
        (SecretUnavailable("s"), "denied", (60, 120), True, False),
        (ConfigRejected("c"), "stopped", (None, None), True, False),
        (CursorExpired("no cursor was given"), "faulty", (5, 10), True, True),
        (NotFound("n"), "lost", (5, 10), True, False),
        (Refused("r"), "lost", (5, 10), True, False),
        (TurnGivenUp("hung"), "lost", (5, 10, 20, 40, 80, 160, 300, 300), True, False),
        (StoreTrouble("s"), "lost", (1, 2, 4, 8, 16, 32, 60, 60), False, False),
        (AdapterFault("a"), "faulty", (5, 10), True, False),
        (AdapterMisbehaved("a"), "faulty", (5, 10), True, False),
        (ZeroDivisionError(), "faulty", (5, 10, 20, 40, 80, 160, 300, 300), True, True),
        (SystemExit(3), "faulty", (5, 10), True, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_the_table(error, state, waits, renew, bug):
    for failures, wait_s in enumerate(waits, start=1):
        reaction = react(error, failures)
        assert (reaction.state, reaction.wait_s, reaction.renew, reaction.bug) == (state, wait_s, renew, bug)


@given(st.sampled_from(ERRORS), st.integers(1, 10**6), st.floats(0, 1))
def test_every_wait_is_bounded_and_spread_by_a_quarter(error, failures, chance):
    middle, reaction = react(error, failures), react(error, failures, chance)
    assert reaction.state in STATES
    if middle.wait_s is None:
        assert reaction.wait_s is None
    else:
        assert 0.75 <= reaction.wait_s <= 1800 * 1.25
        assert 0.75 * middle.wait_s - 1e-9 <= reaction.wait_s <= 1.25 * middle.wait_s + 1e-9


@pytest.mark.parametrize("asked", [None, -5, 0, math.nan, math.inf, -math.inf, "soon", object(), True])
def test_a_senseless_retry_after_leaves_it_to_the_host(asked):
    assert react(TransientError("t", retry_after_s=asked), 1).wait_s == 1


def test_what_the_engine_asked_for_is_never_cut_short_by_the_spreading():
    assert react(TransientError("t", retry_after_s=10), 1, chance=0.0).wait_s == 10
