"""Lives of engines that several promises play, and what differs between two readings of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runlink.domain import ExecutionStatus
from runlink.testing.contract.promises import World
from runlink.testing.scripted import ScriptedRun

S = ExecutionStatus


def scenes(world: World) -> Iterator[None]:
    """A life of the common cases, a scene at a time."""
    engine = world.engine
    first, second = engine.start(), engine.start()
    yield
    engine.advance()
    engine.end(first)
    waiting = engine.start(pending=True)
    yield
    engine.advance()
    engine.begin(waiting)
    engine.end(second, S.FAILED)
    third = engine.start(parent=waiting)
    yield
    short = engine.start()  # within one second
    engine.end(short)
    yield
    engine.advance(3600)
    engine.end(waiting, S.CANCELLED)
    engine.start()
    yield
    engine.advance()
    engine.end(third)
    yield


def tell_a_life(world: World) -> None:
    """All of it before anybody looks."""
    for _ in scenes(world):
        pass


def many(world: World, count: int, message: str = "") -> None:
    """Runs that began and ended a second apart; the message makes each as large as it is."""
    for _ in range(count):
        run = world.engine.start()
        if message and world.engine.has("parameters"):
            run.parameters["bulk"] = message
        world.engine.advance(1)
        world.engine.end(run, message=message)


def started(world: World, word: str, meaning: ExecutionStatus) -> ScriptedRun:
    """A run with this very word."""
    run = world.engine.start(pending=meaning is S.PENDING, native=word if not meaning.is_ended else None)
    if meaning is S.RETRYING:
        world.engine.set_status(run, meaning, word)
    if meaning.is_ended:
        world.engine.advance()
        world.engine.end(run, meaning, native=word)
    return run


def difference(left: dict[str, Any], right: dict[str, Any]) -> str:
    """The first row and field in which two tables of observations are not the same, in words."""
    for name in sorted(left.keys() | right.keys()):
        one, other = left.get(name), right.get(name)
        if one is None or other is None:
            return f"{name} is in one of them only"
        if fields := [key for key in one if one[key] != other[key]]:
            return f"{name}: {fields[0]} is {one[fields[0]]!r} and {other[fields[0]]!r}"
    return "nothing"
