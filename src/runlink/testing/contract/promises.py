"""How a promise is written down and kept apart from those that do not apply. The rest of the contract comes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from runlink.hosting.options import secret_places
from runlink.spi import Adapter, AdapterError
from runlink.testing.host import Host
from runlink.testing.scripted import FEATURES, ScriptedEngine, ScriptedRun

Test = TypeVar("Test", bound=Callable[..., None])

_PROMISE: Final = "runlink_promise"


class PromiseBroken(AssertionError):
    """The adapter does not do what the interface promises; the message says what was seen."""


def promise(kept: object, seen: str) -> None:
    """Raises PromiseBroken with what was seen, unless `kept`."""
    if not kept:
        raise PromiseBroken(seen)


@dataclass(frozen=True)
class Applies:
    """When a promise is one that the adapter makes: it fills in these classes, the engine has these features."""

    classes: tuple[Any, ...]
    features: tuple[str, ...]
    secret: bool = False

    def reason_not(self, adapter: type[Adapter], engine: type[ScriptedEngine]) -> str | None:
        """Why the promise is none of this adapter's; None when it is."""
        missing = [cls.__name__ for cls in self.classes if not issubclass(adapter, cls)]
        if missing:
            return f"the adapter does not fill in {', '.join(missing)}"
        if lacking := [f"{name}: {engine.lacks[name]}" for name in self.features if name in engine.lacks]:
            return f"the engine lacks {'; '.join(lacking)}"
        if self.secret and not _has_secret(adapter):
            return "the adapter's configuration has no secret"
        return None


def promises(*classes: Any, features: tuple[str, ...] = (), secret: bool = False) -> Callable[[Test], Test]:
    """Marks a test of the contract with what it applies to."""

    def mark(test: Test) -> Test:
        setattr(test, _PROMISE, Applies(classes, features, secret))
        return test

    return mark


@dataclass
class World:
    """One scripted engine and the host that follows it."""

    engine: ScriptedEngine
    host: Host


class Contract:
    """What the parts of the contract share: the author's words, and a world made from them.

    adapter        the class under test
    engine         the author's ScriptedEngine
    config         the plugin's own keys; secrets as plain strings
    exempt         test name -> why this adapter need not keep that promise
    patience_s     seconds the clock moves on between one turn and the next where a change may be seen late by design
    examples       how many lives are drawn
    listed         runs in a long listing; less where the adapter looks at fewer by design
    """

    adapter: ClassVar[type[Adapter]]
    engine: ClassVar[type[ScriptedEngine]]
    config: ClassVar[Mapping[str, Any]] = {}
    exempt: ClassVar[Mapping[str, str]] = {}
    patience_s: ClassVar[float] = 60.0
    examples: ClassVar[int] = 25
    listed: ClassVar[int] = 250
    inapplicable: ClassVar[Mapping[str, str]] = {}
    """test name -> why it is not run, filled in by the kit; `exempt` included."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if getattr(cls, "adapter", None) is None or getattr(cls, "engine", None) is None:
            return
        marked = {name: mark for name in dir(cls) if (mark := getattr(getattr(cls, name), _PROMISE, None))}
        if unknown := sorted(cls.exempt.keys() - marked.keys()):
            raise TypeError(f"{cls.__name__}.exempt names {', '.join(unknown)}; the contract has no such test")
        if unknown := sorted(cls.engine.lacks.keys() - FEATURES.keys()):
            raise TypeError(f"{cls.engine.__name__}.lacks names {', '.join(unknown)}; known: {', '.join(FEATURES)}")
        reasons = {name: mark.reason_not(cls.adapter, cls.engine) for name, mark in marked.items()}
        cls.inapplicable = {name: reason for name, reason in reasons.items() if reason} | dict(cls.exempt)
        for name in cls.inapplicable:
            setattr(cls, name, None)  # nothing that pytest would collect

    # --- worlds ------------------------------------------------------------------------------------------------------

    @contextmanager
    def world(self, **options: Any) -> Iterator[World]:
        """An engine without runs and a host before its first turn. `options` are those of Host."""
        with self.engine() as engine, self.host(engine, **options) as host:
            yield World(engine, host)

    def host(self, engine: ScriptedEngine, **options: Any) -> Host:
        """A host of its own for an engine that may have others."""
        return Host(self.adapter, engine.url, now=lambda: engine.now, config=self.config, **options)

    def settle(self, world: World, turns: int = 3) -> None:
        """Turns until everything that can be known is known."""
        for _ in range(turns):
            world.engine.advance(self.patience_s)
            world.host.turn()

    def disturbed_turn(self, host: Host, **options: Any) -> AdapterError | None:
        """A turn that may fail as an adapter may; gives that error. Anything else is a bug, and raised."""
        try:
            host.turn(**options)
        except AdapterError as error:
            return error
        return None

    # --- what is compared --------------------------------------------------------------------------------------------

    def agree(self, world: World) -> None:
        """Each run that the engine has is in the store, in the engine's own words."""
        table = world.host.table()
        for run in world.engine.runs:
            self.agrees(world, run, table)

    def agrees(self, world: World, run: ScriptedRun, table: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The row of one run, which must say what the engine says."""
        table = world.host.table() if table is None else table
        name = world.engine.external_id(run)
        row: dict[str, Any] | None = table.get(name)
        if row is None:
            raise PromiseBroken(f"{_named(run)} is not told as {name!r}; told are {len(table)}: {sorted(table)[:5]}")
        meaning = world.engine.statuses.get(run.native, run.status)
        for what, told, true in (
            ("status", row["status"], meaning),
            ("workflow", row["workflow"], run.workflow),
            ("vanished", row["vanished"], False),
        ):
            promise(told == true, f"{_named(run)}: {what} is told as {told!r}, and is {true!r}")
        return row


def _named(run: ScriptedRun) -> str:
    return f"run {run.number} of {run.workflow!r} ({run.native})"


def _has_secret(adapter: type[Adapter]) -> bool:
    names = adapter.config_schema.get("properties", {})
    return any(True for _ in secret_places(adapter.config_schema, dict.fromkeys(names, "")))
