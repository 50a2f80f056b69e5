"""The configuration's engines and automations as rows: what happens when either enters or leaves the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from runlink.application.ports import UnitOfWork
from runlink.application.rules import Linker, Rules
from runlink.application.settings import EngineSettings, Settings
from runlink.domain import Automation, Engine, ValidationError


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering came to. `changes` are lines for people."""

    engines: dict[str, Engine]
    rules: Rules
    changes: tuple[str, ...] = field(default=())


def register(uow: UnitOfWork, settings: Settings, linkers: Mapping[str, Linker] | None = None) -> Registered:
    """Makes the rows agree with the configuration; `linkers` are the plugins that rules may ask for keys.

    An engine that left the file is deactivated and its instances stay; one that comes back is the same row again, and
    `renamed_from` keeps the row under the new name. A changed type is refused with ValidationError: another product's
    ids would be mixed with what is stored. Automations that rules or policies name are made when they are missing.
    """
    changes: list[str] = []
    stored = {engine.name: engine for engine in _all_engines(uow)}
    for wanted in settings.engines.values():
        _rename(uow, wanted, stored, changes)
    engines = {name: _register_engine(uow, wanted, stored, changes) for name, wanted in settings.engines.items()}
    for name, engine in stored.items():
        if engine.is_active and name not in engines:
            uow.engines.delete(engine)
            changes.append(f"engine {name}: deactivated; its instances stay")
    known = _register_automations(uow, settings, changes)
    rules = Rules(settings.links, known, settings.automations, linkers or {}, settings.items)
    return Registered(engines, rules, tuple(changes))


def _all_engines(uow: UnitOfWork) -> Iterable[Engine]:
    after = None
    while page := uow.engines.list(after=after, limit=500, include_inactive=True):
        yield from page
        after = page[-1].id


def _rename(uow: UnitOfWork, wanted: EngineSettings, stored: dict[str, Engine], changes: list[str]) -> None:
    """Before anything else, so that the former name is free for another engine of the same file."""
    former = wanted.renamed_from
    if former is None or former not in stored:
        return
    if wanted.name in stored:
        changes.append(f"engine {wanted.name}: renamed_from has no effect, {former} is stored beside it; take it out")
        return
    stored[wanted.name] = stored.pop(former)
    stored[wanted.name].update_details(name=wanted.name)
    uow.engines.update(stored[wanted.name])
    changes.append(f"engine {wanted.name}: renamed from {former}")


def _register_engine(uow: UnitOfWork, wanted: EngineSettings, stored: dict[str, Engine], changes: list[str]) -> Engine:
    engine = stored.get(wanted.name)
    if engine is None:
        engine = Engine(name=wanted.name, type=wanted.type, url=wanted.url or None)
        uow.engines.add(engine)
        changes.append(f"engine {wanted.name}: new, {wanted.type}{wanted.url and f' at {wanted.url}'}")
        return engine
    if engine.type.lower() != wanted.type.lower():
        raise ValidationError(
            f"engines.{wanted.name}.type: is {wanted.type!r}, and the engine of this name is stored as "
            f"{engine.type!r}; give the new one another name (the old one's instances stay), or put the type back"
        )
    if not engine.is_active:
        engine.restore(by=uow.actor)
        changes.append(f"engine {wanted.name}: active again")
    if engine.update_details(url=wanted.url or None):
        changes.append(f"engine {wanted.name}: now at {wanted.url or 'no address'}")
    uow.engines.update(engine)
    return engine


def _register_automations(uow: UnitOfWork, settings: Settings, changes: list[str]) -> dict[str, UUID]:
    """The automations that the configuration names, by the name as it is written there."""
    names = {name: name.strip() for name in settings.named_automations()}
    known = uow.ledger.automation_ids(names.values())
    for name in dict.fromkeys(names.values()):
        if name not in known:
            automation = Automation(name=name)
            uow.automations.add(automation)
            known[name] = automation.id
            changes.append(f"automation {name}: new")
    return {written: known[name] for written, name in names.items()}
