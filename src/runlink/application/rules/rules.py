"""The link rules of the configuration, made ready to be asked. Pure: no store, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from jmespath.exceptions import JMESPathError

from runlink.application.policy import Policy
from runlink.application.rows import AttemptRow, StepRow
from runlink.application.rules.keys import (
    KeyOf,
    RuleFailed,
    as_key,
    as_values,
    compile_key,
    compile_template,
    observation,
    view,
)
from runlink.application.settings import ItemRule, KeyHook, KeyTemplate, LinkRule, NewRun, ParentRule
from runlink.domain import Engine, OrchestrationInstance
from runlink.spi import Observation

_DEFAULT = Policy()

Linker = Callable[[Observation, str], Iterable[Any]]
"""A plugin's hook `runlink_link`, guarded: (observation, engine's name) -> keys. Raises RuleFailed."""

_PLAIN = {
    "parameters": "parameters",
    "labels": "labels",
    "metadata": "instance_metadata",
    "external_id": "external_id",
    "workflow": "workflow",
    "url": "url",
}
"""Fields that are the same in an instance and in its view."""


class Asked:
    """An instance as it is asked by rules, its view made when the first of them needs it. `steps` and `attempts` are
    those at hand."""

    __slots__ = ("_view", "attempts", "engine", "instance", "steps")

    def __init__(
        self,
        instance: OrchestrationInstance,
        engine: Engine,
        steps: Sequence[StepRow] | None = None,
        attempts: Sequence[AttemptRow] | None = None,
    ) -> None:
        self.instance = instance
        self.engine = engine
        self.steps = steps
        self.attempts = attempts
        self._view: dict[str, Any] | None = None

    @property
    def view(self) -> dict[str, Any]:
        """What JMESPath searches."""
        if self._view is None:
            self._view = view(self.instance, self.engine, self.steps, self.attempts)
        return self._view


KeysOf = Callable[[Asked], list[str]]


class ReadyRule:
    """A rule with its expressions compiled. `topic` names what its `parent` compares: rows that were stored under an
    earlier meaning of the rule are never found under it."""

    def __init__(self, rule: LinkRule, linkers: Mapping[str, Linker]) -> None:
        self.rule = rule
        self._keys = [_way(way, linkers) for way in rule.keys]
        self._parent, self.topic = rule.parent, ""
        if rule.parent is not None:
            self._mine, self._theirs = compile_key(rule.parent.match), compile_key(rule.parent.other)
            self.topic = _topic(rule, rule.parent)
        self.reads_steps, self.reads_attempts = _reads(rule, "steps"), _reads(rule, "attempts")
        new = rule.create_run if isinstance(rule.create_run, NewRun) else NewRun()
        self._correlation_id = None if new.correlation_id == "{key}" else compile_template(new.correlation_id)
        self._created_by = None if new.created_by is None else compile_template(new.created_by)

    def keys(self, asked: Asked) -> list[str]:
        """The keys that the first way which finds any finds. Raises RuleFailed."""
        try:
            for way in self._keys:
                if found := way(asked):
                    return found
        except JMESPathError as error:
            raise RuleFailed(f"run_key: {_one_line(error)}") from error
        return []

    def new_run(self, asked: Asked, key: str) -> tuple[str, str | None]:
        """`correlation_id` and `created_by` (or None) of the Run it makes. Raises RuleFailed."""
        if self._correlation_id is None and self._created_by is None:
            return key, None
        data = asked.view | {"key": key}
        try:
            correlation_id = key if self._correlation_id is None else self._correlation_id(data)
            created_by = None if self._created_by is None else self._created_by(data)
        except JMESPathError as error:
            raise RuleFailed(f"create_run: {_one_line(error)}") from error
        if correlation_id is None:
            raise RuleFailed("create_run.correlation_id: a part of the template is not in this instance")
        return str(as_key(correlation_id)), created_by

    def asks(self, asked: Asked) -> list[str]:
        """The values by which this instance knows its parents. Raises RuleFailed."""
        return self._values("match", self._mine, asked)

    def offers(self, asked: Asked) -> list[str]:
        """The values by which a parent is known. Raises RuleFailed."""
        return self._values("with", self._theirs, asked)

    def _values(self, where: str, expression: KeyOf, asked: Asked) -> list[str]:
        try:
            return as_values(expression(asked.view))
        except JMESPathError as error:
            raise RuleFailed(f"parent.{where}: {_one_line(error)}") from error


def _way(way: str | KeyTemplate | KeyHook, linkers: Mapping[str, Linker]) -> KeysOf:
    if isinstance(way, KeyHook):
        return _hook_way(way.plugin, linkers)
    if isinstance(way, KeyTemplate):
        fill = compile_template(way.template)
        return lambda asked: _listed(as_key(fill(asked.view)))
    search = compile_key(way)
    root, _, name = way.partition(".")
    attribute = _PLAIN.get(root) if name.isidentifier() else None
    if attribute is None:
        return lambda asked: _listed(as_key(search(asked.view)))

    def walk(asked: Asked) -> list[str]:  # what nearly all rules are, without making a view
        fields = getattr(asked.instance, attribute)
        return _listed(as_key(fields.get(name))) if isinstance(fields, Mapping) else []

    return walk


def _reads(rule: LinkRule, name: str) -> bool:
    """Whether it may look at steps, or attempts; a hook looks at what it likes."""
    new = rule.create_run if isinstance(rule.create_run, NewRun) else NewRun()
    texts = [new.correlation_id, new.created_by or ""]
    texts += [way.template if isinstance(way, KeyTemplate) else str(way) for way in rule.keys]
    if rule.parent is not None:
        texts += [rule.parent.match, rule.parent.other]
    return any(name in text for text in texts) or any(isinstance(way, KeyHook) for way in rule.keys)


def _hook_way(plugin: str, linkers: Mapping[str, Linker]) -> KeysOf:
    linker = linkers.get(plugin.lower())

    def ask(asked: Asked) -> list[str]:
        if linker is None:
            raise RuleFailed(f"run_key: the plugin {plugin!r} is not loaded, or has no hook runlink_link")
        keys = (
            as_key(key) for key in linker(observation(asked.instance, asked.steps, asked.attempts), asked.engine.name)
        )
        return list(dict.fromkeys(key for key in keys if key is not None))

    return ask


def _listed(key: str | None) -> list[str]:
    return [] if key is None else [key]


def _topic(rule: LinkRule, parent: ParentRule) -> str:
    said = (rule.engine, rule.type, rule.workflow, sorted(rule.labels.items()), rule.attempt, parent)
    return hashlib.blake2b(repr(said).encode(), digest_size=12).hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


@dataclass(frozen=True, slots=True)
class _Selection:
    """The rules for one workflow of one engine. `fixed` says that neither labels nor attempt can change which apply."""

    rules: tuple[ReadyRule, ...]
    fixed: bool
    offering: tuple[ReadyRule, ...]


@dataclass
class Rules:
    """All link rules, and the policies of automations by name. `automations` maps the automations they name to their
    ids, `linkers` plugins (lower case) to their hook `runlink_link`; `items` are the rules for steps."""

    rules: tuple[LinkRule, ...] = ()
    automations: dict[str, UUID] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    linkers: Mapping[str, Linker] = field(default_factory=dict)
    items: tuple[ItemRule, ...] = ()

    def __post_init__(self) -> None:
        self._ready = tuple(ReadyRule(rule, self.linkers) for rule in self.rules)
        self._by_workflow: dict[tuple[str, str, str], _Selection] = {}
        self.by_name = {ready.rule.name: ready for ready in self._ready}
        self.by_topic = {ready.topic: ready for ready in self._ready if ready.topic}
        self.windowed = any(rule.within_s is not None for rule in self.rules)
        self.inherits = any(rule.inherit is not None for rule in self.rules)
        self.reads_steps = any(ready.reads_steps for ready in self._ready)
        self.reads_attempts = any(ready.reads_attempts for ready in self._ready)

    def with_linkers(self, linkers: Mapping[str, Linker]) -> Rules:
        """The same, and these plugins to ask."""
        return Rules(self.rules, self.automations, self.policies, linkers, self.items)

    def applying(self, engine: Engine, instance: OrchestrationInstance) -> Sequence[ReadyRule]:
        """The rules for an instance in the order of the file, down to the first with `stop = true`."""
        selected = self._selected(engine, instance.workflow or "")
        if selected.fixed:
            return selected.rules
        found = []
        for ready in selected.rules:
            if ready.rule.fits(instance.labels, instance.attempt):
                found.append(ready)
                if ready.rule.stop:
                    break
        return found

    def offering(self, engine: Engine, instance: OrchestrationInstance) -> Sequence[ReadyRule]:
        """The rules by which an instance may be another one's parent."""
        return self._selected(engine, instance.workflow or "").offering if self.by_topic else ()

    def reading_steps(self, engine: Engine, instance: OrchestrationInstance) -> bool:
        """Whether a rule that is asked about this instance may look at its steps."""
        return self.reads_steps and any(ready.reads_steps for ready in self._asked(engine, instance))

    def reading_attempts(self, engine: Engine, instance: OrchestrationInstance) -> bool:
        """Whether a rule that is asked about this instance may look at its attempts."""
        return self.reads_attempts and any(ready.reads_attempts for ready in self._asked(engine, instance))

    def _asked(self, engine: Engine, instance: OrchestrationInstance) -> Sequence[ReadyRule]:
        return *self.applying(engine, instance), *self.offering(engine, instance)

    def _selected(self, engine: Engine, workflow: str) -> _Selection:
        key = (engine.name, engine.type, workflow)
        found = self._by_workflow.get(key)
        if found is None:
            if len(self._by_workflow) > 100_000:
                self._by_workflow.clear()
            found = self._by_workflow[key] = self._select(key)
        return found

    def _select(self, key: tuple[str, str, str]) -> _Selection:
        rules = [ready for ready in self._ready if ready.rule.matches(*key)]
        fixed = not any(ready.rule.labels or ready.rule.attempt != "any" for ready in rules)
        if fixed:
            end = next((place for place, ready in enumerate(rules, 1) if ready.rule.stop), len(rules))
            rules = rules[:end]
        offering = [r for r in self.by_topic.values() if r.rule.parent is not None and r.rule.parent.selects(*key)]
        return _Selection(tuple(rules), fixed, tuple(offering))

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
