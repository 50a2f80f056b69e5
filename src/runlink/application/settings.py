"""What an operator decides, after the configuration was read and checked. Every other room is told by these."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runlink.application.policy import Policy

DEFAULT_POLL_INTERVAL_S: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A reference to a secret: the name of an environment variable or the path of a file, never the secret itself."""

    env: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return f'{{ env = "{self.env}" }}' if self.env else f'{{ file = "{self.file}" }}'


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """One `[engines.NAME]` table.

    poll_interval_s   None leaves it to the adapter, and then to DEFAULT_POLL_INTERVAL_S
    options    the keys that belong to the plugin, checked against its schema; secrets are still `Secret` references
    include, exclude   shell-style patterns over the workflow's full path, case sensitive; exclude wins
    """

    name: str
    type: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    poll_interval_s: float | None = None
    poll_deadline_s: float = 300.0
    request_timeout_s: float = 30.0
    lookback_s: float = 7 * 86400.0
    max_requests_per_minute: int = 600
    max_metadata_bytes: int = 65536
    verify_tls: bool | Path = True
    renamed_from: str | None = None

    def wants(self, workflow: str) -> bool:
        """Whether `include` and `exclude` select this workflow."""
        if self.include == ("*",) and not self.exclude:  # as by default; asked for each job and each observation
            return True
        return any(fnmatch.fnmatchcase(workflow, p) for p in self.include) and not any(
            fnmatch.fnmatchcase(workflow, p) for p in self.exclude
        )


@dataclass(frozen=True, kw_only=True)
class LinkRule:
    """One `[[links]]` table: which Runs an observed instance belongs to.

    name         how the rule is called in links and explanations (default: `links[N]`)
    engine, workflow   shell-style patterns over engine name and workflow path
    automation   the Automation whose Runs are meant; created when it is missing
    run_key      JMESPath over the observation; its value is a Run's id or correlation_id
    create_run   make a Run when no Run has this key
    inherit      "parent": belongs to the Runs of the instance that started it
    """

    name: str
    engine: str = "*"
    workflow: str = "*"
    automation: str | None = None
    run_key: str | None = None
    create_run: bool = False
    inherit: str | None = None

    def matches(self, engine: str, workflow: str) -> bool:
        """Whether the patterns select a workflow of an engine."""
        return fnmatch.fnmatchcase(engine, self.engine) and fnmatch.fnmatchcase(workflow, self.workflow)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long what grows is kept, in days. What a kept Run's history needs is never removed."""

    observations_days: float = 90.0
    outbox_days: float = 14.0
    quarantine_days: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, settled.

    store_url        never holds a password; `store_password` refers to it, for PostgreSQL
    """

    store_url: str
    store_password: Secret | None = None
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    links: tuple[LinkRule, ...] = ()
    automations: Mapping[str, Policy] = field(default_factory=dict)
    retention: Retention = field(default_factory=Retention)
    disabled_plugins: frozenset[str] = frozenset()
    path: Path | None = None

    def named_automations(self) -> list[str]:
        """The automations that rules and policies name, each once."""
        return list(dict.fromkeys([*self.automations, *(rule.automation for rule in self.links if rule.automation)]))
