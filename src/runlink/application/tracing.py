"""Spans of what runlink does, for whoever configured a tracer (`runlink.telemetry`). Every room comes here.

Without one a span is nothing, and costs a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Literal, Protocol

Kind = Literal["internal", "client", "server"]
Value = str | int | float | bool


class Span(Protocol):
    """One piece of work."""

    def set(self, name: str, value: Value) -> None:
        """Says something of it."""


class Tracer(Protocol):
    """Where spans go."""

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: Mapping[str, str] | None
    ) -> AbstractContextManager[Span]:
        """A span within the block, below the one that is open here, else below the one that headers tell of."""

    def headers(self) -> dict[str, str]:
        """What tells another system of the span that is open here."""


class _Nothing:
    def set(self, name: str, value: Value) -> None:
        """Nobody listens."""


_NOTHING: Final = nullcontext(_Nothing())
_tracers: list[Tracer] = []


@contextmanager
def traced_by(tracer: Tracer) -> Iterator[None]:
    """Within the block, of the whole process."""
    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.remove(tracer)


def span(
    name: str,
    attributes: Mapping[str, Value] | None = None,
    *,
    kind: Kind = "internal",
    parent: Mapping[str, str] | None = None,
) -> AbstractContextManager[Span]:
    """A span within the block. Names are few; what differs are attributes, and none is secret or a person's.

    parent   headers of a request that may tell of the span it comes from
    """
    return _tracers[-1].span(name, kind, attributes or {}, parent) if _tracers else _NOTHING


def headers() -> dict[str, str]:
    """What a request takes along, so that whoever gets it goes on below the span that is open here."""
    return _tracers[-1].headers() if _tracers else {}
