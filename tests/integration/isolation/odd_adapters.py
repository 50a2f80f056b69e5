"""Adapters that do in their process what dependencies do at their worst. A file `done` in `place` has them behave."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from runlink.spi import (
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    Delivery,
    DeliveryRejected,
    EngineInfo,
    ExecutionStatus,
    NotFound,
    Observation,
    Page,
    Polls,
    Receipt,
    Receives,
    Refused,
    TransientError,
    Watches,
)


def run(name: str, **facts: Any) -> Observation:
    return Observation(
        external_id=name, workflow="build", status=ExecutionStatus.PROCESSING, native_status="working", **facts
    )


class UnspeakableError(Exception):
    """One that has no words."""

    def __str__(self) -> str:
        raise KeyError("words")


class Odd(Polls):
    """`do` names what a poll does."""

    name = "odd"
    config_schema: ClassVar = {
        "type": "object",
        "properties": {
            "do": {"type": "string"},
            "place": {"type": "string"},
            "token": {"type": "string", "x-secret": True},
        },
    }

    def check(self) -> EngineInfo:
        return EngineInfo(product="Odd", version=str(os.getpid()))

    @property
    def place(self) -> Path:
        return Path(self.context.config["place"])

    def poll(self, cursors: Any) -> Iterator[Page]:
        if not (self.place / "done").exists():
            yield from getattr(self, self.context.config["do"])() or ()
        yield Page(observations=(run("1"),), cursors={"all": "1"})

    # --- how a process ends, or does not -----------------------------------------------------------------------

    def leave(self) -> None:
        print("the last words")
        os._exit(7)

    def crash(self) -> None:
        ctypes.string_at(0)

    def fork_and_leave(self) -> None:
        if os.fork() == 0:
            logging.getLogger("runlink").warning("said by a fork, to nobody")
            time.sleep(1000)
        os._exit(7)

    def loop(self) -> None:
        while not (self.place / "done").exists():
            pass

    def hold_the_interpreter(self) -> None:
        (self.place / "held").touch()
        ctypes.PyDLL(None).sleep(1000)

    # --- what it says ------------------------------------------------------------------------------------------

    def speak_nonsense(self) -> None:
        for fd in range(3, 32):
            try:
                os.write(fd, b"\xff" * 64)
            except OSError:
                continue

    def speak_pickle(self) -> None:
        for fd in range(3, 32):
            try:
                os.write(fd, b"\0\0\0\x0ccos\nsystem\n(S''\ntR.")
            except OSError:
                continue

    def print_much(self) -> None:
        for number in range(2000):
            print(f"line {number} {self.context.config.get('token', '')}")
        print("no newline", end="")
        sys.stderr.write("to stderr\n")

    def read_stdin(self) -> None:
        assert sys.stdin.read() == ""

    def log(self) -> None:
        self.context.log.warning("the token is %s", self.context.config["token"])

    def raise_secret(self) -> None:
        raise ValueError(f"no use: {self.context.config['token']}")

    def log_oddly(self) -> None:
        logging.getLogger("library").warning("%d things", "no number")
        self.context.log.warning("half of a pair: \ud800")

    def raise_half_a_pair(self) -> None:
        raise TransientError("half of a pair: \ud800")

    def raise_unspeakable(self) -> None:
        raise UnspeakableError

    def raise_at_length(self) -> None:
        raise TransientError("x" * (65 << 20))

    def carry_what_nobody_looks_at(self) -> None:
        carry = b'{"type":"Carry","id":%d,"sent":{"method":"GET","url":"http://h","headers":[],"body":""}}'
        for fd in range(3, 32):
            for number in range(50):
                said = carry % number
                try:
                    os.write(fd, len(said).to_bytes(4, "big") + said)
                except OSError:
                    break

    def page_that_is_kept(self) -> Iterator[Page]:
        try:
            yield Page(observations=(run("kept"),))
        finally:
            (self.place / "let-go").touch()

    def three_pages(self) -> Iterator[Page]:
        for number in range(3):
            (self.place / f"page-{number}").touch()
            yield Page(observations=(run(str(number)),))

    def odd_page(self) -> Iterator[Page]:
        bad = run("bad", metadata={"at": object()})
        worse = run("worse", message="half of a pair: \ud800")
        wrong = run("wrong", message=7)  # type: ignore[arg-type]
        yield Page(observations=(run("good"), bad, worse, wrong))

    def no_page(self) -> Iterator[Any]:
        yield {"observations": []}

    def start_another(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        (self.place / "other").write_text(str(other.pid))


class Watching(Odd, Watches):
    """The same while it watches; its polls are sound."""

    def poll(self, cursors: Any) -> Iterator[Page]:
        yield Page(observations=(run("1"),), cursors={"all": "1"})

    def watch(self, cursors: Any) -> Iterator[Page]:
        if not (self.place / "done").exists():
            yield from getattr(self, self.context.config["do"])() or ()
        yield Page(observations=(run("watched"),))
        while True:
            time.sleep(0.05)
            yield Page()


class Receiving(Odd, Receives):
    """The same while it takes in a delivery; its polls are sound."""

    authentication = "bearer"

    def poll(self, cursors: Any) -> Iterator[Page]:
        yield Page()

    def receive(self, delivery: Delivery) -> Receipt:
        if not (self.place / "done").exists():
            getattr(self, self.context.config["do"])()
        return Receipt(observations=(run(delivery.body.decode()),))


ERRORS = {
    "TransientError": TransientError("later", retry_after_s=12.5),
    "CursorExpired": CursorExpired("gone"),
    "CredentialsRejected": CredentialsRejected("who?"),
    "ConfigRejected": ConfigRejected("no such project"),
    "NotFound": NotFound("not there"),
    "Refused": Refused("declined"),
    "DeliveryRejected": DeliveryRejected("what?"),
}


class OddError(Refused):
    """A plugin's own."""


class Raising(Odd, Receives):
    """Each way of calling raises what `do` names."""

    authentication = "bearer"

    def check(self) -> EngineInfo:
        raise self.error

    def poll(self, cursors: Any) -> Iterator[Page]:
        yield Page(observations=(run("before"),))
        raise self.error

    def receive(self, delivery: Any) -> Any:
        raise self.error

    @property
    def error(self) -> Exception:
        known = self.context.config["do"]
        return OddError("my own") if known == "own" else ERRORS.get(known) or ZeroDivisionError("a bug")


class Unmade(Odd):
    """Cannot be made."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        if context.config["do"] == "reject":
            raise ConfigRejected(f"not with {context.config['token']}")
        raise KeyError("a bug of its constructor")
