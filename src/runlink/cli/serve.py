"""`runlink serve`: the daemon and the server beside it, and what it does on signals."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from runlink.cli import logs, output, session
from runlink.cli.options import LogLevel, LogLevelOption

if TYPE_CHECKING:
    from runlink.bootstrap import Runlink
    from runlink.daemon import Daemon
    from runlink.http import HttpServer

log = logging.getLogger("runlink.serve")

STOP_S = 4.5
"""How long the daemon may take to end after SIGTERM; then the process leaves it behind, as a crash would."""
SERVER_STOP_S = 3.0
"""How long the server may take, counted from the daemon's end; it was told at the same time."""
LOOK_S = 1.0
"""How often the main thread looks for signals. One that comes just before a wait begins, or to another thread, does
not end the wait (https://docs.python.org/3/library/signal.html#execution-of-python-signal-handlers)."""
_ENDED = 0


def register(main: typer.Typer) -> None:
    """Adds the command of this module."""
    main.command(rich_help_panel="Run")(serve)


def serve(context: typer.Context, log_level: LogLevelOption = LogLevel.INFO) -> None:
    """Follow every engine, and answer at server.listen, until SIGTERM or Ctrl-C. SIGHUP reads the configuration
    again."""
    logs.configure(log_level, context.obj.log_format)
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    with _signals_to(arrived, signal.SIGHUP), _running(context) as (runlink, fence):
        registered = runlink.register()
        for change in registered.changes:
            log.info("%s", change)
        daemon = runlink.daemon(registered, fence)
        _tell_engines(runlink)
        server = runlink.server(daemon)
        if server is not None:
            log.info("answering at %s", server.url)
        try:
            _run(arrived, runlink, daemon, fence, server)
        finally:
            _end(server)
    log.info("stopped")


@contextmanager
def _running(context: typer.Context) -> Iterator[tuple[Runlink, int]]:
    from runlink.bootstrap import tracing_of

    with session.whole(context) as runlink, tracing_of(runlink.settings), runlink.lease() as fence:
        yield runlink, fence


def _tell_engines(runlink: Runlink) -> None:
    engines = runlink.settings.engines.values()
    for engine in engines:
        every = output.took(runlink.interval_s(engine))
        log.info("engine %s: %s at %s, every %s", engine.name, engine.type, engine.url or "no address", every)
    if not engines:
        log.warning("no engine is configured; add [engines.NAME] to the configuration and send SIGHUP")


def _end(server: HttpServer | None) -> None:
    """The server gives up its port; a request that does not end is left behind."""
    if server is not None:
        server.stop()
        if not server.join(SERVER_STOP_S):
            log.warning("some requests did not end in time and are left behind")
            _leave(0)


def _run(
    arrived: queue.SimpleQueue[int], runlink: Runlink, daemon: Daemon, fence: int, server: HttpServer | None
) -> None:
    """Runs the daemon and reloads on threads of their own, so that this one is free for signals whatever those wait
    for: a reload asks the Python of each engine that names one."""
    failure: list[BaseException] = []
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def reloads() -> None:
        while True:
            asked.get()
            _reload(runlink, daemon, fence)

    def work() -> None:
        try:
            daemon.run()
        except BaseException as error:  # noqa: BLE001 - raised again on the main thread
            failure.append(error)
        finally:
            arrived.put(_ENDED)

    with _signals_to(arrived, signal.SIGTERM, signal.SIGINT):
        threading.Thread(target=work, name="runlink-daemon", daemon=True).start()
        threading.Thread(target=reloads, name="runlink-reload", daemon=True).start()
        _obey(arrived, daemon, server, lambda: asked.put(signal.SIGHUP))
    if failure:
        raise failure[0]


def _obey(
    arrived: queue.SimpleQueue[int], daemon: Daemon, server: HttpServer | None, reload: Callable[[], None]
) -> None:
    """Does what each signal says until the daemon has ended."""
    until: float | None = None
    while True:
        wait_s = LOOK_S if until is None else max(0.0, min(LOOK_S, until - time.monotonic()))
        try:
            number = arrived.get(timeout=wait_s)
        except queue.Empty:
            if until is None or time.monotonic() < until:
                continue
            log.warning("the daemon did not end in %g s and is left behind; nothing that was stored is lost", STOP_S)
            _leave(0)
        if number == _ENDED:
            return
        if number == signal.SIGHUP:
            if until is None:
                reload()
        elif until is None:
            log.info("stopping")
            until = time.monotonic() + STOP_S
            if server is not None:
                server.stop()
            daemon.stop()
        else:
            log.warning("stopped at once, because it was asked twice")
            _leave(1)


def _reload(runlink: Runlink, daemon: Daemon, fence: int) -> None:
    from runlink.config import ConfigError
    from runlink.domain import DomainError
    from runlink.hosting import HostingError
    from runlink.spi import AdapterError
    from runlink.store import StoreError

    try:
        changes = runlink.reload(daemon, fence)
    except (ConfigError, DomainError, HostingError, AdapterError, StoreError) as error:
        log.error("the configuration stays as it was: %s", error)  # noqa: TRY400 - written for operators
        return
    except Exception:
        log.exception("a bug in runlink: the configuration could not be read again")
        return
    log.info("the configuration was read again; %s", "it changes:" if changes else "nothing changes")
    for change in changes:
        log.info("%s", change)


@contextmanager
def _signals_to(arrived: queue.SimpleQueue[int], *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, lambda got, _frame: arrived.put(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(code: int) -> None:
    """Ends the process without waiting for anything; the operating system frees the lock."""
    logging.shutdown()
    os._exit(code)
