"""What the plugin host raises. Whoever loads plugins or makes adapters (bootstrap, daemon, CLI) comes here.

HostingError
├── PluginError           a plugin was refused and RUNLINK_STRICT_PLUGINS asked for that to be fatal
├── UnknownEngineType     no loaded plugin brings this type
├── PythonUnusable        the interpreter that `python` names cannot run adapters
└── AdapterFault          an adapter could not be made: a bug of its constructor
SecretUnavailable         is a CredentialsRejected: the secret is read again, slowly
ProcessLost               is a TransientError: an isolated adapter is made anew, in another process
"""

from __future__ import annotations

from runlink.spi import CredentialsRejected, TransientError


class HostingError(Exception):
    """The root of what the plugin host raises on its own account."""


class PluginError(HostingError):
    """A plugin was refused, and `RUNLINK_STRICT_PLUGINS=1` makes that fatal."""


class UnknownEngineType(HostingError):
    """No loaded plugin brings this engine type; the message names those that are there."""


class PythonUnusable(HostingError):
    """The interpreter that an engine's `python` names cannot run adapters; the message says what to install there."""


class AdapterFault(HostingError):
    """An adapter's constructor raised something that is no AdapterError."""


class SecretUnavailable(CredentialsRejected):
    """A referenced secret is not there (yet). The message names the key and the variable or file, never a value."""


class ProcessLost(TransientError):
    """The process of an isolated adapter ended, or was killed because it hung. The message says how it came."""
