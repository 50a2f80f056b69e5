"""A daemon whose lease another has taken writes nothing more, and says so. On SQLite and PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa
from tests.engines.puppets import S, World, puppet, seen, until

from runlink.application.errors import FenceLost
from runlink.spi import Page
from runlink.store import AlreadyRunning, open_store, tables


def take_over(store):
    """What another daemon does once it has the lock."""
    with store.unit_of_work() as uow:
        uow.connection.execute(sa.update(tables.leases).values(fence=tables.leases.c.fence + 1, holder="another"))


def growing():
    count = [0]

    def poll(_self, _cursors):
        count[0] += 1
        yield Page(observations=(seen(str(count[0]), S.COMPLETED),))

    return puppet(poll)


@pytest.fixture
def world(store):
    world = World(store)
    with store.daemon_lock("test") as fence:
        world.fence = fence
        yield world
        world.stop()


def test_it_ends_with_a_sentence_and_writes_nothing_more(world):
    world.engine("ci", growing())
    world.start()
    until(lambda: len(world.instances()) > 3)
    take_over(world.store)
    stored, health = world.instances(), world.health("ci")
    until(lambda: world.error is not None)
    assert isinstance(world.error, FenceLost)
    assert "another runlink took over" in str(world.error)
    assert (len(world.instances()) - len(stored)) in (0, 1), "one may have been on its way when we looked"
    stored = world.instances()
    assert world.health("ci")["last_success_at"] is None or world.health("ci")["failures"] == health["failures"]
    assert world.stop() < 15
    assert world.instances() == stored


def test_it_ends_also_when_there_is_nothing_to_write(world):
    world.engine("ci", puppet(lambda _self, _cursors: iter(())))
    feed = world.feeds["ci"]
    world.start(every_s={"fence": 0.05})
    until(lambda: feed.health.state == "ok")
    take_over(world.store)
    until(lambda: isinstance(world.error, FenceLost))


@pytest.mark.parametrize("chore", ["relay", "quiet", "health"])
def test_no_chore_writes_any_more(world, chore):
    world.subscribers = [("new", lambda _event: None)]
    wake = threading.Event()

    def poll(_self, _cursors):
        wake.wait()
        yield Page()

    world.engine("ci", puppet(poll))
    take_over(world.store)
    world.start(every_s={chore: 0.05})
    until(lambda: isinstance(world.error, FenceLost))
    wake.set()
    with world.store.reading() as uow:
        assert not uow.outbox.is_enrolled("new")
        assert world.health("ci")["state"] in (None, "new")


def test_a_turn_without_a_daemon_says_so_too(world):
    feed = world.engine("ci", growing())
    feed.run()
    take_over(world.store)
    with pytest.raises(FenceLost):
        feed.run()
    assert len(world.instances()) == 1


def test_who_comes_second_is_told_and_who_comes_after_a_broken_session_takes_over(world, store, kind):
    other = open_store(store.url.render_as_string(hide_password=False))
    with pytest.raises(AlreadyRunning), other.daemon_lock("second"):
        pass
    if kind == "postgresql":  # the first one's session breaks, and it does not notice
        world.engine("ci", growing(), poll_interval_s=0.05)
        world.start()
        until(world.instances)
        with other.writing.connect() as connection:
            mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> %s", (mine,)
            )
        until(lambda: taken(other), "the lock")
        until(lambda: isinstance(world.error, FenceLost))
    other.close()


def taken(store):
    try:
        with store.daemon_lock("second") as fence:
            return fence
    except AlreadyRunning:
        return None
