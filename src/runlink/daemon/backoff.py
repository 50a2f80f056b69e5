"""What follows a failure and how long to wait, one rule per kind of failure. Pure; docs/reference/feed-states.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runlink.daemon.errors import AdapterMisbehaved, StoreTrouble, TurnGivenUp
from runlink.hosting import AdapterFault, ProcessLost
from runlink.spi import AdapterError, ConfigRejected, CredentialsRejected, CursorExpired, TransientError

MOST_ASKED_S = 3600.0
"""An engine that asks for more patience than this (`Retry-After`) is tried again all the same."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What follows a failure.

    state    what `status` shows: lost (out of reach), denied (credentials), stopped (configuration), faulty (a bug)
    wait_s   until the next try; None: not before the configuration changes
    renew    make the adapter anew (read secrets again, forget its state)
    bug      nobody wrote this error for operators: log its traceback
    """

    state: str
    wait_s: float | None
    renew: bool = False
    bug: bool = False


def react(error: BaseException, failures: int, chance: float = 0.5) -> Reaction:
    """What follows the given failure, the `failures`-th in a row (from 1).

    `chance`, from 0 to 1, spreads the wait by a quarter to either side, so that engines lost together do not return
    together.
    """

    def wait(first_s: float, most_s: float) -> float:
        return min(most_s, first_s * 2.0 ** min(failures - 1, 30)) * (0.75 + 0.5 * chance)

    if isinstance(error, ConfigRejected):
        return Reaction("stopped", None, renew=True)
    if isinstance(error, CredentialsRejected):
        return Reaction("denied", wait(60.0, 1800.0), renew=True)
    if isinstance(error, ProcessLost):
        return Reaction("lost", wait(1.0, 300.0), renew=True)
    if isinstance(error, TransientError):
        return Reaction("lost", max(wait(1.0, 300.0), _asked(error)))
    if isinstance(error, StoreTrouble):
        return Reaction("lost", wait(1.0, 60.0))
    if isinstance(error, TurnGivenUp):
        return Reaction("lost", wait(5.0, 300.0), renew=True)
    if isinstance(error, AdapterError) and not isinstance(error, CursorExpired):
        return Reaction("lost", wait(5.0, 300.0), renew=True)  # NotFound, Refused: the engine's word on the whole feed
    known = isinstance(error, AdapterFault | AdapterMisbehaved)
    return Reaction("faulty", wait(5.0, 300.0), renew=True, bug=not known)


def _asked(error: TransientError) -> float:
    """What the engine asked for, in seconds; 0 for nothing, and for what is no number: a plugin gave it."""
    asked = error.retry_after_s
    if not isinstance(asked, int | float) or not math.isfinite(asked):
        return 0.0
    return min(max(float(asked), 0.0), MOST_ASKED_S)
