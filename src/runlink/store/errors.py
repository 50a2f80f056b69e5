"""What the store refuses, one class per reaction.

StoreError
├── StoreUnavailable   the address is wrong or nothing answers there
├── NoStore            there is none yet, and none is to be made
├── SchemaMismatch     the database is newer than this program, or older and not to be upgraded
└── AlreadyRunning     another process runs the feeds on this store
"""

from __future__ import annotations


class StoreError(Exception):
    """The root."""


class StoreUnavailable(StoreError):
    """The store cannot be reached."""


class NoStore(StoreError):
    """The file is not there, or the database is empty."""


class SchemaMismatch(StoreError):
    """The database's schema is not this program's."""


class AlreadyRunning(StoreError):
    """Another process holds the right to run feeds."""
