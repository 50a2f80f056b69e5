"""Many writers and readers at once: what each sees, who goes first, and who is told of a failure."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.engines.puppets import until

from runlink.domain import Automation, ConcurrencyError, Engine, Run
from runlink.store import open_store, tables
from runlink.store.bulk import Bulk
from runlink.store.feed_health import FeedHealthRow
from runlink.store.mapping import ENGINE


def names(store):
    with store.reading() as uow:
        return [engine.name for engine in uow.engines.list(limit=1000)]


def add(name):
    return lambda uow: uow.engines.add(Engine(name=name, type="Jenkins"))


def test_a_job_that_fails_fails_alone(store):
    store.write(add("first"), actor="a")

    def fails(uow):
        add("of the failing job")(uow)
        raise LookupError("of the failing job")

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(store.write, fails if n == 4 else add(f"n{n}"), actor="a") for n in range(8)]
    assert [n for n, job in enumerate(jobs) if job.exception() is not None] == [4]
    assert isinstance(jobs[4].exception(), LookupError)
    assert sorted(names(store)) == ["first", *(f"n{n}" for n in (0, 1, 2, 3, 5, 6, 7))]


def test_a_result_is_given_only_after_its_commit(store):
    for number in range(5):
        result = store.write(lambda uow, n=number: add(f"n{n}")(uow) or n, actor="a")
        assert result == number
        assert names(store)[-1] == f"n{number}"


def test_writing_from_many_threads_loses_nothing(store):
    def work(worker):
        for n in range(10):
            store.write(add(f"{worker}-{n}"), actor=f"w{worker}", urgent=n % 3 == 0)
            with store.unit_of_work(f"w{worker}") as uow:
                add(f"{worker}-{n}-own")(uow)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, worker) for worker in range(8)]:
            done.result()
    assert len(names(store)) == 8 * 10 * 2


def test_two_units_of_work_that_count_do_not_lose_a_count(store):
    """Optimistic locking and retry, as a program would do it."""
    with store.unit_of_work() as uow:
        engine = Engine(name="e", type="t", url="0")
        uow.engines.add(engine)

    def count():
        while True:
            with store.reading() as uow:
                mine = uow.engines.get(engine.id)
            mine.update_details(url=str(int(mine.url) + 1))
            try:
                store.write(lambda uow, mine=mine: uow.engines.update(mine), actor="a")
            except ConcurrencyError:
                continue
            return

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(count) for _ in range(12)]:
            done.result()
    with store.reading() as uow:
        assert uow.engines.get(engine.id).url == "12"


def test_a_reader_sees_one_moment_and_waits_for_nobody(store):
    store.write(add("before"), actor="a")
    with store.reading() as uow:
        assert len(uow.engines.list()) == 1
        store.write(add("meanwhile"), actor="a")
        assert len(uow.engines.list()) == 1
        assert sum(row["engine"] is not None for row in uow.feed_health.list()) == 1
    assert len(names(store)) == 2


def test_a_reader_does_not_see_an_open_transaction(store):
    with store.unit_of_work() as uow:
        add("not yet")(uow)
        assert names(store) == []
    assert names(store) == ["not yet"]


def test_a_reader_cannot_write(store):
    with pytest.raises(sa.exc.DBAPIError, match=r"read.?only"), store.reading() as uow:
        add("no")(uow)
    assert names(store) == []


def test_a_unit_of_work_that_raises_leaves_nothing(store):
    def fails():
        with store.unit_of_work() as uow:
            add("no")(uow)
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert names(store) == []


def test_events_are_stored_in_the_transaction_that_caused_them(store):
    automation = Automation(name="a")
    run = Run(automation_id=automation.id)

    def start(uow, fail):
        uow.automations.add(automation)
        uow.runs.add(run)
        run.start()
        uow.runs.update(run)
        if fail:
            raise LookupError

    with pytest.raises(LookupError):
        store.write(lambda uow: start(uow, True), actor="a")
    with store.reading() as uow:
        assert uow.reports.events() == []
    again = Run(automation_id=automation.id, id=run.id)
    run = again
    store.write(lambda uow: start(uow, False), actor="a")
    with store.reading() as uow:
        (event,) = uow.reports.events(run_id=run.id)
    assert (event["type"], event["data"]["automation_id"]) == ("run.started", str(automation.id))


@pytest.mark.parametrize("count", [1, 10])
def test_a_bulk_insert_of_a_taken_key_says_that_another_was_first(store, count):
    """Ten rows go to PostgreSQL by COPY, whose errors SQLAlchemy does not see."""
    store.write(add("taken"), actor="a")
    rows = [ENGINE.to_row(Engine(name="taken" if n == 0 else f"n{n}", type="t")) for n in range(count)]
    with store.unit_of_work() as uow:
        inner = uow.connection.begin_nested()
        with pytest.raises(ConcurrencyError, match="another writer was first"):
            Bulk(uow.connection).insert(tables.engines, ENGINE.columns, rows)
        inner.rollback()


# --- SQLite's one writer ----------------------------------------------------------------------------------------------


on_sqlite = pytest.mark.parametrize("kind", ["sqlite"])


@on_sqlite
def test_a_unit_of_work_goes_before_every_page_that_waits(store):
    """As deliveries do: the transaction that runs takes no page more, and then it is their turn."""
    order, begun, go_on = [], threading.Event(), threading.Event()

    def first(_uow):
        begun.set()
        assert go_on.wait(10)

    def urgent():
        with store.unit_of_work("http"):
            order.append("delivery")

    turnstile = store._turnstile
    with ThreadPoolExecutor(8) as pool:
        pool.submit(store.write, first, actor="a")
        assert begun.wait(10)
        for n in range(4):
            pool.submit(store.write, lambda _uow, n=n: order.append(f"page {n}"), actor="a")
        waiting = pool.submit(urgent)
        until(lambda: turnstile.is_urgent)
        go_on.set()
        waiting.result(10)
    assert order[0] == "delivery"
    assert sorted(order[1:]) == [f"page {n}" for n in range(4)]


@on_sqlite
def test_urgent_jobs_go_first(store):
    order = []
    started, go = threading.Event(), threading.Event()

    def blocks(_uow):
        started.set()
        go.wait()

    queued = store._writer._queue
    with ThreadPoolExecutor(8) as pool:
        pool.submit(store.write, blocks, actor="a")
        started.wait()
        for n, urgent in enumerate((False, False, True, False, True)):
            name = f"{'urgent' if urgent else 'page'} {n}"
            pool.submit(store.write, lambda _uow, name=name: order.append(name), actor="a", urgent=urgent)
            while len(queued) <= n:
                pass
        go.set()
    assert order == ["urgent 2", "urgent 4", "page 0", "page 1", "page 3"]


@on_sqlite
def test_jobs_that_wait_together_are_committed_together(store):
    commits = []
    sa.event.listen(store.writing, "commit", lambda _connection: commits.append(1))
    started, go = threading.Event(), threading.Event()

    def blocks(_uow):
        started.set()
        go.wait()

    queued = store._writer._queue
    store._writer._window_s = 60.0
    with ThreadPoolExecutor(8) as pool:
        pool.submit(store.write, blocks, actor="a")
        started.wait()
        for n in range(5):
            pool.submit(store.write, add(f"n{n}"), actor="a")
        while len(queued) < 5:
            pass
        go.set()
    assert len(names(store)) == 5
    assert len(commits) == 1


@on_sqlite
def test_a_second_unit_of_work_on_the_same_thread_is_refused_instead_of_waiting_for_itself(store):
    with store.unit_of_work():
        with pytest.raises(RuntimeError, match="open on this thread already"), store.unit_of_work():
            pass
        with pytest.raises(RuntimeError, match="open on this thread already"):
            store.write(add("no"), actor="a")
    with pytest.raises(RuntimeError, match="open on this thread already"):
        store.write(lambda _uow: store.write(add("no"), actor="a"), actor="a")


def test_what_was_written_before_close_is_there(new_url):
    url = new_url("sqlite")
    store = open_store(url)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(store.write, add(f"n{n}"), actor="a") for n in range(4)]
    store.close()
    assert [job.exception() for job in jobs] == [None] * 4
    with pytest.raises(RuntimeError, match="closed"):
        store.write(add("late"), actor="a")
    again = open_store(url)
    assert len(names(again)) == 4
    again.close()


def test_a_feed_that_is_well_again_keeps_its_last_error(store):
    then = datetime(2026, 3, 1, tzinfo=UTC)
    store.write(add("ci"), actor="a")
    with store.reading() as uow:
        (engine,) = uow.engines.list()
    row = FeedHealthRow(
        engine_id=engine.id, feed="poll", state="lost", since=then, last_success_at=None, last_news_at=None,
        relists=0, failures=1, last_error="no route", last_duration_s=None, requests=1, skew_s=None,
        last_error_at=then,
    )  # fmt: skip
    for one in (row, row._replace(state="ok", failures=0, last_error=None, last_error_at=None)):
        store.write(lambda uow, one=one: uow.feed_health.store([one]), actor="daemon")
    with store.reading() as uow:
        (found,) = uow.feed_health.list()
    assert (found["state"], found["failures"]) == ("ok", 0)
    assert (found["last_error"], found["last_error_at"]) == ("no route", then)
