"""What a changed configuration would do: as it would be, and nothing is changed by looking."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from runlink.application.plan import Pace, plan, waiting_rows
from runlink.application.settings import EngineSettings, KeyHook, LinkRule, Settings
from runlink.domain import Run, ValidationError
from runlink.store import open_store, tables
from runlink.store.feed_health import FeedHealthRow

from .conftest import World

KEY = {"automation": "nightly", "run_key": "parameters.RUN_ID"}


def settings(*rules, engines=("ci",), **engine):
    return Settings(
        store_url="",
        engines={name: EngineSettings(name=name, type="Test", url=f"http://{name}", **engine) for name in engines},
        links=tuple(LinkRule(**({"name": f"rule{n}"} | rule)) for n, rule in enumerate(rules)),
    )


def paces(wanted):
    return {name: Pace(interval_s=15, requests_per_turn=2) for name in wanted.engines}


def look(world, wanted, **more):
    return plan(world.store, wanted, {}, paces(wanted), actor="cli:me", now=lambda: world.now, **more)


def test_it_says_what_registering_and_relinking_then_do_and_changes_nothing(world, build):
    world.configure(
        KEY | {"create_run": True, "workflow": "lib"}, {"name": "gone", "inherit": "parent"}, engines=("ci", "old")
    )
    world.see(build("1", run="a", workflow="lib"), build("2", parent="1"))
    world.see(*(build(f"app{n}", run=f"r{n % 3}") for n in range(7)))
    wanted = settings(KEY | {"automation": "app", "create_run": True, "workflow": "app"}, engines=("ci", "new"))
    before = world.everything()
    found = look(world, wanted)
    assert world.everything() == before
    assert found["changes"] == [
        "engine new: new, Test at http://new",
        "engine old: deactivated; its instances stay",
        "automation app: new",
    ]
    rows = {row["rule"]: row for row in found["rules"]}
    assert (rows["rule0"]["instances"], rows["rule0"]["workflows"]) == (8, 1)
    assert rows["rule0"]["most"] == [{"engine": "ci", "workflow": "app", "instances": 8}]
    assert [(name, row["linked"], row["unlinked"], row["in_file"]) for name, row in rows.items()] == [
        ("rule0", 7, 1, True),
        ("gone", 0, 1, False),
    ]
    assert found["runs"] == [{"automation": "app", "created": 3, "correlation_ids": ["r0", "r1", "r2"]}]
    world.configure(KEY | {"automation": "app", "create_run": True, "workflow": "app"}, engines=("ci", "new"))
    done = world.relink()
    assert (done.linked, done.unlinked, done.made["app"]) == ({"rule0": 7}, {"rule0": 1, "gone": 1}, {"r0", "r1", "r2"})


def test_keys_that_no_run_has_are_told_by_rule(world, build):
    world.configure()
    world.see(*(build(f"{n}", run=f"r{n % 13:02}") for n in range(15)), build("other", workflow="lib", run="made"))
    world.see(build("both", workflow="both", run="made"))
    by_hand, making = KEY | {"workflow": ["app", "both"]}, KEY | {"workflow": "lib", "create_run": True}
    told = {"rule": "rule0", "automation": "nightly", "instances": 15, "keys": 13}
    told["correlation_ids"] = [f"r{n:02}" for n in range(10)]
    assert look(world, settings(by_hand, making))["waiting"] == [told], "and not what another rule makes"
    world.configure(by_hand, making)
    assert waiting_rows(settings(by_hand, making), world.relink()) == [told]
    world.run("r00")
    assert look(world, settings(by_hand, making))["waiting"][0]["keys"] == 12


def test_who_writes_meanwhile_is_not_kept_waiting(world, build):
    """A transaction that has written to the very rows, and is committed behind the plan's back."""
    world.configure(KEY | {"create_run": True})
    world.see(*(build(f"{n}", run=f"r{n}") for n in range(3)))
    wanted = settings(KEY | {"automation": "app", "create_run": True}, engines=("ci", "new"))
    with world.store.unit_of_work("cli:me") as uow:
        held = uow.ledger.tracked([world.instance(f"{n}").id for n in range(3)])
        uow.ledger.update_instances(list(held.values()), "cli:me")
        uow.ledger.lock_automations([world.automation()])
        engine = uow.engines.get(world.engines["ci"].id)
        engine.update_details(url="http://elsewhere")
        uow.engines.update(engine)
        other = open_store(world.store.url.render_as_string(hide_password=False), migrate=False)
        with closing(other):  # as another process would
            found = plan(other, wanted, {}, paces(wanted), actor="cli:me", now=lambda: world.now)
        uow.ledger.insert_runs([Run(automation_id=world.automation(), correlation_id="late")], "cli:me")
    assert (found["rules"][0]["linked"], found["runs"][0]["created"]) == (3, 3)
    assert "late" in world.runs()


def test_the_file_stays_as_it_is_byte_by_byte(new_url, build):
    store = open_store(new_url("sqlite"))
    world = World(store)
    world.configure(KEY | {"create_run": True, "workflow": "lib"}, {"name": "gone", "inherit": "parent"})
    world.see(*(build(f"{n}", run=f"r{n % 5}", workflow="app" if n % 2 else "lib", parent="0") for n in range(250)))
    store.close()
    path = Path(store.url.database)
    before = path.read_bytes()
    with closing(open_store(str(store.url), migrate=False)) as other:
        wanted = settings(KEY | {"automation": "app", "create_run": True}, engines=("new",))
        found = plan(other, wanted, {}, paces(wanted), actor="cli:me", now=lambda: world.now)
        assert path.read_bytes() == before
        assert path.with_name(f"{path.name}-wal").stat().st_size == 0  # nothing on its way into it either
    assert path.read_bytes() == before
    assert (found["instances"], found["runs"][0]["created"]) == (250, 5)


def test_what_would_be_is_counted_once_over_pages(world, build):
    world.configure(KEY)
    world.see(*(build(f"{n}", run="r", workflow="app" if n % 2 else "lib") for n in range(450)))
    before = world.everything()
    found = look(world, settings(KEY, KEY | {"create_run": True, "workflow": "app"}))
    assert world.everything() == before
    assert [row["linked"] for row in found["rules"]] == [
        449,
        1,
    ]  # whose Run is made is linked by the rule that makes it
    assert found["runs"] == [{"automation": "nightly", "created": 1, "correlation_ids": ["r"]}]
    assert found["instances"] == 450


def test_requests_are_measured_where_a_daemon_ran_and_estimated_elsewhere(world):
    world.configure(engines=("ci", "new"))
    with world.store.daemon_lock("host pid 1"):
        pass
    (lease,) = world.rows(tables.leases)
    health = FeedHealthRow(
        world.engines["ci"].id,
        "poll",
        "ok",
        None,
        lease["taken_at"] + timedelta(hours=2),
        None,
        0,
        0,
        None,
        None,
        500,
        None,
    )
    world.store.write(lambda uow: uow.feed_health.store([health]), actor="daemon")
    found = look(world, settings(engines=("ci", "new"), max_requests_per_minute=10))
    assert found["engines"] == [
        {"engine": "ci", "requests_per_hour": 250.0, "basis": "measured", "interval_s": 15,
         "max_requests_per_hour": 600, "headroom_per_hour": 350.0},
        {"engine": "new", "requests_per_hour": 480.0, "basis": "estimated", "interval_s": 15,
         "max_requests_per_hour": 600, "headroom_per_hour": 120.0},
    ]  # fmt: skip


def test_rules_that_fail_are_counted_with_a_reason(world, build):
    world.configure()
    world.see(build("1", run="r"), build("2"))
    found = look(world, settings(KEY | {"run_key": (KeyHook(plugin="none"),)}))
    assert [(row["failed"], "not loaded" in row["reason"]) for row in found["rules"]] == [(2, True)]
    assert world.quarantine() == []


def test_what_registering_would_refuse_is_refused(world):
    world.configure(engines=("ci",))
    wanted = Settings(store_url="", engines={"ci": EngineSettings(name="ci", type="Other", url="http://ci")})
    with pytest.raises(ValidationError, match="is stored as 'Test'"):
        look(world, wanted)
