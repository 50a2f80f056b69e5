"""Who may run the feeds: one process, until it dies; and a fence for one that lost the right without noticing."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from runlink.application.errors import FenceLost
from runlink.store import AlreadyRunning

HOLD = """
import sys
from runlink.store import open_store
store = open_store(sys.argv[1])
with store.daemon_lock("other") as fence:
    print(fence, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(store_url):
    """other_process(): a process that holds the lock, and the fence it got."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, store_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_is_told_who_runs(store, other_process):
    process, _ = other_process()
    with pytest.raises(AlreadyRunning, match=r"another runlink.*stop it first"), store.daemon_lock("me"):
        pass
    if store.url.get_backend_name() == "sqlite":
        with pytest.raises(AlreadyRunning, match=f"pid {process.pid}"), store.daemon_lock("me"):
            pass


def test_kill_9_frees_the_lock_and_the_fence_rises(store, other_process):
    process, theirs = other_process()
    process.kill()
    process.wait()
    for _ in range(1000):  # PostgreSQL notices when it next reads from the connection
        try:
            with store.daemon_lock("me") as mine:
                assert mine > theirs
            return
        except AlreadyRunning:
            threading.Event().wait(0.01)
    pytest.fail("the lock of a dead process was never freed")


def test_the_lock_is_free_again_after_the_block_also_when_it_raises(store):
    fences = []
    for _ in range(2):
        with suppress(LookupError), store.daemon_lock("me") as fence:
            fences.append(fence)
            raise LookupError
    assert fences == [1, 2]


def test_an_old_fence_is_refused(store):
    with store.daemon_lock("old") as old:
        store.write(lambda uow: uow.ledger.check_fence(old), actor="a")
    with store.daemon_lock("new") as new:
        store.write(lambda uow: uow.ledger.check_fence(new), actor="a")
        with pytest.raises(FenceLost, match="another runlink took over"):
            store.write(lambda uow: uow.ledger.check_fence(old), actor="a")


def test_the_fence_of_a_store_that_nobody_ran_is_refused(store):
    with pytest.raises(FenceLost):
        store.write(lambda uow: uow.ledger.check_fence(1), actor="a")


def test_a_transaction_that_has_checked_its_fence_ends_before_another_takes_over(store):
    """Else a page of the old process could be committed after the first one of the new."""
    order = []
    with store.daemon_lock("old") as old:
        pass

    def take_over():
        with store.daemon_lock("new"):
            order.append("taken over")

    other = threading.Thread(target=take_over)
    with store.unit_of_work() as uow:
        uow.ledger.check_fence(old)
        other.start()
        other.join(0.3)
        order.append("written")
    other.join()
    assert order == ["written", "taken over"]
