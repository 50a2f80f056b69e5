"""The errors of the domain; come here to see what can be refused, and which class to catch.

    DomainError
    ├── ValidationError      a value is not acceptable: correct it and call again
    ├── InvalidStateError    the entity's present state does not allow the call: look at its state
    └── ConcurrencyError     somebody else changed the row first: load it again and decide anew

One class per reaction. A message says what, which one, and what to do next.
"""

from collections.abc import Iterable


class DomainError(Exception):
    """The root: everything that the rules of the domain refuse."""


class ValidationError(DomainError):
    """A value that is not acceptable.

    `problems` names every failure, each opening with its path (`name: …`, `$.customer.id: …`).
    """

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(problems) or (message,)


class InvalidStateError(DomainError):
    """A call that the entity's present state does not allow; the entity is left as it was."""


class ConcurrencyError(DomainError):
    """A write of a version that is no longer the stored one; nothing was written."""
