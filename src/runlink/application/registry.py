"""The configuration's engines and automations as rows: what happens when either enters or leaves the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from runlink.application.errors import Unregistrable
from runlink.application.ports import UnitOfWork
from runlink.application.rules.rules import Linker, Rules
from runlink.application.settings import EngineSettings, Settings
from runlink.domain import Automation, Engine


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering came to. `changes` are lines for people."""

    engines: dict[str, Engine]
    rules: Rules
    changes: tuple[str, ...] = field(default=())


@dataclass(slots=True)
class Registering:
    """What registering would come to, and the rows that it would write; nothing is written yet."""

    engines: dict[str, Engine]
    rules: Rules
    changes: list[str] = field(default_factory=list)
    renamed: list[Engine] = field(default_factory=list)
    new: list[Engine] = field(default_factory=list)
    kept: list[Engine] = field(default_factory=list)
    gone: list[Engine] = field(default_factory=list)
    automations: list[Automation] = field(default_factory=list)


def register(uow: UnitOfWork, settings: Settings, linkers: Mapping[str, Linker] | None = None) -> Registered:
    """Makes the rows agree with the configuration; `linkers` are the plugins that rules may ask for keys.

    An engine that left the file is deactivated and its instances stay; one that comes back is the same row again, and
    `renamed_from` keeps the row under the new name. A changed type is refused with Unregistrable: another product's
    ids would be mixed with what is stored. Automations that rules or policies name are made when they are missing.
    """
    found = registering(uow, settings, linkers)
    for engine in (*found.renamed, *found.kept):  # a former name is free before another engine takes it
        uow.engines.update(engine)
    for engine in found.new:
        uow.engines.add(engine)
    for engine in found.gone:
        uow.engines.delete(engine)
    for automation in found.automations:
        uow.automations.add(automation)
    return Registered(found.engines, found.rules, tuple(found.changes))


def registering(uow: UnitOfWork, settings: Settings, linkers: Mapping[str, Linker] | None = None) -> Registering:
    """The same, looked at only. Raises Unregistrable where registering would."""
    found = Registering({}, Rules())
    stored = {engine.name: engine for engine in _all_engines(uow)}
    for wanted in settings.engines.values():
        _rename(wanted, stored, found)
    found.engines = {name: _engine(uow.actor, wanted, stored, found) for name, wanted in settings.engines.items()}
    for name, engine in stored.items():
        if engine.is_active and name not in found.engines:
            found.gone.append(engine)
            found.changes.append(f"engine {name}: deactivated; its instances stay")
    known = _automations(uow, settings, found)
    found.rules = Rules(settings.links, known, settings.automations, linkers or {}, settings.items)
    return found


def _all_engines(uow: UnitOfWork) -> Iterable[Engine]:
    after = None
    while page := uow.engines.list(after=after, limit=500, include_inactive=True):
        yield from page
        after = page[-1].id


def _rename(wanted: EngineSettings, stored: dict[str, Engine], found: Registering) -> None:
    """Before anything else, so that the former name is free for another engine of the same file."""
    former = wanted.renamed_from
    if former is None or former not in stored:
        return
    if wanted.name in stored:
        both = f"renamed_from has no effect, {former} is stored beside it; take it out"
        found.changes.append(f"engine {wanted.name}: {both}")
        return
    stored[wanted.name] = stored.pop(former)
    stored[wanted.name].update_details(name=wanted.name)
    found.renamed.append(stored[wanted.name])
    found.changes.append(f"engine {wanted.name}: renamed from {former}")


def _engine(actor: str, wanted: EngineSettings, stored: Mapping[str, Engine], found: Registering) -> Engine:
    engine = stored.get(wanted.name)
    if engine is None:
        engine = Engine(name=wanted.name, type=wanted.type, url=wanted.url or None)
        found.new.append(engine)
        found.changes.append(f"engine {wanted.name}: new, {wanted.type}{wanted.url and f' at {wanted.url}'}")
        return engine
    if engine.type.lower() != wanted.type.lower():
        raise Unregistrable(
            f"engines.{wanted.name}.type: is {wanted.type!r}, and the engine of this name is stored as "
            f"{engine.type!r}; give the new one another name (the old one's instances stay), or put the type back"
        )
    if not engine.is_active:
        engine.restore(by=actor)
        found.changes.append(f"engine {wanted.name}: active again")
    if engine.update_details(url=wanted.url or None):
        found.changes.append(f"engine {wanted.name}: now at {wanted.url or 'no address'}")
    if engine not in found.renamed:
        found.kept.append(engine)
    return engine


def _automations(uow: UnitOfWork, settings: Settings, found: Registering) -> dict[str, UUID]:
    """The automations that the configuration names, by the name as it is written there."""
    names = {name: name.strip() for name in settings.named_automations()}
    known = uow.ledger.automation_ids(names.values())
    for name in dict.fromkeys(names.values()):
        if name not in known:
            automation = Automation(name=name)
            found.automations.append(automation)
            known[name] = automation.id
            found.changes.append(f"automation {name}: new")
    return {written: known[name] for written, name in names.items()}
