"""The lists of what counts for nothing: whatever is done to links, they hold what has none; the inbox walks them."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from runlink.domain import OrchestrationInstance, Run, RunOrchestration
from runlink.store import mapping, tables
from runlink.store.bulk import Bulk


@pytest.fixture
def lists(store):
    """lists(): ids of the Runs and of the instances that stand in the lists."""

    def lists():
        with store.reading() as uow:
            found = [
                set(uow.connection.execute(sa.select(column)).scalars())
                for column in (tables.unlinked_runs.c.run_id, tables.unlinked_instances.c.instance_id)
            ]
            shown = [
                {row["id"] for row in of(linked=False, limit=500)} for of in (uow.reports.runs, uow.reports.instances)
            ]
        assert shown == found
        return found

    return lists


@pytest.fixture
def made(store, stored):
    """A Run and two instances more."""
    run = Run(automation_id=stored.automations.id)
    instances = [OrchestrationInstance(engine_id=stored.engines.id, external_id=name) for name in ("x", "y")]
    with store.unit_of_work() as uow:
        uow.runs.add(run)
        for one in instances:
            uow.orchestration_instances.add(one)
    return run, *instances


def link(store, run, instance):
    made = RunOrchestration(run_id=run.id, orchestration_instance_id=instance.id)
    with store.unit_of_work() as uow:
        uow.run_orchestrations.add(made)
    return made


def set_active(store, links, *, is_active):
    with store.unit_of_work() as uow:
        table = tables.run_orchestrations
        ids = [one.id for one in links]
        uow.connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(is_active=is_active))


def test_what_is_new_is_listed_and_leaves_with_its_first_link(store, made, lists):
    run, x, y = made
    assert lists() == [{run.id}, {x.id, y.id}]
    link(store, run, x)
    assert lists() == [set(), {y.id}]


def test_it_comes_back_with_the_end_of_the_last_link_alone(store, stored, made, lists):
    run, x, y = made
    links = [link(store, run, x), link(store, stored.runs, x)]
    set_active(store, links[:1], is_active=False)
    assert lists() == [{run.id}, {y.id}]
    set_active(store, links[1:], is_active=False)
    assert lists() == [{run.id}, {x.id, y.id}], "the other Run has an instance still"
    set_active(store, links[:1], is_active=True)
    assert lists() == [set(), {y.id}]
    with store.unit_of_work() as uow:
        uow.connection.execute(
            sa.delete(tables.run_orchestrations).where(tables.run_orchestrations.c.id == links[0].id)
        )
    assert lists() == [{run.id}, {x.id, y.id}]


def test_many_at_once_are_listed_as_one_by_one(store, stored, lists):
    runs = [Run(automation_id=stored.automations.id) for _ in range(20)]
    instances = [OrchestrationInstance(engine_id=stored.engines.id, external_id=f"m{n}") for n in range(20)]
    links = [
        RunOrchestration(run_id=run.id, orchestration_instance_id=instance.id, is_active=n % 2 == 0)
        for n, (run, instance) in enumerate(zip(runs, instances, strict=True))
    ]
    with store.unit_of_work() as uow:
        for kind, table, entities in (
            (mapping.RUN, tables.runs, runs),
            (mapping.INSTANCE, tables.orchestration_instances, instances),
            (mapping.LINK, tables.run_orchestrations, links),
        ):
            Bulk(uow.connection).insert(table, kind.columns, [kind.to_row(one) for one in entities])
    assert lists() == [{run.id for run in runs[1::2]}, {instance.id for instance in instances[1::2]}]


def test_two_that_end_the_last_two_links_at_once_do_not_lose_it(store, stored, made, lists):
    run, x, y = made
    links = [link(store, run, x), link(store, stored.runs, x)]
    both = threading.Barrier(2, timeout=30)

    def end(one):
        def work(uow):
            if store.url.get_backend_name() == "postgresql" and not both.broken:
                both.wait()  # both have begun; on SQLite they come one after the other
            uow.connection.execute(
                sa.update(tables.run_orchestrations)
                .where(tables.run_orchestrations.c.id == one.id)
                .values(is_active=False)
            )
            both.abort()

        store.write(work, actor="test")

    threads = [threading.Thread(target=end, args=(one,)) for one in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lists()[1] == {x.id, y.id}


def test_the_inbox_walks_the_lists_page_by_page(store, stored, made):
    run, x, y = made
    with store.reading() as uow:
        first = uow.reports.instances(linked=False, limit=1)
        second = uow.reports.instances(linked=False, limit=1, before=first[0]["id"])
        assert [row["id"] for row in (*first, *second)] == [y.id, x.id]
        assert uow.reports.instances(linked=False, limit=1, before=x.id) == []
        assert [row["id"] for row in uow.reports.runs(linked=False, before=None)] == [run.id]
        assert uow.reports.runs(linked=False, before=run.id) == []
        assert [row["id"] for row in uow.reports.runs(linked=True)] == [stored.runs.id]
