"""Finds, checks and guards plugins. Whoever needs an adapter for an engine (bootstrap, daemon, CLI) comes here."""

from runlink.hosting.context import HostContext
from runlink.hosting.errors import (
    AdapterFault,
    HostingError,
    PluginError,
    ProcessLost,
    PythonUnusable,
    SecretUnavailable,
    UnknownEngineType,
)
from runlink.hosting.guard import Guard
from runlink.hosting.hosted import HostedAdapter, build_adapter
from runlink.hosting.loader import PluginHost, PluginInfo
from runlink.hosting.options import ENGINE_KEYS, check_options

__all__ = [
    "ENGINE_KEYS",
    "AdapterFault",
    "Guard",
    "HostContext",
    "HostedAdapter",
    "HostingError",
    "PluginError",
    "PluginHost",
    "PluginInfo",
    "ProcessLost",
    "PythonUnusable",
    "SecretUnavailable",
    "UnknownEngineType",
    "build_adapter",
    "check_options",
]
