"""Exchanges as they pass between an adapter and its engine, whichever HTTP client carries them.

The transports come here when somebody looks at the wire (`Guard.wire`): a recording does, and a replay, which answers
in the engine's place. With such a wire each body is read whole before the adapter gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

Headers = tuple[tuple[str, str], ...]

FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "content-encoding"})
"""Headers that describe how a body came, not what it is: `Received` goes without them, its body is decoded."""


@dataclass(frozen=True)
class Sent:
    """A request as it leaves."""

    method: str
    url: str
    headers: Headers
    body: bytes = b""


@dataclass(frozen=True)
class Received:
    """The answer to it."""

    status: int
    reason: str
    headers: Headers
    body: bytes


class Wire(Protocol):
    """What lies between the clients of one engine and the network. Called from any thread."""

    def carry(self, sent: Sent, ask: Callable[[], Received]) -> Received:
        """The answer. `ask` sends the request, and raises TransientError where that fails."""


def unframed(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers without FRAMING."""
    return tuple((name, value) for name, value in headers if name.lower() not in FRAMING)
