"""Discovery and completion apart: what was seen open is followed to its end; the first turn is a baseline."""

from datetime import timedelta

import pytest
from tests.engines.puppets import START, Counting, S, Shelf, World, puppet, seen, turns, utc_now

from runlink.application.policy import Policy
from runlink.application.settings import LinkRule
from runlink.spi import Page, TransientError
from runlink.testing import serve_exchanges

RULE = LinkRule(name="by id", automation="Nightly", run_key="parameters.RUN_ID", create_run=True)


@pytest.fixture
def shelf():
    return Shelf()


def test_open_instances_are_read_again_until_they_end_however_late_and_in_any_order(world, shelf):
    names = [str(n) for n in range(1, 6)]
    shelf.runs = {name: seen(name) for name in names}
    first = [True]
    feed = world.engine("ci", shelf.adapter(listed=lambda _name: first[0]))
    feed.run()
    first[0] = False  # discovery shows none of them ever again
    for name in ("3", "5", "1", "2", "4"):
        still_open = sorted(n for n, status in world.statuses().items() if status == "PROCESSING")
        feed.run()
        assert sorted(shelf.asked[-1]) == still_open
        shelf.runs[name] = seen(name, S.COMPLETED)
    feed.run()
    assert set(world.statuses().values()) == {"COMPLETED"}
    asked = len(shelf.asked)
    feed.run()
    assert len(shelf.asked) == asked, "nothing is open, nothing is asked for"


def test_what_the_poll_showed_is_not_asked_for_again_in_the_same_turn(world, shelf):
    shelf.runs = {"shown": seen("shown"), "hidden": seen("hidden")}
    first = [True]
    feed = world.engine("ci", shelf.adapter(listed=lambda name: first[0] or name == "shown"))
    feed.run()
    first[0] = False
    feed.run()
    assert shelf.asked == [["hidden"]]


def test_many_open_instances_are_asked_for_in_portions(world, shelf):
    shelf.runs = {str(n): seen(str(n)) for n in range(1200)}
    first = [True]
    feed = world.engine("ci", shelf.adapter(listed=lambda _name: first[0]))
    feed.run()
    first[0] = False
    feed.run()
    assert [len(asked) for asked in shelf.asked] == [500, 500, 200]


def test_absent_once_may_be_chance_and_twice_is_vanished(world, shelf):
    shelf.runs = {"a": seen("a"), "b": seen("b"), "c": seen("c", S.COMPLETED)}
    first = [True]
    feed = world.engine("ci", shelf.adapter(listed=lambda _name: first[0]))
    feed.run()
    first[0] = False
    kept = dict(shelf.runs)
    shelf.runs = {}
    feed.run()
    assert not any(row["vanished_at"] for row in world.instances().values())
    shelf.runs = {"a": kept["a"]}  # it was chance
    feed.run()
    rows = world.instances()
    assert {name for name, row in rows.items() if row["vanished_at"]} == {"b"}
    assert rows["b"]["status"] == "PROCESSING"
    shelf.runs = {}
    feed.run()
    assert not world.instances()["a"]["vanished_at"]
    feed.run()
    assert world.instances()["a"]["vanished_at"]
    shelf.asked.clear()
    feed.run()
    assert shelf.asked == [], "what has vanished is not asked for any more"


def test_an_engine_that_does_not_answer_a_refetch_makes_nothing_vanish(world):
    def poll(_self, cursors):
        if not cursors:
            yield Page(observations=(seen("a"),), cursors={"all": "1"})

    def refetch(_self, _ids):
        raise TransientError("down")

    feed = world.engine("ci", puppet(poll, refetch=refetch))
    turns(feed, 4)
    assert (world.instances()["a"]["vanished_at"], feed.health.state) == (None, "lost")


def test_the_first_turn_is_a_baseline_and_the_second_is_not(daemon_store, shelf):
    world = World(daemon_store, links=(RULE,), automations={"Nightly": Policy(quiet_s=0.0)})
    shelf.runs = {f"old{n}": seen(f"old{n}", S.COMPLETED, parameters={"RUN_ID": f"r{n}"}) for n in range(3)}
    feed = world.engine("ci", shelf.adapter())
    feed.run()
    assert (len(world.instances()), world.events()) == (3, [])
    shelf.runs["new"] = seen("new", S.COMPLETED, parameters={"RUN_ID": "r-new"})
    feed.run()
    assert [e["type"] for e in world.events() if e["run_id"] is None or e["type"].startswith("instance")]
    with daemon_store.reading() as uow:
        assert [run.correlation_id for run in uow.runs.list()] == ["r-new"]
    world.stop()


def test_a_first_turn_that_breaks_off_is_begun_again_as_a_baseline(daemon_store):
    world = World(daemon_store, links=(RULE,), automations={"Nightly": Policy(quiet_s=0.0)})
    breaks = [True, True, False]

    def poll(_self, _cursors):
        for n in range(3):
            if n == 2 and breaks.pop(0):
                raise TransientError("connection reset")
            yield Page(observations=(seen(str(n), S.COMPLETED, parameters={"RUN_ID": f"r{n}"}),))

    feed = world.engine("ci", puppet(poll))
    turns(feed, 3)
    assert feed.health.state == "ok"
    assert len(world.instances()) == 3
    assert world.events() == []
    with daemon_store.reading() as uow:
        assert uow.runs.list() == []
    world.stop()


def test_a_backfill_makes_no_baseline(world):
    def poll(self, _cursors):
        assert self.context.backfill
        yield Page(observations=(seen("old", S.COMPLETED),))

    feed = world.engine("ci", puppet(poll))
    feed._backfill_since = START
    feed.run()
    with world.store.reading() as uow:
        assert uow.ledger.baseline_at(feed.engine.id) is None


def test_a_second_backfill_begins_at_its_own_window_and_leaves_the_polls_cursors_alone(world):
    given = []

    def poll(self, cursors):
        given.append(cursors)
        yield Page(observations=(seen("old", S.COMPLETED),), cursors={"all": "7"})

    feed = world.engine("ci", puppet(poll))
    feed.run()
    backfill = world.engine("ci", puppet(poll))
    backfill._backfill_since = START
    backfill.run()
    backfill.run()
    feed.run()
    assert given == [{}, {}, {}, {"all": "7"}]


def test_include_and_exclude_choose_what_is_discovered(world, shelf):
    shelf.runs = {
        name: seen(name, workflow=workflow)
        for name, workflow in {"1": "team/app", "2": "team/tmp", "3": "other/app"}.items()
    }
    world.engine("ci", shelf.adapter(), include=("team/*",), exclude=("*/tmp",)).run()
    assert set(world.instances()) == {"1"}


def test_what_was_begun_is_followed_to_its_end_also_when_it_is_excluded_now(world, shelf):
    shelf.runs = {"1": seen("1", workflow="team/app")}
    world.engine("ci", shelf.adapter()).run()
    feed = world.engine("ci", shelf.adapter(), exclude=("team/*",))
    shelf.runs = {
        "1": seen("1", S.FAILED, workflow="team/app"),
        "2": seen("2", workflow="team/app"),
    }
    feed.run()
    assert world.statuses() == {"1": "FAILED"}
    feed.run()
    assert len(shelf.asked) == 1


@pytest.mark.parametrize("skew_h", [-5, -1, 1, 5])
def test_an_engine_whose_clock_is_hours_off_loses_no_run(world, skew_h):
    """Its own times, its `Date`, and a look-back shorter than the skew: it asks for what is newer than `since`."""
    skew = timedelta(hours=skew_h)
    runs = {}

    def engine_now():
        return utc_now() + skew

    def answer(_method, _path, _headers, _body):
        return 200, {"Date": engine_now().strftime("%a, %d %b %Y %H:%M:%S GMT")}, b"{}"

    def check(self):
        self.context.http().get("/")
        return Counting.check(self)

    def poll(self, cursors):
        self.context.http().get("/")
        after = cursors.get("all") or self.context.since.isoformat()
        new = tuple(o for o in runs.values() if o.created_at.isoformat() > after)
        yield Page(observations=new, cursors={"all": max([after, *(o.created_at.isoformat() for o in new)])})

    def refetch(_self, ids):
        yield Page(observations=tuple(runs[i] for i in ids if i in runs), gone=tuple(i for i in ids if i not in runs))

    def begin(name):
        at = engine_now()
        runs[name] = seen(name, created_at=at, started_at=at)

    def end(name):
        begun = runs[name].started_at
        runs[name] = seen(name, S.COMPLETED, created_at=begun, started_at=begun, finished_at=engine_now())

    begin("before")
    with serve_exchanges(answer) as server:
        feed = world.engine("ci", puppet(poll, refetch=refetch, check=check), url=server.url, lookback_s=600)
        assert feed.run() == 0.02
        assert abs(feed.health.skew_s - skew.total_seconds()) < 2
        begin("during")
        feed.run()
        end("before")
        feed.run()
        end("during")
        feed.run()
    rows = world.instances()
    assert {name: str(row["status"]) for name, row in rows.items()} == {"before": "COMPLETED", "during": "COMPLETED"}
    for name, row in rows.items():
        assert (row["started_at"], row["finished_at"]) == (runs[name].started_at, runs[name].finished_at)
        assert row["attempt"] == 1
