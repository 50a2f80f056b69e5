"""Entities one at a time: keys, references, soft deletion, versions, actors, paging, history."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from runlink.application.errors import AlreadyExists, Missing
from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    ConcurrencyError,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
    OrchestrationInstance,
    Run,
    RunOrchestration,
    ValidationError,
    new_id,
)
from runlink.store import tables

S = ExecutionStatus
REPOSITORIES = (
    "automations",
    "batches",
    "items",
    "runs",
    "batch_executions",
    "item_executions",
    "engines",
    "orchestration_instances",
    "run_orchestrations",
)

TWINS = {
    "automations": lambda f: Automation(name=f.automations.name),
    "batches": lambda f: Batch(automation_id=f.automations.id, name="Q1"),
    "items": lambda f: Item(batch_id=f.batches.id, sequence_number=0),
    "batch_executions": lambda f: BatchExecution(run_id=f.runs.id, batch_id=f.batches.id),
    "engines": lambda f: Engine(name="jenkins-prod", type="Argo"),
    "orchestration_instances": lambda f: OrchestrationInstance(engine_id=f.engines.id, external_id="build-123"),
    "run_orchestrations": lambda f: RunOrchestration(
        run_id=f.runs.id, orchestration_instance_id=f.orchestration_instances.id
    ),
}
"""Another entity with the same key, of each kind that has one."""

ORPHANS = {
    "batches": lambda f: Batch(automation_id=new_id(), name="Q2"),
    "items": lambda f: Item(batch_id=new_id(), sequence_number=1),
    "runs": lambda f: Run(automation_id=new_id()),
    "batch_executions": lambda f: BatchExecution(run_id=f.runs.id, batch_id=new_id()),
    "item_executions": lambda f: ItemExecution(
        run_id=f.runs.id, batch_execution_id=f.batch_executions.id, item_id=new_id()
    ),
    "orchestration_instances": lambda f: OrchestrationInstance(engine_id=new_id(), external_id="1"),
    "run_orchestrations": lambda f: RunOrchestration(run_id=f.runs.id, orchestration_instance_id=new_id()),
    "item_state_history": lambda f: ItemStateHistory(item_execution_id=new_id(), new_status=S.PENDING),
}
"""An entity that refers to nothing, of each kind that refers to something."""


# --- keys and references ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
def test_a_taken_key_is_refused_and_the_transaction_goes_on(store, stored, name):
    with store.unit_of_work() as uow:
        with pytest.raises(AlreadyExists, match=f"exists already, as {getattr(stored, name).id}$"):
            getattr(uow, name).add(TWINS[name](stored))
        uow.automations.add(Automation(name="after"))
    with store.reading() as uow:
        assert [a.name for a in uow.automations.list()] == ["Data Import", "after"]


@pytest.mark.parametrize("name", [name for name in TWINS if name != "automations"])
def test_a_key_held_by_a_deleted_row_is_refused_and_restore_is_named(store, stored, name):
    with store.unit_of_work() as uow:
        getattr(uow, name).delete(getattr(stored, name))
    with store.unit_of_work() as uow, pytest.raises(AlreadyExists, match=r"deleted: get it and restore\(\) it"):
        getattr(uow, name).add(TWINS[name](stored))
    with store.unit_of_work() as uow:
        again = getattr(uow, name).get(getattr(stored, name).id)
        getattr(uow, name).restore(again)
    with store.reading() as uow:
        assert getattr(uow, name).list() == [again]


def test_a_deleted_automation_frees_its_name(store, stored):
    with store.unit_of_work() as uow:
        uow.automations.delete(stored.automations)
        uow.automations.add(Automation(name="Data Import"))
    with store.unit_of_work() as uow, pytest.raises(AlreadyExists, match="Data Import"):
        uow.automations.restore(uow.automations.get(stored.automations.id))
    with store.reading() as uow:
        assert len(uow.automations.list()) == 1
        assert len(uow.automations.list(include_inactive=True)) == 2


@pytest.mark.parametrize("name", REPOSITORIES)
def test_an_entity_is_added_once(store, stored, name):
    with store.unit_of_work() as uow, pytest.raises(AlreadyExists):
        getattr(uow, name).add(getattr(stored, name))


@pytest.mark.parametrize("name", ORPHANS)
def test_a_reference_to_nothing_is_refused(store, stored, name):
    with store.unit_of_work() as uow, pytest.raises(Missing):
        getattr(uow, name).add(ORPHANS[name](stored))


def test_the_missing_reference_is_named(store, stored):
    orphan = Batch(automation_id=new_id(), name="Q2")
    with store.unit_of_work() as uow, pytest.raises(Missing, match=f"automation_id {orphan.automation_id}"):
        uow.batches.add(orphan)


def test_a_change_into_a_taken_key_is_refused(store, stored):
    with store.unit_of_work() as uow:
        other = Engine(name="other", type="Jenkins")
        uow.engines.add(other)
        other.update_details(name="jenkins-prod")
        with pytest.raises(AlreadyExists, match="name jenkins-prod"):
            uow.engines.update(other)


def test_the_database_itself_holds_the_keys_of_the_reference(store):
    """As docs/reference/domain-entities.md names them."""
    inspector = sa.inspect(store.writing)
    unique = {
        table: {tuple(c["column_names"]) for c in inspector.get_unique_constraints(table)}
        for table in (
            "batches",
            "items",
            "batch_executions",
            "engines",
            "orchestration_instances",
            "run_orchestrations",
        )
    }
    assert unique == {
        "batches": {("automation_id", "name")},
        "items": {("batch_id", "sequence_number")},
        "batch_executions": {("run_id", "batch_id")},
        "engines": {("name",)},
        "orchestration_instances": {("engine_id", "external_id")},
        "run_orchestrations": {("run_id", "orchestration_instance_id")},
    }
    (partial,) = (i for i in inspector.get_indexes("automations") if i["name"] == "ix_automation_name_active")
    assert partial["unique"]
    assert partial["column_names"] == ["name"]
    where = partial["dialect_options"][f"{store.writing.dialect.name}_where"]
    assert "is_active" in str(where)


def test_a_rule_of_the_database_is_told_as_a_validation_error(store, stored):
    stored.items.sequence_number = -1  # round the entity's own check
    stored.items.update_payload({})
    with store.unit_of_work() as uow, pytest.raises(ValidationError, match="rule of the database"):
        uow.items.update(stored.items)


# --- soft deletion, versions, actors --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPOSITORIES)
def test_deletion_is_soft_and_can_be_taken_back(store, stored, fetch, name):
    entity = getattr(stored, name)
    with store.unit_of_work("cli:me") as uow:
        getattr(uow, name).delete(entity)
        getattr(uow, name).delete(entity)  # again: nothing happens
    assert not fetch(name, entity.id).is_active
    with store.unit_of_work("cli:you") as uow:
        assert getattr(uow, name).list() == []
        getattr(uow, name).restore(entity)
    found = fetch(name, entity.id)
    assert (found.is_active, found.version, found.updated_by) == (True, 3, "cli:you")


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_stale_version_is_refused(store, stored, fetch, name):
    mine, yours = fetch(name, getattr(stored, name).id), fetch(name, getattr(stored, name).id)
    with store.unit_of_work("cli:me") as uow:
        getattr(uow, name).delete(mine)
    with store.unit_of_work("cli:you") as uow, pytest.raises(ConcurrencyError, match="no longer at version 1"):
        getattr(uow, name).delete(yours)
    assert fetch(name, mine.id).updated_by == "cli:me"


def test_of_two_writers_at_once_one_wins_and_the_other_is_told(store, stored, fetch):
    both_have_read = threading.Barrier(2)
    outcomes = {}

    def write(actor):
        run = fetch("runs", stored.runs.id)
        both_have_read.wait()
        run.start()
        try:
            with store.unit_of_work(actor) as uow:
                uow.runs.update(run)
            outcomes[actor] = "won"
        except ConcurrencyError:
            outcomes[actor] = "told"

    threads = [threading.Thread(target=write, args=(actor,)) for actor in ("cli:a", "cli:b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes.values()) == ["told", "won"]
    run = fetch("runs", stored.runs.id)
    assert (run.version, run.status, outcomes[run.updated_by]) == (2, S.PROCESSING, "won")


def test_of_two_that_add_one_key_at_once_one_wins_and_the_other_is_told(store):
    start = threading.Barrier(2)
    outcomes = []

    def add():
        start.wait()
        try:
            with store.unit_of_work() as uow:
                uow.engines.add(Engine(name="one", type="Jenkins"))
            outcomes.append("won")
        except AlreadyExists:
            outcomes.append("told")

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["told", "won"]


def test_every_write_carries_its_actor(store, stored, fetch):
    assert {fetch(name, getattr(stored, name).id).created_by for name in REPOSITORIES} == {"cli:setup"}
    assert fetch("item_state_history", stored.item_state_history.id).created_by == "cli:setup"
    stored.runs.start()
    with store.unit_of_work("engine:jenkins-prod") as uow:
        uow.runs.update(stored.runs)
    found = fetch("runs", stored.runs.id)
    assert (found.created_by, found.updated_by) == ("cli:setup", "engine:jenkins-prod")


def test_an_actor_with_a_long_name_can_write(store):
    with store.unit_of_work("cli:" + "x" * 500) as uow:
        uow.automations.add(Automation(name="a"))


def test_nothing_is_written_for_what_did_not_change(store, stored, fetch):
    with store.unit_of_work("cli:idle") as uow:
        uow.runs.update(stored.runs)
    assert fetch("runs", stored.runs.id).updated_by == "cli:setup"


# --- listing --------------------------------------------------------------------------------------------------------


def test_listings_are_paged_by_key(store, stored):
    with store.unit_of_work() as uow:
        for number in range(1, 8):
            uow.items.add(Item(batch_id=stored.batches.id, sequence_number=number))
    pages, after = [], None
    with store.reading() as uow:
        while page := uow.items.list(after=after, limit=3, batch_id=stored.batches.id):
            pages.append([item.sequence_number for item in page])
            after = page[-1].id
    assert pages == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_a_page_does_not_move_when_a_row_before_it_goes(store, stored):
    with store.unit_of_work() as uow:
        for number in range(1, 5):
            uow.items.add(Item(batch_id=stored.batches.id, sequence_number=number))
        first = uow.items.list(limit=2)
        uow.items.delete(first[0])
        assert [item.sequence_number for item in uow.items.list(after=first[-1].id, limit=2)] == [2, 3]


def test_listings_filter_by_columns(store, stored):
    with store.unit_of_work() as uow:
        uow.runs.add(Run(automation_id=stored.automations.id, correlation_id="c"))
        assert [run.correlation_id for run in uow.runs.list(correlation_id="c")] == ["c"]
        assert [run.id for run in uow.runs.list(correlation_id=None)] == [stored.runs.id]
        assert len(uow.runs.list(status=S.PENDING)) == 2


# --- history of item executions -------------------------------------------------------------------------------------


def _lines(uow, item_execution):
    return [
        (line.previous_status, line.new_status, line.created_by)
        for line in uow.item_state_history.list(item_execution_id=item_execution.id)
    ]


def test_a_status_change_and_its_history_are_one_transaction(store, stored, t0):
    execution = stored.item_executions
    execution.start(t0)
    execution.fail("timeout", t0 + timedelta(minutes=1))
    with store.unit_of_work("cli:me") as uow:
        uow.item_executions.update(execution)
    with store.reading() as uow:
        assert _lines(uow, execution)[1:] == [(S.PENDING, S.PROCESSING, "cli:me"), (S.PROCESSING, S.RETRYING, "cli:me")]
        changed = uow.item_state_history.list(item_execution_id=execution.id)[1:]
        assert [line.changed_at for line in changed] == [t0, t0 + timedelta(minutes=1)]


def test_a_status_change_that_is_rolled_back_leaves_no_history(store, stored):
    stored.item_executions.start()
    with pytest.raises(AlreadyExists), store.unit_of_work() as uow:  # noqa: PT012 - the second call ends it
        uow.item_executions.update(stored.item_executions)
        uow.engines.add(Engine(name="jenkins-prod", type="Jenkins"))
    with store.reading() as uow:
        assert len(_lines(uow, stored.item_executions)) == 1
        assert uow.item_executions.get(stored.item_executions.id).status is S.PENDING


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_history_refuses_update_and_delete(store, stored, verb):
    with store.unit_of_work() as uow, pytest.raises(NotImplementedError, match="append-only"):
        getattr(uow.item_state_history, verb)(stored.item_state_history)


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(tables.item_state_history).values(created_by="somebody else"),
        sa.delete(tables.item_state_history),
        "TRUNCATE item_state_history",
    ],
    ids=["update", "delete", "truncate"],
)
def test_the_database_refuses_them_too(store, stored, statement):
    if isinstance(statement, str):
        if store.writing.dialect.name == "sqlite":
            return  # it has no TRUNCATE
        statement = sa.text(statement)
    with pytest.raises(sa.exc.DatabaseError, match="append-only"), store.writing.begin() as connection:
        connection.execute(statement)
    with store.reading() as uow:
        assert len(_lines(uow, stored.item_executions)) == 1
