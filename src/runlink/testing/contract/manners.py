"""How every adapter behaves as a guest: it lets go when told, counts what it asks, keeps secrets and is quiet."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from runlink.application.settings import EngineSettings
from runlink.hosting.options import secret_places
from runlink.spi import AdapterError, Polls, Refetches
from runlink.testing.contract.promises import Contract, World, promise, promises
from runlink.testing.contract.stories import many, scenes, tell_a_life
from runlink.testing.engine import Reply
from runlink.testing.faults import FAULTS
from runlink.testing.recording import record, replay

LET_GO_S: Final = 1.0
"""How long a blocked call may go on after `close`."""
ALLOWED_S: Final = 3 * LET_GO_S
"""What the contract lets pass, for busy machines."""


class Manners(Contract):
    """The promises to the host."""

    @promises(Polls)
    def test_each_request_is_counted(self) -> None:
        """Whatever reaches the engine has passed the host's budget: the adapter uses the context's clients alone."""
        with self.world() as world:
            for _ in scenes(world):
                world.host.turn()
            many(world, self.listed)
            self.settle(world)
            counted, received = world.host.hosted.guard.requests, world.engine.requests
            promise(counted == received, f"the engine received {received} requests, and {counted} passed the budget")

    @promises(Polls)
    def test_a_spent_budget_is_waited_for(self) -> None:
        """When the budget of the turn is used up, the adapter does not go round it: what it raises is passed on."""
        with self.world(max_requests_per_minute=1) as world:
            many(world, self.listed)
            world.host.hosted.guard.begin_turn(time.monotonic() + 0.3)
            error: BaseException | None = None
            try:
                for _ in range(5):
                    world.host.adapter.check()
                    list(world.host.adapter.poll({}))
            except AdapterError as raised:
                error = raised
            promise(error is not None, "ten calls in a turn with a budget of one request raised nothing")
            promise(world.engine.requests <= 2, f"{world.engine.requests} requests were made with a budget of one")

    @promises(Polls)
    def test_close_unblocks_a_poll(self) -> None:
        """`close` from another thread ends a poll that waits for its answer, within a second."""
        with self.world(request_timeout_s=30.0) as world:
            world.engine.start()
            world.host.check()
            world.engine.fault = "hang"
            self.ends_when_closed(world, lambda: list(world.host.adapter.poll({})))

    @promises(Refetches)
    def test_close_unblocks_a_refetch(self) -> None:
        """The same for a refetch."""
        with self.world(request_timeout_s=30.0) as world:
            name = world.engine.external_id(world.engine.start())
            world.host.turn()
            world.engine.fault = "hang"
            self.ends_when_closed(world, lambda: list(world.host.adapter.refetch([name])))

    @promises()
    def test_close_may_be_repeated(self) -> None:
        """`close` twice, and before any request, is no error; afterwards nothing is asked any more."""
        with self.world() as world:
            world.host.adapter.close()
            world.host.adapter.close()
            world.host.restart()
            world.host.check()
            for _ in range(2):
                world.host.adapter.close()
                world.host.hosted.close()
            before = world.engine.requests
            with contextlib.suppress(AdapterError):
                world.host.check()
            promise(world.engine.requests == before, "a closed adapter still asks the engine")

    @promises(Polls)
    def test_it_is_quiet_when_all_is_well(self) -> None:
        """Nothing at INFO or above in the log, and nothing on stdout or stderr."""
        with self.world() as world, _overheard() as heard:
            for _ in scenes(world):
                world.host.turn()
        loud = [text for name, level, text in heard.records if level >= logging.INFO and name != "httpx"]
        promise(not loud, f"with nothing wrong, it logs {loud[:3]}")
        promise(not heard.printed(), f"with nothing wrong, it prints {heard.printed()[:200]!r}")

    @promises(Polls, secret=True)
    def test_no_secret_is_told(self) -> None:
        """The engine's secrets stand in no error, log line, observation or cursor, whatever the engine answers."""
        secrets = [
            value for _, value in secret_places(self.adapter.config_schema, self.config) if isinstance(value, str)
        ]
        promise(secrets, "config gives no secret; set the keys that the schema marks x-secret")
        with self.world(request_timeout_s=0.2) as world, _overheard() as heard:
            texts: list[str] = []
            tell_a_life(world)
            for fault in (None, *FAULTS, "echo"):
                world.engine.fault = fault if fault in FAULTS else None
                echo = _echoing(world) if fault == "echo" else contextlib.nullcontext()
                with echo:
                    world.host.restart()
                    for call in (world.host.check, lambda: list(world.host.adapter.poll({}))):
                        texts += _told(call)
            texts += [text for _, _, text in heard.records]
            for secret in secrets:
                shown = [text for text in texts if secret in text]
                promise(not shown, f"a secret is told in: {shown and shown[0].replace(secret, '[secret]')[:300]}")
                promise(secret not in heard.printed(), "a secret is printed")

    @promises(Polls)
    def test_a_recording_makes_the_same_tables(self) -> None:
        """What one turn asked and was told makes the same rows again: it asks the same in the same surroundings, by the
        context's clients alone. No file of a recording holds a secret."""
        secrets = [
            value for _, value in secret_places(self.adapter.config_schema, self.config) if isinstance(value, str)
        ]
        with self.world() as world, tempfile.TemporaryDirectory(prefix="runlink-test-") as name:
            engine, folder = world.engine, Path(name) / "recording"
            tell_a_life(world)
            many(world, self.listed)
            settings = EngineSettings(name="test", type=self.adapter.name, url=engine.url, options=dict(self.config))
            since = engine.now - timedelta(days=7)
            live = record(self.adapter, settings, folder, since=since, now=lambda: engine.now)
            promise(live.error is None, f"the turn that was to be recorded failed: {live.error}")
            promise(live.requests == engine.requests, f"{live.requests} of {engine.requests} requests were recorded")
            again = replay(self.adapter, folder)
            seen = f"asked otherwise: {again.missing[:3]}, rows: {(again.differences or ())[:3]}"
            promise(again.is_same, f"the recording of a turn does not make the same tables; {seen}")
            for path in folder.iterdir():
                shown = [secret for secret in secrets if secret in path.read_text("utf-8")]
                promise(not shown, f"the recording holds a secret, in {path.name}")

    def ends_when_closed(self, world: World, call: Callable[[], Any]) -> None:
        """Runs a call that blocks, closes the adapter from here, and waits for its end."""
        ended: list[object] = []

        def run() -> None:
            try:
                call()
            except AdapterError as error:
                ended.append(error)
            except Exception as error:  # noqa: BLE001 - plugin code, in a thread: told below
                ended.append(f"{type(error).__name__}: {error}")
            else:
                ended.append(None)

        before = world.engine.requests
        thread = threading.Thread(target=run, name="contract-blocked", daemon=True)
        thread.start()
        _until(lambda: world.engine.requests > before or ended, "the adapter's first request")
        promise(not ended, f"the call did not wait for its answer: {ended}")
        began = time.monotonic()
        world.host.hosted.close()
        took_s = time.monotonic() - began
        promise(took_s <= ALLOWED_S, f"close() itself took {took_s:.1f} s")
        thread.join(ALLOWED_S)
        promise(not thread.is_alive(), f"{ALLOWED_S:g} s after close() the call still runs")
        promise(
            isinstance(ended[0], AdapterError), f"a call that close() ended raised {ended[0]}; let TransientError pass"
        )


def _told(call: Callable[[], Any]) -> list[str]:
    try:
        found = call()
    except Exception as error:  # noqa: BLE001 - another promise says which it may be
        chain: list[str] = []
        link: BaseException | None = error
        while isinstance(link, AdapterError):
            chain.append(f"{type(link).__name__}: {link}")
            link = link.__cause__
        return chain
    return [msgspec.json.encode(found).decode()]


@contextlib.contextmanager
def _echoing(world: World) -> Iterator[None]:
    """An engine whose error page shows the request, as debugging pages do."""

    def echo(_reply: Reply) -> Reply:
        asked = world.engine.asked[-1]
        body = f"{asked.method} {asked.path} {dict(asked.query)} {dict(asked.headers)} {asked.body!r}"
        return Reply(400, {"Content-Type": "text/plain"}, body.encode())

    world.engine.translate_fault = echo
    try:
        yield
    finally:
        world.engine.translate_fault = None


class _Overheard(logging.Handler):
    """What was logged and printed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[str, int, str]] = []
        self.streams = (io.StringIO(), io.StringIO())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.levelno, self.format(record)))

    def printed(self) -> str:
        return "".join(stream.getvalue() for stream in self.streams)


@contextlib.contextmanager
def _overheard() -> Iterator[_Overheard]:
    heard, root = _Overheard(), logging.getLogger()
    level, handlers = root.level, root.handlers
    root.handlers = [heard]  # one that prints warnings would print all that is heard now
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(heard.streams[0]), contextlib.redirect_stderr(heard.streams[1]):
            yield heard
    finally:
        root.handlers = handlers
        root.setLevel(level)


def _until(condition: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    deadline, tick = time.monotonic() + within_s, threading.Event()
    while not condition():
        promise(time.monotonic() < deadline, f"{what} did not come within {within_s:g} s")
        tick.wait(0.01)
