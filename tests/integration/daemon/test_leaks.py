"""What a daemon holds stays bounded, over many turns and many failures."""

import gc
import threading
import tracemalloc

import pytest
from tests.engines.puppets import S, puppet, seen, until

from runlink.spi import Page, TransientError
from runlink.testing import serve_exchanges


def grown(work):
    """Objects, bytes and threads that are there after `work` and were not before."""
    gc.collect()
    objects, threads = len(gc.get_objects()), threading.active_count()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return len(gc.get_objects()) - objects, size, threading.active_count() - threads


def test_five_hundred_turns_of_twenty_engines(world):
    """The same ten runs each turn, as an idle engine shows them."""
    runs = tuple(seen(str(n), S.COMPLETED) for n in range(10))
    cls = puppet(lambda _self, _cursors: iter([Page(observations=runs, cursors={"all": "1"})]))
    counts = {}
    for n in range(20):
        world.engine(f"e{n}", cls, poll_interval_s=0.0)

    def count(name, _outcome):
        counts[name] = counts.get(name, 0) + 1

    for feed in world.feeds.values():
        feed._progress = count
    world.start()

    def turns(number):
        until(lambda: len(counts) == 20 and min(counts.values()) >= number, f"{number} turns of each", within_s=60)

    turns(5)
    objects, size, threads = grown(lambda: turns(25))
    assert sum(counts.values()) >= 500
    assert threads <= 16
    assert objects < 3000
    assert size < 3_000_000


@pytest.mark.parametrize("fault", ["transient", "bug", "check"])
def test_failures_leave_nothing_behind(world, fault):
    """Each one but the first makes the adapter anew: its clients and sockets must go."""

    def poll(self, _cursors):
        self.client = getattr(self, "client", None) or self.context.http()
        self.client.get("/")
        yield Page()
        raise {"transient": TransientError("x"), "bug": ZeroDivisionError("x")}[fault]

    members = {"check": lambda _self: 7} if fault == "check" else {}
    with serve_exchanges(lambda *_: (200, {}, b"{}")) as engine:
        feed = world.engine("ci", puppet(poll, **members), url=engine.url)

        def turns():
            for _ in range(40):
                feed.run()
            until(lambda: feed.left_behind == 0)

        turns()
        objects, size, threads = grown(turns)
        until(lambda: not any(t.name.startswith("runlink-close") for t in threading.enumerate()))
    assert threads <= 2
    assert objects < 2500
    assert size < 2_000_000
