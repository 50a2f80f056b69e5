"""Whether a pooled connection to PostgreSQL is still one. `open_store` comes here.

To ask the server before each use costs as much as half of a page of a listing. A connection that was in use a moment
ago, and on whose socket nothing has come, is taken as it is: a server that stops says so on every connection.
"""

from __future__ import annotations

import select
import time
from typing import Any, Final

import sqlalchemy as sa

TRUSTED_S: Final = 1.0
"""So long after its use a connection is not asked about: a network that swallows everything is noticed later."""
_USED_AT: Final = "runlink_used_at"


def ask_before_use(engine: sa.Engine) -> None:
    """Has each connection of the pool looked at before it is given out; a dead one takes all others with it."""

    def used(_connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    def look(connection: Any, record: sa.pool.ConnectionPoolEntry, _fairy: Any) -> None:
        used_at = record.info.get(_USED_AT)
        if used_at is None or (time.monotonic() - used_at < TRUSTED_S and not _has_news(connection)):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError from error

    sa.event.listen(engine, "checkin", used)
    sa.event.listen(engine, "checkout", look)


def _has_news(connection: Any) -> bool:
    """Whether something waits to be read where nothing was asked: an end, or a notice."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))
