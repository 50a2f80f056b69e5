"""How a turn ends other than well, beside what adapters raise by the interface. The whole room comes here.

TurnGivenUp        the host let go of the turn
AdapterMisbehaved  the adapter broke a promise of the interface
StoreTrouble       the store did not answer; the adapter has no part in it
"""

from __future__ import annotations


class TurnGivenUp(Exception):
    """The host let go of this turn: it took too long, or the daemon stops. Nothing more of it may be stored."""


class AdapterMisbehaved(Exception):
    """The adapter broke a promise of the interface."""


class StoreTrouble(Exception):
    """The store could not be read or written."""


def words(error: BaseException) -> str:
    """An exception's message in one line, its type where it has none. Never raises: `__str__` is a plugin's code."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - plugin code
        text = ""
    return text or type(error).__name__
