"""What the host does on each error of the interface, over several turns."""

import pytest
from tests.engines.puppets import Counting, S, Shelf, World, lines_about, puppet, seen, until

from runlink.application.settings import Secret
from runlink.spi import (
    ConfigRejected,
    CredentialsRejected,
    CursorExpired,
    EngineInfo,
    NotFound,
    Page,
    TransientError,
)


def failing(error):
    def poll(_self, _cursors):
        raise error

    return puppet(poll)


# --- TransientError ------------------------------------------------------------------------------------------------


def test_a_transient_error_keeps_cursor_and_adapter_and_backs_off(world, caplog):
    made, given, trouble = [], [], [None]

    def poll(self, cursors):
        made.append(id(self))
        given.append(dict(cursors))
        yield Page(observations=(seen("a"),), cursors={"all": str(len(given))})
        if trouble[0] is not None:
            raise trouble[0]

    feed = world.engine("ci", puppet(poll))
    assert feed.run() == 0.02
    trouble[0] = TransientError("no answer for 30 s")
    for middle_s in (1, 2, 4, 8):
        assert 0.75 * middle_s <= feed.run() <= 1.25 * middle_s
    trouble[0] = TransientError("busy", retry_after_s=77)
    assert feed.run() == 77
    trouble[0] = None
    assert feed.run() == 0.02
    assert given == [{}, *({"all": str(n)} for n in range(1, 7))], "what was read before the fault is kept"
    assert len(set(made)) == 1
    lost, back = lines_about(caplog, "ci")
    assert lost == "ci: lost: no answer for 30 s"
    assert back.startswith("ci: back after")


def test_what_the_check_could_not_do_is_done_at_the_next_turn(world):
    answers = [TransientError("starting"), EngineInfo(product="Acme CI", version="7.2")]

    def check(_self):
        if isinstance(answers[0], Exception):
            raise answers.pop(0)
        return answers[0]

    feed = world.engine("ci", puppet(Counting.poll, check=check))
    feed.run()
    assert (feed.health.state, world.instances()) == ("lost", {})
    feed.run()
    assert (feed.engine.product, feed.engine.product_version) == ("Acme CI", "7.2")
    assert world.health("ci")["product"] == "Acme CI"


def test_not_found_for_the_whole_feed_is_a_loss_without_a_traceback(world, caplog):
    feed = world.engine("ci", failing(NotFound("GET /api/json answered HTTP 404")))
    for _ in range(3):
        feed.run()
    assert lines_about(caplog, "ci") == ["ci: lost: GET /api/json answered HTTP 404"]
    assert caplog.records[-1].exc_info is None


def test_warnings_of_a_check_are_said_once_though_the_adapter_is_made_anew(world, caplog):
    def check(_self):
        return EngineInfo(product="P", version="1", warnings=("no permission to read logs; grant Job/Read",))

    error = [CredentialsRejected("401")]

    def poll(_self, _cursors):
        if error:
            raise error[0]
        yield Page()

    feed = world.engine("ci", puppet(poll, check=check))
    for _ in range(3):
        feed.run()
    assert lines_about(caplog, "ci") == ["ci: no permission to read logs; grant Job/Read", "ci: denied: 401"]


# --- CursorExpired ---------------------------------------------------------------------------------------------------


def test_an_expired_cursor_is_forgotten_and_what_vanished_meanwhile_is_reconciled(world):
    shelf, given, expired = Shelf(), [], [False]
    shelf.runs = {"a": seen("a"), "b": seen("b"), "c": seen("c", S.COMPLETED)}

    def poll(_self, cursors):
        given.append(dict(cursors))
        if cursors and expired[0]:
            expired[0] = False
            raise CursorExpired("410 Gone")
        if not cursors:
            yield Page(observations=tuple(shelf.runs.values()), cursors={"all": f"after {len(given)}"})

    feed = world.engine("ci", puppet(poll, refetch=shelf.adapter().refetch))
    feed.run()
    with world.store.unit_of_work() as uow:
        uow.ledger.store_cursors(feed.engine.id, "poll", {"old": "1"}, world.now())
    del shelf.runs["a"]
    shelf.runs["d"] = seen("d")
    expired[0] = True
    feed.run()
    assert given[1:] == [{"all": "after 1", "old": "1"}, {}]
    assert world.cursors("ci") == {"all": "after 3"}
    assert "d" in world.instances()
    feed.run()
    rows = world.instances()
    assert {name for name, row in rows.items() if row["vanished_at"]} == {"a"}
    assert (feed.health.state, feed.health.failures) == ("ok", 0)


def test_an_expired_cursor_that_finds_nothing_new_is_forgotten_all_the_same(world):
    def poll(_self, cursors):
        if cursors:
            raise CursorExpired("410 Gone")
        return iter(())

    feed = world.engine("ci", puppet(poll))
    with world.store.unit_of_work() as uow:
        uow.ledger.store_cursors(feed.engine.id, "poll", {"all": "1"}, world.now())
    assert feed.run() == 0.02
    assert world.cursors("ci") == {}


def test_an_adapter_that_says_expired_without_a_cursor_is_faulty_and_does_not_loop(world):
    feed = world.engine("ci", failing(CursorExpired("410 Gone")))
    for _ in range(3):
        feed.run()
    assert (feed.health.state, feed.health.failures) == ("faulty", 3)


# --- CredentialsRejected --------------------------------------------------------------------------------------------


def test_a_rotated_secret_is_read_again(world, tmp_path, caplog):
    token = tmp_path / "token"
    token.write_text("old\n")
    schema = {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}}
    wanted = ["old"]

    def poll(self, cursors):
        if self.context.config["token"] != wanted[0]:
            raise CredentialsRejected("GET / answered HTTP 401: check the token")
        yield from Counting.poll(self, cursors)

    feed = world.engine("ci", puppet(poll, config_schema=schema), options={"token": Secret(file=token)})
    assert feed.run() == 0.02
    wanted[0] = "new"
    for middle_s in (60, 120, 240, 480, 960, 1800, 1800):
        assert 0.75 * middle_s <= feed.run() <= 1.25 * middle_s
    assert feed.health.state == "denied"
    token.write_text("new\n")
    assert feed.run() == 0.02
    assert sorted(world.instances()) == ["1", "2"]
    assert [line.split(" after")[0] for line in lines_about(caplog, "ci")] == [
        "ci: denied: GET / answered HTTP 401: check the token",
        "ci: back",
    ]


def test_a_secret_that_is_not_there_yet_is_waited_for(world, tmp_path):
    token = tmp_path / "token"
    schema = {"type": "object", "properties": {"token": {"type": "string", "x-secret": True}}}
    feed = world.engine("ci", puppet(Counting.poll, config_schema=schema), options={"token": Secret(file=token)})
    feed.run()
    assert feed.health.state == "denied"
    assert "cannot be read" in feed.health.last_error
    token.write_text("here")
    assert feed.run() == 0.02


# --- ConfigRejected -------------------------------------------------------------------------------------------------


def test_a_rejected_configuration_stops_the_engine_until_it_changes(world, caplog):
    polls = []

    def poll(self, _cursors):
        polls.append(self.context.url)
        if self.context.url.endswith(":1"):
            raise ConfigRejected("there is no project 'x'")
        yield Page()

    cls = puppet(poll)
    feed = world.engine("ci", cls)
    good = world.engine("good", Counting)
    world.start()
    until(lambda: feed.health.state == "stopped")
    until(lambda: len(world.instances("good")) > 20)
    assert len(polls) == 1, "it is not tried again by itself"
    assert until(lambda: world.health("ci")["last_error"]) == "there is no project 'x'"
    assert lines_about(caplog, "ci") == ["ci: stopped: there is no project 'x'"]
    changed = world.engine("ci", cls, url="http://127.0.0.1:2")
    world.daemon.replace(world.settings, world.rules, {"ci": changed, "good": good})
    until(lambda: changed.health.state == "ok")
    assert set(polls[1:]) == {"http://127.0.0.1:2"}


def test_a_reload_tries_a_stopped_engine_again_also_when_its_part_did_not_change(world):
    rejected = [True]

    def poll(_self, _cursors):
        if rejected[0]:
            raise ConfigRejected("there is no project 'x'")
        yield Page()

    feed = world.engine("ci", puppet(poll))
    world.start()
    until(lambda: feed.health.state == "stopped")
    rejected[0] = False
    world.daemon.replace(world.settings, world.rules, {"ci": feed})
    until(lambda: feed.health.state == "ok")


# --- the store ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "between two pages"])
def test_a_store_that_is_gone_for_a_while_is_no_fault_of_the_adapter(daemon_store, caplog, moment):
    """On SQLite a table that cannot be written stands for a store that does not answer."""
    caplog.set_level("INFO", "runlink")
    world = World(daemon_store)
    made = []

    def poll(self, cursors):
        made.append(id(self))
        yield Page(observations=(seen("a"),), cursors={"all": "1"})
        if moment == "between two pages" and len(made) in (2, 3):
            switch(False)
        yield Page(observations=(seen("b"),), cursors={"all": str(len(made) + 1)})

    def switch(on):
        names = ("feed_cursors", "elsewhere") if not on else ("elsewhere", "feed_cursors")
        with daemon_store.unit_of_work() as uow:
            uow.connection.exec_driver_sql(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")

    feed = world.engine("ci", puppet(poll))
    assert feed.run() == 0.02
    for _ in range(2):
        if moment == "before":
            switch(False)
        assert feed.run() < 3
        assert feed.health.state == "lost"
        assert feed.health.last_error.startswith("the store: ")
        switch(True)
    assert feed.run() == 0.02
    assert len(set(made)) == 1, "the adapter is kept"
    assert len(lines_about(caplog, "ci")) == 2
    world.stop()
