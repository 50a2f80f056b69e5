"""What an operator decides, after the configuration was read and checked. Every other room is told by these."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from runlink.application.policy import Policy

DEFAULT_POLL_INTERVAL_S: Final = 15.0
SECRET_SCHEMES: Final = ("github", "gitlab", "standard-webhooks", "bearer", "basic")
SCHEMES: Final = (*SECRET_SCHEMES, "runlink-token")
"""How a delivery may prove where it comes from; `hosting.authentication` implements them."""

ISOLATIONS: Final = ("none", "process")
"""Where an adapter runs: in the process that runs everything, or in one of its own."""


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

    secrets          any of them will do, so that one can take the place of another; empty for `runlink-token` alone
    authentication   one of SCHEMES; None leaves it to the adapter
    user             whom `basic` expects; None: anyone who knows the password
    tolerance_s      how far a signed time may be from ours, for `standard-webhooks`
    max_bytes        of a body, also after it is unpacked
    poll_interval_s  how often the engine is polled while nothing goes missing of what it pushes; None: ten times less
    """

    secrets: tuple[Secret, ...] = ()
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
    isolation   one of ISOLATIONS; `python`: with "process", the interpreter, None for this one's
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
    isolation: str = "none"
    python: Path | None = None

    def wants(self, workflow: str) -> bool:
        """Whether `include` and `exclude` select this workflow."""
        if self.include == ("*",) and not self.exclude:  # as by default; asked for each job and each observation
            return True
        return any(fnmatch.fnmatchcase(workflow, p) for p in self.include) and not any(
            fnmatch.fnmatchcase(workflow, p) for p in self.exclude
        )


Patterns = str | tuple[str, ...]
"""One shell-style pattern, case sensitive, or several of which one must match."""


def matches_any(text: str, patterns: Patterns) -> bool:
    """Whether one of the patterns matches."""
    if isinstance(patterns, str):
        return fnmatch.fnmatchcase(text, patterns)
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


@dataclass(frozen=True, kw_only=True)
class KeyTemplate:
    """A key put together of several values: text with JMESPaths in braces."""

    template: str


@dataclass(frozen=True, kw_only=True)
class KeyHook:
    """A key that a plugin finds, by its hook `runlink_link`."""

    plugin: str


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """How a Run that a rule makes is filled in, by templates over the observation and `{key}`."""

    correlation_id: str = "{key}"
    created_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class ParentRule:
    """How an instance of another engine (or of the same) is known to have started this one: by a value both have.

    match    JMESPath over this instance
    other    JMESPath over the parent, `with` in the file
    engine, type, workflow   patterns over the parent
    """

    match: str
    other: str = "external_id"
    engine: Patterns = "*"
    type: Patterns = "*"
    workflow: Patterns = "*"

    def selects(self, engine: str, type_: str, workflow: str) -> bool:
        """Whether an instance can be such a parent."""
        named = matches_any(engine, self.engine) and matches_any(workflow, self.workflow)
        return named and matches_any(type_.lower(), self.type)


@dataclass(frozen=True, kw_only=True)
class LinkRule:
    """One `[[links]]` table: which Runs an observed instance belongs to. docs/reference/linking.md has the meaning.

    name         how the rule is called in links and explanations (default: `links[N]`)
    engine, type, workflow   patterns over engine name, engine type and workflow path
    labels       label -> patterns; each must be there and match
    attempt      "any", "first" or "later": only while the instance is in such an attempt
    automation   the Automation whose Runs are meant; created when it is missing
    run_key      JMESPath over the observation, or several ways in order; its value is a Run's id or correlation_id
    within_s     the instance began within so many seconds of the Run's making or start
    create_run   make a Run when no Run has this key
    inherit      "parent": belongs to the Runs of the instance that started it, as the engine tells
    parent       belongs to the Runs of the instance that a shared value shows to be its parent
    stop         whether the rules below are left out for what this one selects; None: not said
    """

    name: str
    engine: Patterns = "*"
    type: Patterns = "*"
    workflow: Patterns = "*"
    labels: Mapping[str, Patterns] = field(default_factory=dict)
    attempt: str = "any"
    automation: str | None = None
    run_key: str | tuple[str | KeyTemplate | KeyHook, ...] | None = None
    within_s: float | None = None
    create_run: bool | NewRun = False
    inherit: str | None = None
    parent: ParentRule | None = None
    stop: bool | None = None

    @property
    def automation_name(self) -> str:
        """The Automation's name as it is stored; empty where the rule names none."""
        return (self.automation or "").strip()

    @property
    def inherits(self) -> bool:
        """Whether it hands Runs down from parents, of whichever engine."""
        return self.inherit is not None or self.parent is not None

    @property
    def keys(self) -> tuple[str | KeyTemplate | KeyHook, ...]:
        """The ways to a key, in order."""
        if self.run_key is None:
            return ()
        return (self.run_key,) if isinstance(self.run_key, str) else self.run_key

    def matches(self, engine: str, type_: str, workflow: str) -> bool:
        """Whether the patterns select a workflow of an engine."""
        named = matches_any(engine, self.engine) and matches_any(workflow, self.workflow)
        return named and (self.type == "*" or matches_any(type_.lower(), self.type))

    def fits(self, labels: Mapping[str, str] | None, attempt: int) -> bool:
        """Whether labels and attempt, which differ from instance to instance, are such as it asks for."""
        if self.attempt != "any" and (self.attempt == "first") != (attempt <= 1):
            return False
        for name, patterns in self.labels.items():
            value = (labels or {}).get(name)
            if value is None or not matches_any(str(value), patterns):
                return False
        return True


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
class ItemRule:
    """One `[[items]]` table: which steps of an instance are Items, and which. docs/reference/items.md says it all.

    name         how the rule is called in what it leaves behind (default: `items[N]`)
    engine, workflow, automation   shell-style patterns: of the instance, and of the Automation whose Run it counts for
    steps        shell-style pattern over step names; `where` is a JMESPath over the step that must be true
    leaves       only steps that no other step names as its parent
    each         "steps": each step is an item, known by its name; its number is the place in the fan-out
    batch, batch_payload, sequence_number, key, payload   JMESPath over the step
    create       make Batches and Items that do not exist
    max_attempts JMESPath to how many attempts the engine makes; None: what `final` of the steps shows
    """

    name: str
    engine: str = "*"
    workflow: str = "*"
    automation: str = "*"
    steps: str = "*"
    where: str | None = None
    leaves: bool = True
    each: str | None = None
    batch: str | None = None
    batch_payload: str | None = None
    sequence_number: str | None = None
    key: str | None = None
    payload: str | None = None
    create: bool = False
    max_attempts: str | None = None

    def matches(self, engine: str, workflow: str, automation: str) -> bool:
        """Whether the patterns select an instance that counts for a Run of an Automation."""
        given = ((engine, self.engine), (workflow, self.workflow), (automation, self.automation))
        return all(fnmatch.fnmatchcase(name, pattern) for name, pattern in given)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long what grows is kept, in days. What a kept Run's history needs is never removed."""

    observations_days: float = 90.0
    outbox_days: float = 14.0
    quarantine_days: float = 30.0
    deliveries_days: float = 14.0
    dead_deliveries_days: float = 90.0
    audit_days: float = 365.0


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The `[server]` table.

    listen            ADDRESS:PORT; port 0 leaves the choice to the system
    public_url        what people and engines call it by, where that is another address: a proxy's
    trusted_proxies   addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed
    auth              "required", or "local": on loopback, reading is free for whoever is on this machine
    requests_per_minute   of one token, or of one address without; twice as many may come at once
    """

    enabled: bool = True
    listen: str = "127.0.0.1:8765"
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    auth: str = "local"
    session_ttl_s: float = 43200.0
    requests_per_minute: int = 1200
    max_body_bytes: int = 1 << 20

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def is_local(self) -> bool:
        """Whether it is reached from this machine alone, as far as is known: no other address, nobody in between."""
        return ip_address(self.address[0]).is_loopback and not self.public_url and not self.trusted_proxies


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """The `[tracing]` table: where spans are sent, and of how many traces (0 to 1)."""

    endpoint: str
    service: str = "runlink"
    sample_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration, settled.

    store_url        never holds a password; `store_password` refers to it, for PostgreSQL
    """

    store_url: str
    store_password: Secret | None = None
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    links: tuple[LinkRule, ...] = ()
    automations: Mapping[str, Policy] = field(default_factory=dict)
    subscriptions: tuple[Subscription, ...] = ()
    items: tuple[ItemRule, ...] = ()
    retention: Retention = field(default_factory=Retention)
    server: ServerSettings = field(default_factory=ServerSettings)
    tracing: Tracing | None = None
    disabled_plugins: frozenset[str] = frozenset()
    path: Path | None = None

    def named_automations(self) -> list[str]:
        """The automations that rules and policies name, each once."""
        return list(dict.fromkeys([*self.automations, *(rule.automation for rule in self.links if rule.automation)]))
