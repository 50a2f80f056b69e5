"""What an adapter raises, one class per reaction of the host. Plugin authors come here.

    AdapterError
    ├── TransientError        keeps the cursor, backs off with jitter; the loss is logged once, the return once
    ├── CursorExpired         polls again without cursors and reconciles what vanished meanwhile
    ├── CredentialsRejected   degraded; the secret is read again and tried slowly (1 to 30 minutes)
    ├── ConfigRejected        this engine's feeds stop with the reason until the configuration changes
    ├── NotFound              answers the asker
    ├── Refused               answers the asker
    └── DeliveryRejected      that delivery is dead-lettered with the reason

Anything else that leaves an adapter is a bug of the adapter: the traceback is logged once, the feed backs off, and the
daemon and every other engine live on.
"""

from __future__ import annotations


class AdapterError(Exception):
    """The root of what an adapter raises on purpose. Operators read the message: say what, where, and what next."""


class TransientError(AdapterError):
    """The engine is out of reach, overloaded or starting; the same call may succeed later.

    `retry_after_s` is what the engine asked for (a `Retry-After` header), in seconds; None leaves it to the host.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CursorExpired(AdapterError):
    """The engine no longer knows the place a cursor names (HTTP 410, a purged event log)."""


class CredentialsRejected(AdapterError):
    """The engine refused who we are. A starting server may answer so too, hence the host keeps trying, slowly."""


class ConfigRejected(AdapterError):
    """The configuration can never work with this engine (no such project, an API that is missing)."""


class NotFound(AdapterError):
    """What was asked for by id does not exist."""


class Refused(AdapterError):
    """The engine understood and declined (a disabled job, an ended build)."""


class DeliveryRejected(AdapterError):
    """A pushed delivery cannot be understood, and never will be."""
