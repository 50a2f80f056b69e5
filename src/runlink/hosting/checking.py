"""Reaching engines to see whether they answer, each on a thread that nobody waits for longer than its time.

`runlink engines test` and `runlink doctor` come here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from runlink.application.settings import EngineSettings
from runlink.hosting.errors import HostingError
from runlink.hosting.hosted import HostedAdapter, build_adapter, one_line
from runlink.hosting.loader import PluginHost
from runlink.spi import AdapterError, EngineInfo


def check_engines(
    chosen: Sequence[EngineSettings], plugins: PluginHost, *, timeout_s: float, now: Callable[[], datetime]
) -> list[dict[str, Any]]:
    """What each engine's `check` came to, all at once; one that does not answer in time has failed.

    Keys: `engine`, `ok`, `product`, `version`, `warnings`, `error` (in words, without secrets), `skew_s`, `duration_s`,
    `isolation`, `python` and, of an adapter in a process of its own, `start_s`: what that took to begin.
    """
    checks = [_Check(engine, plugins, timeout_s, now) for engine in chosen]
    until = time.monotonic() + timeout_s + 1.0
    for one in checks:
        one.start()
    for one in checks:
        one.join(max(0.0, until - time.monotonic()))
    return [one.result() for one in checks]


class _Check(threading.Thread):
    def __init__(
        self, engine: EngineSettings, plugins: PluginHost, timeout_s: float, now: Callable[[], datetime]
    ) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._plugins = plugins
        self._timeout_s = timeout_s
        self._now = now
        self._hosted: HostedAdapter | None = None
        self._found: dict[str, Any] = {}
        self._start_s: float | None = None
        self._started_at = time.monotonic()

    def run(self) -> None:
        try:
            self._check()
        except BaseException as error:  # noqa: BLE001 - plugin code
            self._found = {"error": self._text(error), "duration_s": time.monotonic() - self._started_at}
        finally:
            if self._hosted is not None:
                self._hosted.close()

    def _check(self) -> None:
        adapter_class = self._plugins.adapter_for(self._engine)
        self._hosted = hosted = build_adapter(adapter_class, self._engine, now=self._now, since=self._now())
        if hosted.process is not None:
            self._start_s = time.monotonic() - self._started_at
        hosted.guard.begin_turn(self._started_at + self._timeout_s)
        info = hosted.adapter.check()
        if not isinstance(info, EngineInfo):
            raise TypeError(f"check() gave {type(info).__name__} where an EngineInfo belongs")
        self._found = {
            "ok": True,
            "product": info.product,
            "version": info.version,
            "warnings": [hosted.redact(warning) for warning in info.warnings],
            "skew_s": hosted.guard.skew_s,
            "duration_s": time.monotonic() - self._started_at,
        }

    def result(self) -> dict[str, Any]:
        """What is known now; a check that is still running has failed."""
        nothing: dict[str, Any] = {
            "ok": False,
            "product": None,
            "version": None,
            "warnings": [],
            "error": None,
            "skew_s": None,
            "isolation": self._engine.isolation,
            "python": str(self._engine.python) if self._engine.python else None,
            "start_s": self._start_s,
        }
        hung = {"error": f"no answer for {self._timeout_s:g} s", "duration_s": self._timeout_s}
        return {"engine": self._engine.name, **nothing, **(self._found or hung)}

    def _text(self, error: BaseException) -> str:
        ours = isinstance(error, AdapterError | HostingError)
        text = " ".join(str(error).split()) if ours else f"a bug of the adapter: {one_line(error)}"
        return self._hosted.redact(text) if self._hosted is not None else text
