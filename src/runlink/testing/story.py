"""A recorded story, looked at rarely and with crashes: the same end. Plugin tests with recordings come here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

from runlink.spi import Adapter
from runlink.testing.contract.promises import promise
from runlink.testing.host import Crash, Host


@contextmanager
def hosts(adapter_class: type[Adapter], url: str, **defaults: Any) -> Iterator[Callable[..., Host]]:
    """What makes a Host of each call, with `defaults` unless the call says otherwise; all are closed in the end.

    @pytest.fixture
    def make_host(acme):
        with runlink.testing.hosts(AcmeAdapter, acme.url, now=lambda: acme.now) as make:
            yield make
    """
    with ExitStack() as stack:

        def make(url: str = url, **options: Any) -> Host:
            return stack.enter_context(Host(adapter_class, url, **{**defaults, **options}))

        yield make


class StoryContract:
    """However rarely one looks at a story, and however often the host dies meanwhile, the end is the same.

    class TestStory(StoryContract):
        moments = range(1, 15)

    Two fixtures are the plugin's own: `make_host` (see `hosts`) and `at`, which sets the engine to one of the moments.

    moments     in their order; the last one is the end
    examples    how many choices of moments are drawn, for looks and for crashes each
    """

    moments: ClassVar[Sequence[Any]]
    examples: ClassVar[int] = 24
    _ends: ClassVar[dict[type[StoryContract], dict[str, dict[str, Any]]]] = {}

    def told(self, host: Host) -> dict[str, dict[str, Any]]:
        """What must be the same in the end: all that is known. A plugin leaves out what few looks cannot show."""
        tries = host.attempts()
        return {name: row | {"attempts": _tries(tries[name])} for name, row in host.table().items()}

    def settle(self, host: Host) -> None:
        """Another turn; then the steps of what had ended before it was first seen, as for linked instances."""
        host.turn()
        host.read_steps()

    def end(self, make_host: Callable[..., Host], at: Callable[[Any], None]) -> dict[str, dict[str, Any]]:
        """What is told in the end to who looked at each moment. Read once for each class."""
        if type(self) not in self._ends:
            host = make_host()
            for moment in self.moments:
                at(moment)
                host.turn()
            self.settle(host)
            self._ends[type(self)] = self.told(host)
        return self._ends[type(self)]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Numbers the choices: the first is nothing but the end, the second all moments."""
        if "choice" in metafunc.fixturenames:
            metafunc.parametrize("choice", range(self.examples))

    def _chosen(self, choice: int) -> Iterator[Any]:
        *before, last = self.moments
        drawn = random.Random(choice)  # noqa: S311 - no secret, and the same each time
        most = {0: 0, 1: len(before)}.get(choice, drawn.randint(1, min(len(before), 25)))
        yield from (before[place] for place in sorted(drawn.sample(range(len(before)), most)))
        yield last

    def test_any_choice_of_moments_comes_to_the_same_end(
        self, choice: int, make_host: Callable[..., Host], at: Callable[[Any], None]
    ) -> None:
        """Who looks once, at some of the moments or at all of them knows the same in the end."""
        whole, host = self.end(make_host, at), make_host()
        for moment in self._chosen(choice):
            at(moment)
            host.turn()
        self.settle(host)
        _same(self.told(host), whole)

    def test_crashes_and_new_processes_come_to_the_same_end(
        self, choice: int, make_host: Callable[..., Host], at: Callable[[Any], None]
    ) -> None:
        """Processes that die before the first page, after it or after the second cost nothing that is known."""
        whole, host = self.end(make_host, at), make_host()
        dies = random.Random(choice)  # noqa: S311 - no secret, and the same each time
        for moment in self._chosen(choice):
            at(moment)
            try:
                host.turn(crash_after=dies.choice([None, None, 0, 1, 2]))
            except Crash:
                host.restart()
        self.settle(host)
        _same(self.told(host), whole)


def _tries(rows: dict[int, dict[str, Any]]) -> dict[int, tuple[Any, ...]]:
    names = ("status", "native_status", "started_at", "finished_at")
    return {number: tuple(row[name] for name in names) for number, row in rows.items()}


def _same(told: dict[str, dict[str, Any]], whole: dict[str, dict[str, Any]]) -> None:
    """Raises PromiseBroken with the fields that differ: a whole table is too long to read."""
    promise(told.keys() == whole.keys(), f"known are {sorted(told)}, and {sorted(whole)} to who looked at each moment")
    differ = [
        f"{name} {field}: {told[name][field]!r}, and {row[field]!r} to who looked at each moment"
        for name, row in whole.items()
        for field in row
        if told[name][field] != row[field]
    ]
    promise(not differ, "\n".join(differ))
