"""Loads plugins one by one, so that a broken one costs itself only. Bootstrap and the CLI come here.

pluggy's own `load_setuptools_entrypoints` has no guard round a plugin's import, so the loop is ours.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Self

import msgspec
import pluggy

from runlink.application.problems import suggestion
from runlink.application.rules.keys import RuleFailed
from runlink.application.rules.rules import Linker
from runlink.application.settings import EngineSettings
from runlink.hosting.checks import capabilities, refusal
from runlink.hosting.errors import PluginError, UnknownEngineType
from runlink.hosting.grades import Grade, read_grade
from runlink.hosting.hosted import one_line
from runlink.hosting.isolation import isolated
from runlink.hosting.isolation.environment import Elsewhere
from runlink.spi import Adapter, Observation, hooks

_log = logging.getLogger("runlink.hosting")

EventSubscriber = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """One plugin as `runlink plugins list` shows it; `refused` is the sentence why, None when it is loaded.

    `grade` is what its grade file claims; `experimental`: never run against a live engine, or it does not say.
    """

    name: str
    distribution: str | None = None
    version: str | None = None
    engine_types: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    refused: str | None = None
    package: str | None = None
    grade: str | None = None
    experimental: bool = True


@dataclass(frozen=True)
class _Candidate:
    name: str
    load: Callable[[], object]
    distribution: str | None = None
    version: str | None = None


class _Refusal(Exception):
    """Why the plugin at hand is not taken."""


class PluginHost:
    """The plugins of this process: those that were taken, and those that were not, with the reason."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self._specs = {name for name, value in vars(hooks).items() if hasattr(value, f"{hooks.PROJECT}_spec")}
        self._adapters: dict[str, type[Adapter]] = {}
        self._owners: dict[str, str] = {}
        self._plugins: list[PluginInfo] = []
        self._refused: dict[str, str] = {}
        self._elsewhere = Elsewhere()

    @classmethod
    def load(
        cls,
        disabled: Iterable[str] = (),
        extra: Iterable[tuple[str, object]] = (),
        *,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Finds and loads all plugins of the entry-point group `runlink`, then `extra`.

        disabled   plugin names to leave out, as `acme` or `no:acme`, in any case
        extra      (name, module or object, or a dotted module path) pairs, loaded whatever the environment says
        environ    default os.environ. `RUNLINK_DISABLE_PLUGIN_AUTOLOAD=1` loads `extra` only;
                   `RUNLINK_STRICT_PLUGINS=1` raises PluginError at the first plugin that is refused

        A refused plugin is logged once and listed in `refused`; nothing else is raised.
        """
        environ = os.environ if environ is None else environ
        host = cls()
        strict = _flag(environ, "RUNLINK_STRICT_PLUGINS")
        off = {name.lower().removeprefix("no:") for name in disabled}
        found = [] if _flag(environ, "RUNLINK_DISABLE_PLUGIN_AUTOLOAD") else list(_installed())
        candidates = [*found, *(_given(name, plugin) for name, plugin in extra)]
        for candidate in candidates:
            host._take(candidate, off=candidate.name.lower() in off, strict=strict)
        for name in sorted(off - {c.name.lower() for c in candidates}):
            near = suggestion(name, (c.name for c in candidates))
            _log.warning("there is no plugin %r to leave out%s", name, near)
        return host

    @property
    def adapters(self) -> Mapping[str, type[Adapter]]:
        """Engine type, in lower case -> adapter class."""
        return MappingProxyType(self._adapters)

    @property
    def plugins(self) -> tuple[PluginInfo, ...]:
        """Every plugin that was found, in the order they were tried."""
        return tuple(self._plugins)

    @property
    def refused(self) -> Mapping[str, str]:
        """Plugin name -> one sentence why it is not loaded. A plugin that was left out on purpose is not here."""
        return MappingProxyType(self._refused)

    @property
    def event_subscribers(self) -> list[tuple[str, EventSubscriber]]:
        """(plugin name, function) for each plugin with the hook `runlink_event`; call them one by one."""
        hook = self._manager.hook.runlink_event
        found: list[tuple[str, EventSubscriber]] = []
        for implementation in hook.get_hookimpls():
            only = self._only("runlink_event", implementation.plugin)
            found.append((implementation.plugin_name, functools.partial(_call_event, only)))
        return sorted(found, key=lambda pair: pair[0])

    @property
    def linkers(self) -> Mapping[str, Linker]:
        """Plugin name, in lower case -> its hook `runlink_link`; whatever that raises comes out as RuleFailed."""
        found: dict[str, Linker] = {}
        for implementation in self._manager.hook.runlink_link.get_hookimpls():
            name = implementation.plugin_name
            found[name.lower()] = functools.partial(_call_link, name, self._only("runlink_link", implementation.plugin))
        return MappingProxyType(found)

    def _only(self, hook: str, plugin: object) -> Any:
        """A hook of one plugin alone."""
        return self._manager.subset_hook_caller(
            hook, [p for _, p in self._manager.list_name_plugin() if p is not plugin]
        )

    def adapter_class(self, engine_type: str) -> type[Adapter]:
        """The adapter for an engine type, in any case. Raises UnknownEngineType, naming the known ones."""
        try:
            return self._adapters[engine_type.strip().lower()]
        except KeyError:
            known = ", ".join(sorted(self._adapters)) or "none, for no plugin is loaded"
            near = suggestion(engine_type.strip().lower(), self._adapters)
            raise UnknownEngineType(
                f"no plugin brings the engine type {engine_type!r}{near}; known types: {known}. "
                "See `runlink plugins list`"
            ) from None

    def adapter_for(self, settings: EngineSettings) -> type[Adapter]:
        """The adapter of an engine, in this process or in one of its own, as its settings say.

        Raises UnknownEngineType, and PythonUnusable. Of another Python it is asked once what it has.
        """
        if settings.isolation != "process":
            return self.adapter_class(settings.type)
        if settings.python is not None:
            return self._elsewhere.adapter_class(settings.python, settings.type)
        return isolated(self.adapter_class(settings.type))

    def elsewhere(self, python: Path) -> tuple[PluginInfo, ...]:
        """The plugins of another Python's environment. Raises PythonUnusable."""
        return tuple(msgspec.convert(plugin, PluginInfo) for plugin in self._elsewhere.environment(python).plugins)

    def look_again(self) -> None:
        """Forgets what other environments have: something may have been installed there."""
        self._elsewhere = Elsewhere()

    def _take(self, candidate: _Candidate, *, off: bool, strict: bool) -> None:
        about: dict[str, Any] = {
            "name": candidate.name,
            "distribution": candidate.distribution,
            "version": candidate.version,
        }
        if off:
            self._plugins.append(PluginInfo(**about, refused=f"left out by -p no:{candidate.name}"))
            return
        try:
            plugin, classes = self._loaded(candidate)
        except _Refusal as reason:
            sentence = f"plugin {_title(candidate)} is refused: {reason}"
            self._refused[_key(candidate, self._refused)] = sentence
            self._plugins.append(PluginInfo(**about, refused=sentence))
            if strict:
                raise PluginError(f"{sentence} (fatal because of RUNLINK_STRICT_PLUGINS)") from reason.__cause__
            _log.warning("%s", sentence)
            return
        for cls in classes:
            self._adapters[cls.name.lower()] = cls
            self._owners[cls.name.lower()] = candidate.name
        can = {c for cls in classes for c in capabilities(cls)}
        ordered = tuple(c for c in ("poll", "refetch", "watch", "receive") if c in can)
        types = tuple(cls.name.lower() for cls in classes)
        package = plugin.__name__ if isinstance(plugin, ModuleType) else None
        told = read_grade(package) if package else Grade()
        about |= {"package": package, "grade": told.grade, "experimental": told.experimental}
        self._plugins.append(PluginInfo(**about, engine_types=types, capabilities=ordered))

    def _loaded(self, candidate: _Candidate) -> tuple[object, list[type[Adapter]]]:
        """A plugin that is now registered, and its adapter classes. Raises _Refusal, with nothing left behind."""
        plugin = _guarded("importing it failed", candidate.load)
        if plugin is None:
            raise _Refusal("its entry point leads to None; let it name a module")
        _guarded("its hooks cannot be read", lambda: self._check_hooks(plugin))
        if candidate.name in (name for name, _ in self._manager.list_name_plugin()):
            raise _Refusal(f"the plugin name {candidate.name!r} is taken by another that was loaded before")
        _guarded("its hooks do not fit", lambda: self._manager.register(plugin, candidate.name))
        try:
            classes: list[type[Adapter]] = _guarded("its hook runlink_adapters failed", lambda: self._classes(plugin))
        except BaseException:
            self._manager.unregister(plugin)
            raise
        return plugin, classes

    def _check_hooks(self, plugin: object) -> None:
        implemented = 0
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                implemented += 1
                hook = options.get("specname") or attribute
                if hook not in self._specs:
                    raise _Refusal(f"it implements {hook!r}, which is no hook{suggestion(hook, self._specs)}")
            elif attribute in self._specs:
                raise _Refusal(f"its function {attribute} is not marked; write @runlink.spi.hookimpl above it")
        if not implemented:
            raise _Refusal(f"it implements no hook; known hooks: {', '.join(sorted(self._specs))}")

    def _classes(self, plugin: object) -> list[type[Adapter]]:
        brought = self._only("runlink_adapters", plugin)()
        classes: list[type[Adapter]] = []
        taken = dict(self._owners)
        for candidate in (cls for part in brought for cls in part):
            reason = refusal(candidate)
            if reason:
                raise _Refusal(reason)
            name = candidate.name.lower()
            if name in taken:
                raise _Refusal(f"the engine type {name!r} is taken by plugin {taken[name]!r}")
            taken[name] = "itself"
            classes.append(candidate)
        return classes


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """Runs plugin code: whatever it raises, also SystemExit, is the plugin's refusal; only Ctrl-C passes."""
    try:
        return call()
    except (KeyboardInterrupt, _Refusal):
        raise
    except BaseException as error:
        raise _Refusal(f"{what}: {one_line(error)}") from error


def _installed() -> Iterator[_Candidate]:
    """The entry points of all distributions, by name; one that is listed twice on the path counts once."""
    seen: set[tuple[str, str, str | None]] = set()
    for point in sorted(importlib.metadata.entry_points(group=hooks.PROJECT), key=lambda p: (p.name.lower(), p.value)):
        name = point.dist.name if point.dist else None
        if (point.name, point.value, name) not in seen:
            seen.add((point.name, point.value, name))
            yield _Candidate(point.name, point.load, name, point.dist.version if point.dist else None)


def _given(name: str, plugin: object) -> _Candidate:
    return _Candidate(name, (lambda: importlib.import_module(plugin)) if isinstance(plugin, str) else (lambda: plugin))


def _call_event(only: Any, event: Mapping[str, Any]) -> None:
    only(event=event)


def _call_link(name: str, only: Any, observation: Observation, engine: str) -> list[Any]:
    """Keys as a list. Whatever plugin code raises, also SystemExit, is that rule's failure; only Ctrl-C passes."""
    try:
        answers = only(observation=observation, engine=engine)
        keys = answers[0] if answers else []
        return [keys] if isinstance(keys, str) else list(keys)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise RuleFailed(f"run_key: the hook runlink_link of plugin {name!r} failed: {one_line(error)}") from error


def _title(candidate: _Candidate) -> str:
    return f"{candidate.name!r} ({candidate.distribution})" if candidate.distribution else repr(candidate.name)


def _key(candidate: _Candidate, known: Mapping[str, str]) -> str:
    return candidate.name if candidate.name not in known else _title(candidate)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")
