"""What the store refuses, one class per reaction.

StoreError
├── StoreUnavailable   the address is wrong or nothing answers there
├── SchemaMismatch     the database is newer than this program, or older and not to be upgraded
└── AlreadyRunning     another process runs the feeds on this store
"""

from __future__ import annotations


class StoreError(Exception):
    """The root."""


class StoreUnavailable(StoreError):
    """The store cannot be reached."""


class SchemaMismatch(StoreError):
    """The database's schema is not this program's."""


class AlreadyRunning(StoreError):
    """Another process holds the right to run feeds."""
