"""What the use cases refuse, one class per reaction.

DomainError
├── AlreadyExists     the key is taken; the message says by what, and names restore() for an inactive row
├── Missing           nothing has this id or name
├── FenceLost         another process runs the feeds now; stop writing
└── Unregistrable     a ValidationError: the configuration does not go with what is stored; correct the file
"""

from __future__ import annotations

from runlink.domain import DomainError, ValidationError


class AlreadyExists(DomainError):
    """The key of a new row is taken."""


class Missing(DomainError):
    """Nothing has this id or name."""


class FenceLost(DomainError):
    """Another process took over the feeds; this one must not write any more."""


class Unregistrable(ValidationError):
    """The configuration does not go with what is stored of its engines."""
