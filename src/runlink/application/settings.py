"""What an operator decides, after the configuration was read and checked. Every other room is told by these."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DEFAULT_POLL_INTERVAL_S: Final = 15.0
SCHEMES: Final = ("github", "gitlab", "standard-webhooks", "bearer", "basic")
"""How a delivery may prove where it comes from; `hosting.authentication` implements them."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A reference to a secret: the name of an environment variable or the path of a file, never the secret itself."""

    env: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return f'{{ env = "{self.env}" }}' if self.env else f'{{ file = "{self.file}" }}'


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """One `[engines.NAME.webhook]` table: what the engine may push to `/hooks/NAME`. Without it, nothing.

    secrets          any of them will do, so that one can take the place of another; never empty
    authentication   one of SCHEMES; None leaves it to the adapter
    user             whom `basic` expects; None: anyone who knows the password
    tolerance_s      how far a signed time may be from ours, for `standard-webhooks`
    max_bytes        of a body, also after it is unpacked
    poll_interval_s  how often the engine is polled while nothing goes missing of what it pushes; None: ten times less
    """

    secrets: tuple[Secret, ...]
    authentication: str | None = None
    user: str | None = None
    tolerance_s: float = 300.0
    max_bytes: int = 1 << 20
    poll_interval_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """One `[engines.NAME]` table.

    url               empty for an engine that is only received from
    poll_interval_s   None leaves it to the adapter, and then to DEFAULT_POLL_INTERVAL_S
    options    the keys that belong to the plugin, checked against its schema; secrets are still `Secret` references
    include, exclude   shell-style patterns over the workflow's full path, case sensitive; exclude wins
    """

    name: str
    type: str
    url: str = ""
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
    webhook: WebhookSettings | None = None

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
    expected     workflow patterns that must each have completed before the Run has
    quiet_s      without `expected`: how long after the last end the Run waits for more, in seconds
    """

    name: str
    engine: str = "*"
    workflow: str = "*"
    automation: str | None = None
    run_key: str | None = None
    create_run: bool = False
    inherit: str | None = None
    expected: tuple[str, ...] = ()
    quiet_s: float = 30.0

    def matches(self, engine: str, workflow: str) -> bool:
        """Whether the patterns select a workflow of an engine."""
        return fnmatch.fnmatchcase(engine, self.engine) and fnmatch.fnmatchcase(workflow, self.workflow)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """One `[[subscriptions]]` table: who is told of runlink's own events, by POST.

    events        shell-style patterns over event types: `run.*`
    secrets       each signs, after Standard Webhooks, so that the receiver can change over; never empty
    source        the CloudEvents `source` of what is sent
    timeout_s     how long the receiver may take to answer
    max_attempts  how often an event is tried before it is put aside as dead
    """

    name: str
    url: str
    secrets: tuple[Secret, ...]
    events: tuple[str, ...] = ("run.*",)
    source: str = "/runlink"
    timeout_s: float = 10.0
    max_attempts: int = 15

    def wants(self, event_type: str) -> bool:
        """Whether the receiver asked for such events."""
        return any(fnmatch.fnmatchcase(event_type, pattern) for pattern in self.events)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long what grows is kept, in days. What a kept Run's history needs is never removed."""

    observations_days: float = 90.0
    outbox_days: float = 14.0
    quarantine_days: float = 30.0
    deliveries_days: float = 14.0
    dead_deliveries_days: float = 90.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, settled.

    store_url        never holds a password; `store_password` refers to it, for PostgreSQL
    """

    store_url: str
    store_password: Secret | None = None
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    links: tuple[LinkRule, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    retention: Retention = field(default_factory=Retention)
    disabled_plugins: frozenset[str] = frozenset()
    path: Path | None = None
