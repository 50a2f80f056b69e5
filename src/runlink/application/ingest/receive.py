"""Deliveries on their way to the one write path: what of them is believed, and what is asked of the engine instead.

The daemon comes here with what an adapter made of each delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runlink.application.ingest.decide import Read
from runlink.application.ingest.ingest import Outcome, ingest
from runlink.application.ports import UnitOfWork
from runlink.application.rules.rules import Rules
from runlink.domain import Engine
from runlink.spi import Observation, Page, Receipt, Unreadable

FEED = "receive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One delivery as its adapter understands it: what is believed, and the ids to be read again before it is done."""

    id: UUID
    received_at: datetime
    believed: tuple[Observation, ...]
    unreadable: tuple[Unreadable, ...]
    refetch: tuple[str, ...]


def received(delivery_id: UUID, received_at: datetime, receipt: Receipt, *, can_refetch: bool) -> Received:
    """What becomes of a receipt.

    Where the engine can be asked, that something ended is not taken from a delivery: whoever knows a token, or replays
    what was once signed, could end a Run. The engine is asked. Where it cannot be asked, what was authenticated is
    believed as it stands.
    """
    ended = [o for o in receipt.observations if o.status.is_ended] if can_refetch else []
    return Received(
        id=delivery_id,
        received_at=received_at,
        unreadable=receipt.unreadable,
        believed=tuple(o for o in receipt.observations if o not in ended),
        refetch=tuple(dict.fromkeys([*receipt.refetch, *(o.external_id for o in ended)])) if can_refetch else (),
    )


def take_in(
    uow: UnitOfWork,
    rules: Rules,
    engine: Engine,
    deliveries: Sequence[Received],
    now: datetime,
    *,
    fence: int | None = None,
    max_bytes: int = 1 << 18,
) -> Outcome:
    """Stores what is believed of several deliveries, in their order; those that need no refetch are done with that.

    Raises what `ingest` raises, and then nothing of any of them is stored.
    """
    total = Outcome()
    for one in deliveries:
        if one.believed or one.unreadable:
            read = Read(feed=FEED, began_at=one.received_at, authoritative=False, fence=fence)
            page = Page(observations=one.believed, unreadable=one.unreadable)
            total.add(ingest(uow, rules, engine, page, read, now, max_bytes=max_bytes))
    uow.deliveries.done([one.id for one in deliveries if not one.refetch], now)
    return total
