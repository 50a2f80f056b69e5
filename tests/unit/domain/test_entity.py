"""What all entities share: identity, versions, times, soft deletion, the checks of their fields."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from runlink.domain import (
    Automation,
    Batch,
    ConcurrencyError,
    DomainEntity,
    DomainError,
    Engine,
    ExecutionStatus,
    InvalidStateError,
    Item,
    ItemExecution,
    ItemStateHistory,
    OrchestrationInstance,
    Run,
    RunOrchestration,
    ValidationError,
    new_id,
)


def test_error_tree():
    of_the_domain = {one for one in DomainError.__subclasses__() if one.__module__ == DomainError.__module__}
    assert of_the_domain == {ValidationError, InvalidStateError, ConcurrencyError}


def test_ids_are_version_7_and_rise():
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    written_ms = ids[0].int >> 80
    assert abs(datetime.fromtimestamp(written_ms / 1000, UTC) - datetime.now(UTC)) < timedelta(minutes=1)


def test_defaults(entities):
    for entity in [Automation(name="a"), *entities]:
        assert isinstance(entity, DomainEntity)
        assert isinstance(entity.id, UUID)
        assert (entity.version, entity.is_active, entity.created_by, entity.updated_by) == (1, True, None, None)
        assert entity.created_at == entity.updated_at
        assert entity.created_at.tzinfo is UTC
        assert entity.pull_events() == []
        assert "_events" not in repr(entity)


def test_identity_is_type_and_id():
    one = Automation(name="a")
    assert one == Automation(name="b", id=one.id, version=9)
    assert len({one, Automation(name="b", id=one.id)}) == 1
    assert one != Automation(name="a")
    assert one != Engine(name="a", type="b", id=one.id)
    assert one != one.id


def test_soft_delete_and_restore(entities, minutes):
    for entity in entities:
        assert entity.deactivate(minutes(1), "cli:ann") is True
        assert (entity.is_active, entity.version, entity.updated_at, entity.updated_by) == (
            False, 2, minutes(1), "cli:ann",
        )  # fmt: skip
        assert entity.deactivate() is False
        assert entity.restore(at=minutes(2), by="cli:bob") is True
        assert (entity.is_active, entity.version, entity.updated_by) == (True, 3, "cli:bob")
        assert entity.restore() is False
        assert entity.version == 3


def test_updated_at_never_moves_back(run, minutes):
    run.start(at=minutes(-5))
    assert run.started_at == minutes(-5)
    assert run.updated_at == minutes(0)


def test_aware_times_become_utc(run):
    run.start(at=datetime(2024, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))))
    assert run.started_at.tzinfo is UTC
    assert run.started_at.hour == 12


NAIVE = datetime(2024, 3, 1)  # noqa: DTZ001 - naive on purpose


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Run, "created_at"), (Run, "updated_at"), (Run, "started_at"), (Run, "finished_at"),
        (OrchestrationInstance, "queued_at"), (OrchestrationInstance, "observed_at"),
        (OrchestrationInstance, "vanished_at"), (RunOrchestration, "attached_at"),
        (ItemStateHistory, "changed_at"), (ItemStateHistory, "created_at"),
    ],
)  # fmt: skip
def test_naive_times_are_refused(kind, field):
    with pytest.raises(ValidationError, match=f"{field}: .*no time zone") as caught:
        kind(**REQUIRED[kind], **{field: NAIVE})
    assert caught.value.problems == (str(caught.value),)


def test_naive_at_changes_nothing(entities):
    for entity in entities:
        for change in ("deactivate", "start", "update_schemas", "update_payload", "update_details", "vanish"):
            if hasattr(entity, change):
                arguments = {"payload": 1} if change == "update_payload" else {}
                with pytest.raises(ValidationError):
                    getattr(entity, change)(**arguments, at=NAIVE)
        assert entity.version == 1


UNKNOWN_ID = UUID("018e0000-0000-7000-8000-000000000000")
REQUIRED = {
    Automation: {"name": "a"},
    Batch: {"automation_id": UNKNOWN_ID, "name": "a"},
    Item: {"batch_id": UNKNOWN_ID, "sequence_number": 0},
    Run: {"automation_id": UNKNOWN_ID},
    ItemExecution: {"run_id": UNKNOWN_ID, "batch_execution_id": UNKNOWN_ID, "item_id": UNKNOWN_ID},
    ItemStateHistory: {"item_execution_id": UNKNOWN_ID, "new_status": ExecutionStatus.PENDING},
    Engine: {"name": "a", "type": "b"},
    OrchestrationInstance: {"engine_id": UNKNOWN_ID, "external_id": "a"},
    RunOrchestration: {"run_id": UNKNOWN_ID, "orchestration_instance_id": UNKNOWN_ID},
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, given in REQUIRED.items() for field in given])
def test_every_required_field_is_required(kind, field):
    with pytest.raises(TypeError, match=field):
        kind(**{name: value for name, value in REQUIRED[kind].items() if name != field})


@pytest.mark.parametrize(
    ("kind", "field"),
    [(Automation, "name"), (Batch, "name"), (Engine, "name"), (Engine, "type"), (OrchestrationInstance, "external_id")],
)
def test_texts_are_stripped_and_never_empty(kind, field):
    assert getattr(kind(**REQUIRED[kind] | {field: "  x y\t\n"}), field) == "x y"
    for bad in ("", " \t", None, 7, b"x"):
        with pytest.raises(ValidationError, match=field):
            kind(**REQUIRED[kind] | {field: bad})


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind, given in REQUIRED.items() for field, value in given.items() if value is UNKNOWN_ID]
    + [(Run, "id"), (ItemStateHistory, "id")],
)
def test_ids_are_uuids(kind, field):
    for bad in (None, str(UNKNOWN_ID), 7):
        with pytest.raises(ValidationError, match=field):
            kind(**REQUIRED[kind] | {field: bad})


@pytest.mark.parametrize(
    ("kind", "field", "least"),
    [
        (Item, "sequence_number", 0), (Run, "version", 1), (Run, "attempt", 1), (OrchestrationInstance, "attempt", 1),
        (ItemExecution, "attempt_count", 0), (ItemExecution, "max_attempts", 0),
    ],
)  # fmt: skip
def test_counts(kind, field, least):
    assert getattr(kind(**REQUIRED[kind] | {field: least}), field) == least
    for bad in (least - 1, True, 1.0, "1"):
        with pytest.raises(ValidationError, match=field):
            kind(**REQUIRED[kind] | {field: bad})


@pytest.mark.parametrize("kind", [Run, ItemExecution, OrchestrationInstance])
def test_status_is_a_member(kind):
    assert kind(**REQUIRED[kind]).status is ExecutionStatus.PENDING
    with pytest.raises(ValidationError, match="status: must be an ExecutionStatus"):
        kind(**REQUIRED[kind], status="PENDING")


def test_history_is_immutable_and_no_entity(minutes):
    history = ItemStateHistory(
        item_execution_id=UNKNOWN_ID,
        previous_status=ExecutionStatus.PENDING,
        new_status=ExecutionStatus.PROCESSING,
        changed_at=minutes(0),
    )
    assert not isinstance(history, DomainEntity)
    assert not hasattr(history, "version")
    assert not hasattr(history, "is_active")
    assert history.changed_at == minutes(0)
    assert history.created_at > minutes(0)
    with pytest.raises(AttributeError):
        history.new_status = ExecutionStatus.FAILED
    with pytest.raises(ValidationError, match="previous_status"):
        ItemStateHistory(item_execution_id=UNKNOWN_ID, new_status=ExecutionStatus.FAILED, previous_status="PENDING")


def test_engine_details():
    engine = Engine(name="jenkins-prod", type="Jenkins")
    assert engine.update_details(product="Jenkins", product_version="2.440", by="engine:jenkins-prod") is True
    assert (engine.product_version, engine.version, engine.updated_by) == ("2.440", 2, "engine:jenkins-prod")
    assert engine.update_details(product="Jenkins", name=" jenkins-prod ") is False
    assert engine.update_details(product=None) is True
    assert (engine.product, engine.version) == (None, 3)
    with pytest.raises(ValidationError, match="name"):
        engine.update_details(name=" ", url="http://elsewhere")
    assert (engine.url, engine.version) == (None, 3)


def test_the_stored_version_is_the_one_before_the_changes(run):
    assert run.stored_version == 0
    run.mark_stored()
    run.start()
    run.complete()
    assert (run.stored_version, run.version) == (1, 3)
