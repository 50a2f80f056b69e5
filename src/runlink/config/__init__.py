"""TOML -> settings. Bootstrap, the CLI and the daemon (on SIGHUP) come here."""

from runlink.config.changes import diff
from runlink.config.errors import ConfigError
from runlink.config.load import load, load_items
from runlink.config.overrides import variable_name
from runlink.config.schema import base_schema, full_schema
from runlink.config.store import with_password

__all__ = ["ConfigError", "base_schema", "diff", "full_schema", "load", "load_items", "variable_name", "with_password"]
