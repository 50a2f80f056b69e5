"""Listings and search: what is found, in which order, and by which index. Plans are of analysed tables."""

from __future__ import annotations

import re

import pytest

from runlink.domain import Automation, Engine, OrchestrationInstance, Run, RunOrchestration
from runlink.store import mapping, tables
from runlink.store.bulk import Bulk

RUNS, INSTANCES = 3000, 6000


@pytest.fixture
def find(store):
    """find("runs", search="x"): the pages of a listing, of two rows each, one after the other."""

    def find(kind, name="external_id", **filters):
        found, before = [], None
        with store.reading() as uow:
            while page := uow.listings.page(kind, filters, before=before, limit=2):
                found += [row[name] for row in page]
                before = page[-1]["id"]
        return found

    return find


@pytest.fixture
def instances(store, stored):
    """instances(("workflow", "id", "message"), …): stored, one after the other."""

    def instances(*told):
        made = [
            OrchestrationInstance(engine_id=stored.engines.id, workflow=workflow, external_id=name, message=message)
            for workflow, name, message in told
        ]
        with store.unit_of_work() as uow:
            for instance in made:
                uow.orchestration_instances.add(instance)
        return made

    return instances


def test_a_row_is_as_the_repository_gives_it(store, stored):
    with store.reading() as uow:
        for kind, entity in (("runs", stored.runs), ("instances", stored.orchestration_instances)):
            row = uow.listings.page(kind, {})[0]
            assert {name: row[name] for name in ("id", "created_at", "started_at", "version", "is_active")} == {
                "id": entity.id,
                "created_at": entity.created_at,
                "started_at": None,
                "version": 1,
                "is_active": True,
            }
            assert row == uow.listings.one(kind, entity.id)


def test_documents_and_truths_come_back_as_they_were(store, stored):
    instance = OrchestrationInstance(engine_id=stored.engines.id, external_id="x", parameters={"a": [1, None, "ü"]})
    with store.unit_of_work() as uow:
        uow.orchestration_instances.add(instance)
    with store.reading() as uow:
        row = uow.listings.page("instances", {"external_id": "x"})[0]
    assert (row["parameters"], row["labels"], row["engine_id"]) == ({"a": [1, None, "ü"]}, None, stored.engines.id)


def test_instances_are_found_by_any_part_of_their_texts_in_any_case(instances, find):
    instances(("folder/Nightly", "b-1", None), ("folder/nightly", "b-2", "Disk FULL: 100 %"), (None, "c-3", 'say "no"'))
    assert find("instances", search="IGHTL") == ["b-2", "b-1"]
    assert find("instances", search="b-") == ["b-2", "b-1"], "shorter than what an index can look up"
    assert find("instances", search="-") == ["c-3", "b-2", "b-1", "build-123"]
    assert find("instances", search="disk full: 100 %") == ["b-2"]
    assert find("instances", search='"no"') == ["c-3"]
    assert find("instances", search="%") == ["b-2"]
    assert find("instances", search="100_%") == []
    assert find("instances", search="AND") == []
    assert find("instances", search="nightlyb-1") == [], "one text does not run into the next"
    assert find("instances", search="ghtnig") == [], "its trigrams are there, but not in this order"


def test_letters_beyond_ascii_are_found_as_they_are_written(instances, find):
    instances(("Überprüfung", "1", "日本語のログ"))
    assert find("instances", search="prüf") == ["1"]
    assert find("instances", search="本語の") == ["1"]


def test_a_workflow_whose_name_is_a_part_of_the_id_is_found_as_well(instances, find):
    instances(("folder/nightly", "folder/nightly#7", None))
    assert find("instances", search="older/night") == ["folder/nightly#7"]
    assert find("instances", search="nightly#7") == ["folder/nightly#7"]


def test_a_changed_text_is_found_and_the_former_is_not(store, instances, find):
    [instance] = instances(("nightly", "b-1", None))
    instance.observe(status=instance.status, message="out of memory", at=instance.created_at)
    with store.unit_of_work() as uow:
        uow.orchestration_instances.update(instance)
    assert find("instances", search="memory") == ["b-1"]
    instance.observe(status=instance.status, message="disk full", at=instance.created_at)
    with store.unit_of_work() as uow:
        uow.orchestration_instances.update(instance)
    assert find("instances", search="memory") == []
    assert find("instances", search="disk") == ["b-1"]
    assert find("instances", search="nightly") == ["b-1"]


def test_of_a_long_text_the_beginning_is_searched(instances, find):
    instances(("nightly", "b-1", "x" * 990 + "needle" + "y" * 5000 + "pin"))
    assert find("instances", search="needle") == ["b-1"]
    assert find("instances", search="ypin") == []


def test_runs_are_found_by_their_key_and_their_reasons(store, stored, find):
    failed, cancelled = (Run(automation_id=stored.automations.id, correlation_id=key) for key in ("Rel-7", "rel-8"))
    failed.start()
    failed.fail("Out of Memory")
    cancelled.cancel("nobody wanted it")
    with store.unit_of_work() as uow:
        uow.runs.add(failed)
        uow.runs.add(cancelled)
    assert find("runs", "correlation_id", search="REL-") == ["rel-8", "Rel-7"]
    assert find("runs", "correlation_id", search="memory") == ["Rel-7"]
    assert find("runs", "correlation_id", search="wanted", status="CANCELLED") == ["rel-8"]
    assert find("runs", "correlation_id", search="wanted", status="FAILED") == []


def test_linked_or_not(store, stored, instances, find):
    assert find("instances", linked=True) == ["build-123"]
    [other] = instances((None, "free", None))
    assert find("instances", linked=False) == ["free"]
    with store.unit_of_work() as uow:
        uow.run_orchestrations.add(RunOrchestration(run_id=stored.runs.id, orchestration_instance_id=other.id))
    assert find("instances", linked=False) == []
    assert find("instances", run_id=stored.runs.id) == ["free", "build-123"]


@pytest.fixture
def many(store):
    """Enough rows that an index is worth it, and what the planner knows of them."""
    automations = [Automation(name=f"a{n}") for n in range(20)]
    engines = [Engine(name=f"e{n}", type="x") for n in range(10)]
    with store.unit_of_work() as uow:
        for automation in automations:
            uow.automations.add(automation)
        for engine in engines:
            uow.engines.add(engine)
        runs = [Run(automation_id=automations[n % 20].id, correlation_id=f"key-{n}") for n in range(RUNS)]
        for run in runs[:20]:
            run.start()
        instances = [
            OrchestrationInstance(
                engine_id=engines[n % 10].id,
                external_id=f"b-{n}",
                workflow=f"folder/job-{n % 500}",
                message=None if n % 10 else f"step {n} failed",
            )
            for n in range(INSTANCES)
        ]
        bulk = Bulk(uow.connection)
        bulk.insert(tables.runs, mapping.RUN.columns, [mapping.RUN.to_row(run) for run in runs])
        rows = [mapping.INSTANCE.to_row(instance) for instance in instances]
        bulk.insert(tables.orchestration_instances, mapping.INSTANCE.columns, rows)
    with store.unit_of_work() as uow:
        uow.connection.exec_driver_sql("ANALYZE")


def scans(plan):
    """Steps that pass over a whole table that may be large (there are no links). FTS5 calls a look-up a scan, too."""
    return [
        one
        for one in plan
        if re.search(r"SCAN (?!automations|engines|\w+ VIRTUAL)|Seq Scan on (?!auto|engines|run_orch)", one)
    ]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("kind", "filters"),
    [
        ("runs", {"automation": "a3"}),
        ("runs", {"status": "PROCESSING"}),
        ("runs", {"correlation_id": "key-7"}),
        ("runs", {"search": "key-2999"}),
        ("runs", {"search": "nowhere"}),
        ("instances", {"engine": "e3"}),
        ("instances", {"external_id": "b-77", "engine": "e7"}),
        ("instances", {"search": "step 5990 failed"}),
        ("instances", {"search": "job-499"}),
        ("instances", {"search": "nowhere"}),
    ],
)
def test_no_filter_passes_over_a_whole_table(store, kind, filters):
    with store.reading() as uow:
        plan = uow.listings.plan(kind, filters)
    assert scans(plan) == [], plan


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("text", ["job-499", "nowhere"])
def test_what_is_searched_for_is_looked_up_in_the_trigrams(store, kind, text):
    with store.reading() as uow:
        plan = uow.listings.plan("instances", {"search": text})
    index = "instance_texts_index VIRTUAL TABLE" if kind == "sqlite" else "ix_instance_texts_trigrams"
    assert any(index in step for step in plan), plan


@pytest.mark.usefixtures("many")
def test_what_all_have_is_no_reason_to_look_at_all(store):
    """The page is filled from the newest on, without a sort of everything that is found."""
    with store.reading() as uow:
        plan = uow.listings.plan("instances", {"search": "folder/job"})
        rows = uow.listings.page("instances", {"search": "folder/job"}, limit=3)
    assert not any("SORT" in step.upper() or "TEMP B-TREE" in step for step in plan), plan
    assert [row["external_id"] for row in rows] == [f"b-{INSTANCES - n}" for n in (1, 2, 3)]
