"""What a new configuration changes. The daemon comes here on SIGHUP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from runlink.application.policy import Policy
from runlink.application.problems import shown, toml_path
from runlink.application.settings import EngineSettings, ItemRule, LinkRule, Secret, Settings, Subscription


def diff(old: Settings, new: Settings) -> list[str]:
    """One line for each change, in the order of the file's sections; empty when nothing changes. No secrets."""
    return [
        *_store(old, new),
        *_engines(old.engines, new.engines),
        *_rules("links", old.links, new.links),
        *_rules("items", old.items, new.items),
        *_automations(old.automations, new.automations),
        *_subscriptions(old.subscriptions, new.subscriptions),
        *_fields("retention", old.retention, new.retention),
        *_server(old, new),
        *_tracing(old, new),
        *_plugins(old, new),
    ]


def _store(old: Settings, new: Settings) -> Iterator[str]:
    after = "needs a restart"
    if old.store_url != new.store_url:
        yield f"store.url: {_value(old.store_url)} -> {_value(new.store_url)} ({after})"
    if old.store_password != new.store_password:
        yield f"store.password: {_value(old.store_password)} -> {_value(new.store_password)} ({after})"


def _engines(old: Mapping[str, EngineSettings], new: Mapping[str, EngineSettings]) -> Iterator[str]:
    before = {engine.renamed_from: name for name, engine in new.items() if engine.renamed_from}
    for name in old:
        if name not in new and name not in before:
            yield f"{toml_path(('engines', name))}: removed; the engine is deactivated and its instances stay"
    for name, engine in new.items():
        former = name if name in old else engine.renamed_from
        if former is None or former not in old:
            yield f"{toml_path(('engines', name))}: added ({engine.type}{engine.url and f' at {engine.url}'})"
            continue
        if former != name:
            yield f"{toml_path(('engines', name))}: renamed from {former}"
        yield from _engine(toml_path(("engines", name)), old[former], engine)


def _engine(at: str, old: EngineSettings, new: EngineSettings) -> Iterator[str]:
    yield from _fields(at, old, new, but=("name", "options", "renamed_from", "webhook"))
    if old.webhook is None or new.webhook is None:
        if old.webhook is not new.webhook:
            yield f"{at}.webhook: {'removed' if new.webhook is None else 'added'}"
    else:
        yield from _fields(f"{at}.webhook", old.webhook, new.webhook)
    for key in sorted(old.options.keys() | new.options.keys()):
        was, now = old.options.get(key), new.options.get(key)
        if was != now:
            yield f"{at}.{key}: {_value(was)} -> {_value(now)}"


def _rules(kind: str, old: Sequence[LinkRule | ItemRule], new: Sequence[LinkRule | ItemRule]) -> Iterator[str]:
    before, after = {r.name: r for r in old}, {r.name: r for r in new}
    yield from (f"{kind} {name!r}: removed" for name in before if name not in after)
    for name, rule in after.items():
        if name in before:
            yield from _fields(f"{kind} {name!r}", before[name], rule)
        else:
            yield f"{kind} {name!r}: added"
    if [n for n in before if n in after] != [n for n in after if n in before]:
        yield f"{kind}: the order of the rules changed"


def _automations(old: Mapping[str, Policy], new: Mapping[str, Policy]) -> Iterator[str]:
    default = Policy()
    for name in [*old, *(name for name in new if name not in old)]:
        at = toml_path(("automations", name))
        yield from _fields(at, old.get(name, default), new.get(name, default))


def _server(old: Settings, new: Settings) -> Iterator[str]:
    yield from (f"{line} (needs a restart)" for line in _fields("server", old.server, new.server))


def _tracing(old: Settings, new: Settings) -> Iterator[str]:
    if old.tracing is None or new.tracing is None:
        if old.tracing is not new.tracing:
            yield f"tracing: {'removed' if new.tracing is None else 'added'} (needs a restart)"
        return
    yield from (f"{line} (needs a restart)" for line in _fields("tracing", old.tracing, new.tracing))


def _subscriptions(old: tuple[Subscription, ...], new: tuple[Subscription, ...]) -> Iterator[str]:
    before, after = {s.name: s for s in old}, {s.name: s for s in new}
    yield from (
        f"subscriptions {name!r}: removed; what was not sent is dropped" for name in before if name not in after
    )
    for name, one in after.items():
        if name in before:
            yield from _fields(f"subscriptions {name!r}", before[name], one)
        else:
            yield f"subscriptions {name!r}: added"


def _plugins(old: Settings, new: Settings) -> Iterator[str]:
    if old.disabled_plugins != new.disabled_plugins:
        was, now = sorted(old.disabled_plugins), sorted(new.disabled_plugins)
        yield f"plugins.disabled: {was} -> {now} (needs a restart)"


def _fields(at: str, old: Any, new: Any, but: tuple[str, ...] = ()) -> Iterator[str]:
    for field in fields(old):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if field.name not in but and was != now:
            yield f"{at}.{field.name}: {_value(was)} -> {_value(now)}"


def _value(value: Any) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(isinstance(v, Secret) for v in value)):
        return "(a table)"
    return shown(list(value) if isinstance(value, tuple) else str(value) if hasattr(value, "parts") else value)
