"""What every adapter promises when the engine, or the way to it, fails: the error that makes the host react rightly."""

from __future__ import annotations

from collections import Counter
from typing import Final

from runlink.domain import ExecutionStatus
from runlink.spi import (
    AdapterError,
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    Polls,
    Refetches,
    TransientError,
)
from runlink.testing.contract.promises import Contract, PromiseBroken, World, promise, promises
from runlink.testing.contract.stories import many, scenes, tell_a_life
from runlink.testing.faults import PASSING, RETRY_AFTER_S
from runlink.testing.host import Host

S = ExecutionStatus

_PATIENCE_S: Final = 30.0
_HASTE_S: Final = 0.2
"""For an answer that does not come; on a busy machine one that comes may take as long."""


class Failing(Contract):
    """The promises about errors."""

    @promises(Polls)
    def test_401_is_credentials_rejected(self) -> None:
        """HTTP 401 from everything: CredentialsRejected, from `check` and from `poll`."""
        self._refused("401", CredentialsRejected)

    @promises(Polls)
    def test_403_is_credentials_rejected(self) -> None:
        """HTTP 403 from everything: CredentialsRejected (a starting server may answer so, too)."""
        self._refused("403", CredentialsRejected)

    @promises(Polls)
    def test_404_from_everything_is_no_deletion(self) -> None:
        """HTTP 404 from everything is a wrong address or a lost permission: an error, and no run is gone."""
        self._refused("404", AdapterError)

    @promises(Polls)
    def test_429_says_how_long_to_wait(self) -> None:
        """HTTP 429: TransientError with the seconds of `Retry-After`, and nothing is tried again."""
        self._transient("429", retry_after_s=RETRY_AFTER_S)

    @promises(Polls)
    def test_500_is_transient(self) -> None:
        """HTTP 500: TransientError."""
        self._transient("500")

    @promises(Polls)
    def test_502_is_transient(self) -> None:
        """HTTP 502, of a proxy: TransientError."""
        self._transient("502")

    @promises(Polls)
    def test_503_is_transient(self) -> None:
        """HTTP 503, of a starting engine: TransientError with the seconds of `Retry-After`."""
        self._transient("503", retry_after_s=RETRY_AFTER_S)

    @promises(Polls)
    def test_a_slow_answer_is_transient(self) -> None:
        """No answer within `request_timeout_s`: TransientError."""
        self._transient("hang", request_timeout_s=_HASTE_S)

    @promises(Polls)
    def test_a_cut_answer_is_transient(self) -> None:
        """The connection ends in the middle of a body: TransientError, never half of the runs for all of them."""
        self._transient("cut")

    @promises(Polls)
    def test_a_reset_connection_is_transient(self) -> None:
        """The connection is reset: TransientError."""
        self._transient("reset")

    @promises(Polls)
    def test_html_is_an_error(self) -> None:
        """A login page with status 200: an AdapterError, and no run is gone."""
        self._refused("html", AdapterError)

    @promises(Polls)
    def test_a_broken_answer_is_an_error(self) -> None:
        """Half of the JSON, an empty body, or `null`, with status 200: an AdapterError, and no run is gone."""
        for fault in ("half", "empty", "null"):
            self._refused(fault, AdapterError)

    @promises(Polls)
    def test_an_engine_that_is_down_is_transient(self) -> None:
        """Nobody listens at the address: TransientError."""
        with self.engine() as engine:
            url = engine.url
        with Host(self.adapter, url, now=lambda: engine.now, config=self.config) as host:
            error = self._error_of(host)
            promise(isinstance(error, TransientError), f"a refused connection is told as {_name(error)}")

    @promises(Polls)
    def test_a_restart_of_the_engine_loses_nothing(self) -> None:
        """The engine goes, answers 503 for a while, and is back with what happened meanwhile."""
        with self.world() as world:
            for number, _ in enumerate(scenes(world)):
                world.engine.restart()
                world.engine.fault = "503" if number % 2 else None
                error = self.disturbed_turn(world.host)
                promise(error is None or number % 2, f"after a restart: {_name(error)}: {error}")
                world.engine.fault = None
            self.settle(world)
            self.agree(world)

    @promises(Polls)
    def test_a_fault_in_any_request_loses_nothing(self) -> None:
        """One request of a turn fails, whichever it is: the next turn has everything."""
        for fault in PASSING:
            with self.world() as world:
                many(world, self.listed)
                tell_a_life(world)
                for skipped in range(12):
                    world.engine.advance(self.patience_s)
                    world.engine.end(world.engine.start())
                    world.engine.faults.extend([None] * skipped + [fault])
                    error = self.disturbed_turn(world.host)
                    promise(
                        not isinstance(error, ConfigRejected | CursorExpired),
                        f"one {fault!r} in request {skipped + 1} of a turn is told as {_name(error)}: {error}",
                    )
                    if world.engine.faults:
                        break  # the turn has fewer requests
                world.engine.faults.clear()
                self.settle(world)
                self.agree(world)

    @promises(Refetches)
    def test_a_refetch_that_fails_says_so(self) -> None:
        """A refetch whose requests fail raises; an instance is `gone` only when the engine says so."""
        for fault in ("401", "403", "500", "html", "half", "null", "cut"):
            with self.world() as world:
                names = [world.engine.external_id(world.engine.start()) for _ in range(2)]
                world.host.turn()
                world.engine.fault = fault
                try:
                    pages = list(world.host.adapter.refetch(names))
                except AdapterError:
                    continue
                gone = [name for page in pages for name in page.gone]
                promise(not gone, f"with {fault!r} from everything, a refetch tells {gone} as gone")
                told = [o for page in pages for o in page.observations]
                promise(not told, f"with {fault!r} from everything, a refetch tells {len(told)} runs")

    # --- how it is asked ---------------------------------------------------------------------------------------------

    def _refused(
        self, fault: str, expected: type[AdapterError], request_timeout_s: float = _PATIENCE_S
    ) -> AdapterError:
        """Everything answers with the fault, in a turn of a known engine; then it is over."""
        with self.world(request_timeout_s=_PATIENCE_S) as world:
            tell_a_life(world)
            self.settle(world)
            before = world.host.table()
            if request_timeout_s != _PATIENCE_S:
                world.host.restart(request_timeout_s=request_timeout_s)
            world.engine.fault = fault
            found = [error for _ in range(3) if (error := self._poll_error(world, fault)) is not None]
            wrong = [error for error in found if not isinstance(error, expected) or isinstance(error, CursorExpired)]
            promise(not wrong, f"{fault!r} from everything is told as {_name(wrong[:1])}: {wrong[:1]}")
            promise(world.host.table() == before, f"{fault!r} from everything changed what is known")
            world.host.restart()
            checked = self._error_of(world.host)
            promise(isinstance(checked, expected), f"check(): {fault!r} is told as {_name(checked)}: {checked}")
            world.engine.fault = None
            if request_timeout_s != _PATIENCE_S:
                world.host.restart(request_timeout_s=_PATIENCE_S)
            world.engine.end(world.engine.start())
            self.settle(world)
            self.agree(world)
            return found[0]

    def _poll_error(self, world: World, fault: str) -> AdapterError:
        world.engine.advance(self.patience_s)
        world.engine.asked.clear()
        error = self.disturbed_turn(world.host)
        asked = Counter(f"{request.method} {request.path} {dict(request.query)}" for request in world.engine.asked)
        again = [request for request, times in asked.items() if times > 1]
        promise(fault != "429" or not again, f"after a 429 it asked again at once: {again}; the host does that, later")
        if error is None:
            raise PromiseBroken(f"a turn in which every request was answered with {fault!r} ended well")
        return error

    def _transient(
        self, fault: str, retry_after_s: float | None = None, request_timeout_s: float = _PATIENCE_S
    ) -> None:
        error = self._refused(fault, TransientError, request_timeout_s)
        asked = getattr(error, "retry_after_s", None)
        if retry_after_s is not None:
            promise(asked == retry_after_s, f"Retry-After was {retry_after_s} s and is told as {asked}")

    def _error_of(self, host: Host) -> AdapterError | None:
        try:
            host.check()
        except AdapterError as error:
            return error
        return None


def _name(error: object) -> str:
    one = error[0] if isinstance(error, list) and error else error
    return type(one).__name__ if one else "success"
