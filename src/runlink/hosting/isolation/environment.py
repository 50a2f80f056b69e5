"""What the environment of another Python has to offer: asked of a process of its own. `PluginHost` comes here."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from runlink.hosting.checks import refusal
from runlink.hosting.errors import ProcessLost, PythonUnusable, UnknownEngineType
from runlink.hosting.isolation.messages import Describe, Environment, Failed, Logged, ToHost
from runlink.hosting.isolation.process import Limits, Process
from runlink.hosting.isolation.proxy import isolated
from runlink.spi import Adapter

_log: Final = logging.getLogger("runlink.hosting")


class Elsewhere:
    """The environments that engines name, each asked once, and the adapter classes made of what they say."""

    def __init__(self) -> None:
        self._environments: dict[Path, Environment | PythonUnusable] = {}
        self._classes: dict[tuple[Path, str], type[Adapter]] = {}
        self._lock = threading.Lock()

    def environment(self, python: Path) -> Environment:
        """What a Python has. Raises PythonUnusable."""
        with self._lock:
            if python not in self._environments:
                try:
                    self._environments[python] = environment(python)
                except PythonUnusable as error:
                    self._environments[python] = error
            told = self._environments[python]
        if isinstance(told, PythonUnusable):
            raise PythonUnusable(str(told))
        return told

    def adapter_class(self, python: Path, engine_type: str) -> type[Adapter]:
        """The class for an engine type, in any case, that runs its adapters there. Raises UnknownEngineType, and
        PythonUnusable."""
        wanted = engine_type.strip().lower()
        there = self.environment(python)
        if (python, wanted) not in self._classes:
            self._classes[python, wanted] = _class_of(there, python, wanted)
        return self._classes[python, wanted]


def _class_of(there: Environment, python: Path, wanted: str) -> type[Adapter]:
    told = next((adapter for adapter in there.adapters if adapter.name.lower() == wanted), None)
    if told is None:
        known = ", ".join(sorted(adapter.name.lower() for adapter in there.adapters)) or "none"
        refused = "".join(f"; {plugin['refused']}" for plugin in there.plugins if plugin.get("refused"))
        raise UnknownEngineType(
            f"no plugin of {python} brings the engine type {wanted!r}; install it there; its types: {known}{refused}"
        )
    adapter_class = isolated(told, python)
    if reason := refusal(adapter_class):
        raise UnknownEngineType(f"the plugin of {python} for the engine type {wanted!r} is refused: {reason}")
    return adapter_class


def environment(python: Path, limits: Limits | None = None) -> Environment:
    """The adapters and plugins that are installed for a Python. Takes as long as it takes to import them.

    Raises PythonUnusable, with what is to be done.
    """
    if not python.exists():
        raise PythonUnusable(
            f"{python} is not there; make it with `python3 -m venv`, and install runlink and the plugin there"
        )
    if not python.is_file():
        raise PythonUnusable(f"{python} is no program; give the path of a Python, such as {python}/bin/python")

    def heard(_process: Process, message: ToHost) -> None:
        if isinstance(message, Logged):
            _log.log(message.level, "%s: %s", python, message.text[:2000])

    try:
        process = Process(python, python.name, heard=heard, printed=lambda _line: None, limits=limits or Limits())
        told = process.first(Describe(), Environment)
    except ProcessLost as error:
        why = str(error).removesuffix("; it is started again").removeprefix("the adapter's process did not begin: ")
        raise PythonUnusable(why.replace("the adapter's process", f"{python}: its process")) from None
    process.close()
    if isinstance(told, Failed):
        raise PythonUnusable(f"{python} cannot load its plugins: {told.message}")
    environment: Environment = told
    return environment
