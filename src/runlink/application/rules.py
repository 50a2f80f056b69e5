"""The link rules of the configuration, made ready to be asked. Pure: no store, no clock."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

import jmespath
from jmespath.exceptions import JMESPathError

from runlink.application.policy import Policy
from runlink.application.settings import LinkRule
from runlink.domain import OrchestrationInstance

_DEFAULT = Policy()

KeyOf = Callable[[Mapping[str, Any]], Any]


def view(instance: OrchestrationInstance, engine: str) -> dict[str, Any]:
    """An instance as `run_key` sees it: the observation's fields by name, with `engine`; times as ISO 8601 text."""
    return {
        "engine": engine,
        "external_id": instance.external_id,
        "workflow": instance.workflow,
        "status": instance.status.value,
        "native_status": instance.native_status,
        "attempt": instance.attempt,
        "url": instance.url,
        "parent": instance.parent_external_id,
        "parameters": instance.parameters,
        "labels": instance.labels,
        "message": instance.message,
        "metadata": instance.instance_metadata,
        "created_at": instance.queued_at and instance.queued_at.isoformat(),
        "started_at": instance.started_at and instance.started_at.isoformat(),
        "finished_at": instance.finished_at and instance.finished_at.isoformat(),
    }


def compile_key(expression: str) -> KeyOf:
    """A JMESPath, ready to be searched with. Raises ValueError with the place for one that cannot be parsed.

    A plain path (`parameters.RUN_ID`) is walked directly: it is what nearly all rules are, and jmespath takes ten
    times as long for it.
    """
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as error:
        raise ValueError(f"{expression!r} is not a JMESPath: {error}") from error
    path = _plain_path(compiled.parsed)
    if path is None:
        search: KeyOf = compiled.search
        return search

    def walk(data: Any) -> Any:
        for name in path:
            if not isinstance(data, Mapping):
                return None
            data = data.get(name)
        return data

    return walk


def _plain_path(node: Mapping[str, Any]) -> list[str] | None:
    if node["type"] == "field":
        return [node["value"]]
    if node["type"] == "subexpression":
        parts = [_plain_path(child) for child in node["children"]]
        return None if None in parts else [name for part in parts if part for name in part]
    return None


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """A rule with its key compiled."""

    rule: LinkRule
    key_of: KeyOf | None


@dataclass
class Rules:
    """All link rules, and the policies of automations by name. `automations` maps the automations they name to ids."""

    rules: tuple[LinkRule, ...] = ()
    automations: dict[str, UUID] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ready = tuple(ReadyRule(rule, compile_key(rule.run_key) if rule.run_key else None) for rule in self.rules)
        self._by_workflow: dict[tuple[str, str], tuple[ReadyRule, ...]] = {}

    def matching(self, engine: str, workflow: str | None) -> tuple[ReadyRule, ...]:
        """The rules for a workflow of an engine, in the order of the file."""
        key = (engine, workflow or "")
        found = self._by_workflow.get(key)
        if found is None:
            if len(self._by_workflow) > 100_000:
                self._by_workflow.clear()
            found = tuple(ready for ready in self._ready if ready.rule.matches(*key))
            self._by_workflow[key] = found
        return found

    def inherit_for(self, engine: str) -> bool:
        """Whether any rule of this engine hands Runs down from parents."""
        return any(r.inherit is not None and fnmatch.fnmatchcase(engine, r.engine) for r in self.rules)

    def policy(self, automation_id: UUID) -> Policy:
        """What decides on the Runs of an automation."""
        return self._policies.get(automation_id, _DEFAULT)

    def silence_limits(self) -> dict[UUID, float]:
        """How long open Runs may be without news, in seconds, for each automation that has such a limit."""
        return {one: p.silent_after_s for one, p in self._policies.items() if p.silent_after_s is not None}

    @cached_property
    def _policies(self) -> dict[UUID, Policy]:
        known = self.automations
        return {known[name]: policy for name, policy in self.policies.items() if name in known}
