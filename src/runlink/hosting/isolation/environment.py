"""What the environment of another Python has to offer: asked of a process of its own. `PluginHost` comes here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from runlink.hosting.errors import ProcessLost, PythonUnusable
from runlink.hosting.isolation.messages import Describe, Environment, Failed, Logged, ToHost
from runlink.hosting.isolation.process import Limits, Process

_log: Final = logging.getLogger("runlink.hosting")


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
        raise PythonUnusable(str(error).removesuffix("; it is started again")) from None
    process.close()
    if isinstance(told, Failed):
        raise PythonUnusable(f"{python} cannot load its plugins: {told.message}")
    environment: Environment = told
    return environment
