"""What a failure is to the operator: a sentence and an exit code, or, for a bug, the traceback and where to send it."""

from __future__ import annotations

from runlink.cli.output import complain, speaks_json


def report(error: Exception) -> int:
    """Tells of the error on stderr; returns the exit code: 2 for the configuration, 1 for anything else."""
    from runlink.application.errors import Unregistrable
    from runlink.config import ConfigError
    from runlink.domain import DomainError
    from runlink.hosting import AdapterFault, HostingError, SecretUnavailable
    from runlink.http.server import ServerRefused
    from runlink.spi import AdapterError
    from runlink.store import StoreError, outage

    if isinstance(error, ConfigError | SecretUnavailable | Unregistrable):
        complain(str(error))
        return 2
    if isinstance(error, HostingError):
        complain(str(error))
        return 1 if isinstance(error, AdapterFault) else 2
    if isinstance(error, DomainError | StoreError | AdapterError | ServerRefused):
        complain(str(error))
        return 1
    if (trouble := outage(error)) is not None:
        complain(f"the store does not answer: {trouble}")
        return 1
    where = "its traceback" if speaks_json() else "the lines above"
    complain(f"this is a bug in runlink; please report it with {where}", bug=error)
    return 1
