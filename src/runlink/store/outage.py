"""Whether a failed read or write was the store's own trouble. The daemon comes here, which must not know SQLAlchemy."""

from __future__ import annotations

import sqlalchemy as sa


def outage(error: BaseException) -> str | None:
    """Why the store did not answer (gone, full, locked, out of connections), in the driver's words: the same may work
    later. None for what it refused because of what was asked.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return str(error)
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    silent = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or type(error) is sa.exc.DatabaseError
    return " ".join(str(error.orig).split()) if silent or error.connection_invalidated else None
