"""Where everything is kept: SQLAlchemy over SQLite or PostgreSQL. The only room that imports it."""

from runlink.store.errors import AlreadyRunning, NoStore, SchemaMismatch, StoreError, StoreUnavailable
from runlink.store.opening import SqlStore, open_store
from runlink.store.outage import outage
from runlink.store.prepared import Row
from runlink.store.unit_of_work import SqlUnitOfWork

__all__ = [
    "AlreadyRunning",
    "NoStore",
    "Row",
    "SchemaMismatch",
    "SqlStore",
    "SqlUnitOfWork",
    "StoreError",
    "StoreUnavailable",
    "open_store",
    "outage",
]
