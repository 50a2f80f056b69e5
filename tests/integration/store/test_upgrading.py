"""Databases of earlier versions, with data in them, brought up to date."""

from __future__ import annotations

import sqlalchemy as sa

from runlink.domain import Automation, Engine, OrchestrationInstance, Run, RunOrchestration
from runlink.store import open_store, tables
from runlink.store.opening import SqlStore
from runlink.store.schema import upgrade


def at_revision(url, revision):
    """A new database as an earlier version left it."""
    engine = sa.create_engine(sa.make_url(url).set(drivername=DRIVERS[sa.make_url(url).get_backend_name()]))
    upgrade(engine, to=revision)
    return engine


DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


def insert(connection, table, entity):
    """The columns that the old table has; what is newer is not there yet."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    values = {name: getattr(entity, name) for name in there if hasattr(entity, name)}
    old = sa.table(table.name, *(sa.column(name, table.c[name].type) for name in values))
    connection.execute(sa.insert(old), values)


def test_0002_pins_what_hands_did_until_then(new_url, kind):
    url = new_url(kind, migrated=False)
    automation, engine = Automation(name="nightly"), Engine(name="ci", type="test")
    run = Run(automation_id=automation.id)
    instances = [OrchestrationInstance(engine_id=engine.id, external_id=name) for name in "abc"]
    links = [
        RunOrchestration(run_id=run.id, orchestration_instance_id=instance.id, rule=rule, is_active=is_active)
        for instance, rule, is_active in zip(instances, ("rule", None, "rule"), (True, True, False), strict=True)
    ]
    old = at_revision(url, "0001")
    with old.begin() as connection:
        for table, entity in (
            (tables.automations, automation),
            (tables.engines, engine),
            (tables.runs, run),
            *((tables.orchestration_instances, instance) for instance in instances),
            *((tables.run_orchestrations, link) for link in links),
        ):
            insert(connection, table, entity)
        waits = {"instance_id": instances[0].id, "rule": "rule", "automation_id": automation.id, "key": "k"}
        connection.execute(sa.insert(tables.waiting_keys), waits)
    old.dispose()
    store: SqlStore = open_store(url)
    with store.reading() as uow:
        found = {link.id: link.pinned for link in uow.run_orchestrations.list(include_inactive=True)}
        assert found == {links[0].id: False, links[1].id: True, links[2].id: True}
        assert uow.runs.get(run.id) == run
        (waiting,) = uow.connection.execute(sa.select(tables.waiting_keys)).mappings()
        assert dict(waiting) == waits
    store.close()


def test_0007_lists_what_counts_for_nothing_and_says_that_it_takes_a_while(new_url, kind, caplog):
    url = new_url(kind, migrated=False)
    automation, engine = Automation(name="nightly"), Engine(name="ci", type="test")
    runs = [Run(automation_id=automation.id) for _ in range(2)]
    instances = [OrchestrationInstance(engine_id=engine.id, external_id=name) for name in "abc"]
    links = [
        RunOrchestration(run_id=runs[0].id, orchestration_instance_id=instance.id, is_active=is_active)
        for instance, is_active in zip(instances, (True, False), strict=False)
    ]
    old = at_revision(url, "0006")
    with old.begin() as connection:
        for table, entities in (
            (tables.automations, [automation]),
            (tables.engines, [engine]),
            (tables.runs, runs),
            (tables.orchestration_instances, instances),
            (tables.run_orchestrations, links),
        ):
            for entity in entities:
                insert(connection, table, entity)
    old.dispose()
    store: SqlStore = open_store(url)
    with store.reading() as uow:
        assert set(uow.connection.scalars(sa.select(tables.unlinked_runs.c.run_id))) == {runs[1].id}
        unlinked = set(uow.connection.scalars(sa.select(tables.unlinked_instances.c.instance_id)))
    assert unlinked == {instances[1].id, instances[2].id}
    store.close()
    assert "the database is upgraded from schema 0006 to" in caplog.text
