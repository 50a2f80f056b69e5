"""Threads for turns: the limit, those that hang, those that are slow."""

import threading

import pytest

from runlink.daemon.workers import Workers

SOON_S = 30.0  # of a busy machine


@pytest.fixture
def gate():
    event = threading.Event()
    yield event
    event.set()


def test_tasks_run_in_order_on_no_more_threads_than_the_limit(gate):
    pool, running, most, lock, done = Workers(3), [0], [0], threading.Lock(), threading.Semaphore(0)

    def task():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(0.005)
        with lock:
            running[0] -= 1
        done.release()

    for n in range(40):
        pool.submit(n, task)
    assert all(done.acquire(timeout=SOON_S) for _ in range(40))
    assert most[0] == 3
    assert pool.close(SOON_S)


def test_an_abandoned_thread_makes_room_also_for_what_waits_already(gate):
    pool, done = Workers(1), threading.Event()
    hung = threading.Event()
    pool.submit("hangs", lambda: (hung.set(), gate.wait()))
    assert hung.wait(SOON_S)
    pool.submit("waits", done.set)
    assert not done.wait(0.05)
    assert pool.abandon("hangs")
    assert done.wait(SOON_S)
    assert (pool.abandoned, pool.abandon("hangs")) == (1, False)


def test_a_zombie_that_ends_takes_nothing_from_its_successor(gate):
    pool, second_gate, ended = Workers(1), threading.Event(), threading.Event()
    started = [threading.Event(), threading.Event()]
    pool.submit("engine", lambda: (started[0].set(), gate.wait(), ended.set()))
    assert started[0].wait(SOON_S)
    pool.abandon("engine")
    pool.submit("engine", lambda: (started[1].set(), second_gate.wait()))
    assert started[1].wait(SOON_S)
    gate.set()
    assert ended.wait(SOON_S)
    assert not pool.close(0.05), "the successor still runs, and is still known to"
    second_gate.set()
    assert pool.close(SOON_S)


def test_a_slow_task_makes_room_for_another(gate):
    pool, done = Workers(2, slow_s=0.02), threading.Event()
    for n in range(2):
        pool.submit(n, gate.wait)
    pool.submit("quick", done.set)
    for _ in range(500):
        pool.grow()
        if done.wait(0.01):
            break
    assert done.is_set()


def test_there_are_never_more_than_eight_times_the_limit(gate):
    before = threading.active_count()
    pool = Workers(2, slow_s=-1.0)
    for n in range(100):
        pool.submit(n, gate.wait)
        pool.grow()
    assert threading.active_count() - before <= 16


def test_a_task_that_raises_ends_no_thread(caplog):
    pool, done = Workers(1), threading.Event()

    def exits():
        raise SystemExit(1)

    pool.submit("bad", exits)
    pool.submit("good", done.set)
    assert done.wait(SOON_S)
    assert pool.close(SOON_S)


def test_close_gives_up_on_what_hangs(gate):
    pool, started = Workers(1), threading.Event()
    pool.submit("hangs", lambda: (started.set(), gate.wait()))
    assert started.wait(SOON_S)
    assert not pool.close(0.05)
    pool.submit("late", gate.set)
    assert not gate.is_set()
