"""What each subscription is to be told: copied from the outbox in one transaction with its place there, then sent.

The daemon's dispatch comes here. Of one Run's events only the first that waits may be sent, so that they arrive in
order; another Run's never wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from runlink.store import tables
from runlink.store.bulk import Bulk
from runlink.store.outbox import Outbox

_TABLE = tables.subscription_events
_COLUMNS = ("subscription", "position", "event_id", "type", "run_id", "occurred_at", "data", "state", "due_at")
PREFIX = "subscription:"
"""Of a subscription's name among the subscribers of the outbox."""
STATES = ("waiting", "sent", "dead")


class Subscriptions:
    """Subscriptions within a unit of work."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._outbox = Outbox(connection)

    def names(self) -> set[str]:
        """Those that have a place in the outbox."""
        table = tables.subscribers
        found = self._connection.execute(sa.select(table.c.name).where(table.c.name.startswith(PREFIX))).scalars()
        return {name.removeprefix(PREFIX) for name in found}

    def keep(self, names: Sequence[str]) -> None:
        """Makes the places those of these subscriptions; what waits for any other is dropped."""
        known = self.names()
        for name in known.difference(names):
            self._connection.execute(sa.delete(tables.subscribers).where(tables.subscribers.c.name == PREFIX + name))
            self._connection.execute(sa.delete(_TABLE).where(_TABLE.c.subscription == name, tables.IS_WAITING))
        for name in names:
            if name not in known:
                self._outbox.enrol(PREFIX + name)

    def has_news(self, name: str, now: datetime) -> bool:
        """Whether the outbox has events that were not copied yet."""
        position = self._outbox.position(PREFIX + name, now)
        return position is not None and bool(self._outbox.after(position, 1))

    def copy(self, name: str, wants: Callable[[str], bool], now: datetime, limit: int = 500) -> int:
        """Takes over the next events of the outbox; returns how many were looked at."""
        position = self._outbox.position(PREFIX + name, now)
        events = [] if position is None else self._outbox.after(position, limit)
        if not events:
            return 0
        rows = [
            (
                name,
                event["position"],
                event["id"],
                event["type"],
                None if event["run_id"] is None else UUID(event["run_id"]),
                datetime.fromisoformat(event["occurred_at"]),
                event["data"],
                "waiting",
                now,
            )
            for event in events
            if wants(event["type"])
        ]
        Bulk(self._connection).insert(_TABLE, _COLUMNS, rows)
        self._outbox.delivered(PREFIX + name, events[-1]["position"])
        return len(events)

    def due(self, name: str, now: datetime, limit: int = 50) -> list[dict[str, Any]]:
        """Of each Run the first event that waits, where it is due; events of no Run wait for none."""
        earlier = _TABLE.alias("earlier")
        is_first = ~sa.exists().where(
            earlier.c.subscription == _TABLE.c.subscription,
            earlier.c.run_id == _TABLE.c.run_id,
            earlier.c.position < _TABLE.c.position,
            earlier.c.state == "waiting",
        )
        query = (
            sa.select(_TABLE)
            .where(_TABLE.c.subscription == name, _TABLE.c.state == "waiting", _TABLE.c.due_at <= now, is_first)
            .order_by(_TABLE.c.position)
            .limit(limit)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def sent(self, name: str, positions: Sequence[int], now: datetime) -> None:
        """The receiver has taken these."""
        self._connection.execute(
            sa.update(_TABLE)
            .where(_TABLE.c.subscription == name, _TABLE.c.position.in_(positions))
            .values(state="sent", attempts=_TABLE.c.attempts + 1, sent_at=now, due_at=None, reason=None)
        )

    def failed(self, name: str, position: int, reason: str, due_at: datetime | None) -> None:
        """The receiver has not taken this one: it is tried again at `due_at`, never when that is None."""
        self._connection.execute(
            sa.update(_TABLE)
            .where(_TABLE.c.subscription == name, _TABLE.c.position == position)
            .values(
                state="dead" if due_at is None else "waiting",
                attempts=_TABLE.c.attempts + 1,
                due_at=due_at,
                reason=reason[:2000],
            )
        )

    def retry(self, name: str, positions: Sequence[int] | None, now: datetime) -> int:
        """Has dead events sent once more, all of them when none is named; returns how many."""
        query = sa.update(_TABLE).where(_TABLE.c.subscription == name, _TABLE.c.state == "dead")
        if positions is not None:
            query = query.where(_TABLE.c.position.in_(positions))
        return self._connection.execute(query.values(state="waiting", attempts=0, due_at=now)).rowcount

    def events(
        self, name: str, *, state: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """What a subscription was, is to be, or could not be told, newest first."""
        query = sa.select(_TABLE).where(_TABLE.c.subscription == name).order_by(_TABLE.c.position.desc()).limit(limit)
        if state is not None:
            query = query.where(_TABLE.c.state == state)
        if before is not None:
            query = query.where(_TABLE.c.position < before)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def counts(self) -> list[dict[str, Any]]:
        """Of each subscription: how many events wait and are dead, when it last took one, and the latest reason."""
        last_sent = sa.func.max(_TABLE.c.sent_at, type_=_TABLE.c.sent_at.type).label("last_sent_at")
        states = [sa.func.count().filter(_TABLE.c.state == state).label(state) for state in STATES]
        query = sa.select(_TABLE.c.subscription.label("name"), *states, last_sent).group_by(_TABLE.c.subscription)
        rows = [dict(row) for row in self._connection.execute(query).mappings()]
        for row in rows:
            latest = sa.select(_TABLE.c.reason).where(
                _TABLE.c.subscription == row["name"], _TABLE.c.reason.is_not(None), _TABLE.c.state != "sent"
            )
            row["last_error"] = self._connection.execute(latest.order_by(_TABLE.c.position.desc()).limit(1)).scalar()
        return rows

    def backlog(self) -> list[tuple[str, str, int]]:
        """Subscription, state and count of what waits and what is dead."""
        found: list[tuple[str, str, int]] = []
        for state in ("waiting", "dead"):
            query = sa.select(_TABLE.c.subscription, sa.func.count()).where(_TABLE.c.state == state)
            rows = self._connection.execute(query.group_by(_TABLE.c.subscription))
            found += [(name, state, count) for name, count in rows]
        return found

    def prune(self, sent_before: datetime, dead_before: datetime, limit: int = 5000) -> int:
        """Removes, oldest first, what was sent before a time, and what was given up and happened before another."""
        count = 0
        for is_over, at, before in (
            (sa.and_(tables.WAS_SENT, _TABLE.c.state == "sent"), _TABLE.c.sent_at, sent_before),
            (_TABLE.c.state == "dead", _TABLE.c.occurred_at, dead_before),
        ):
            old = sa.select(_TABLE.c.subscription, _TABLE.c.position).where(is_over, at < before)
            key = sa.tuple_(_TABLE.c.subscription, _TABLE.c.position)
            chosen_keys = old.order_by(at).limit(limit)
            count += self._connection.execute(sa.delete(_TABLE).where(key.in_(chosen_keys))).rowcount
        return count
