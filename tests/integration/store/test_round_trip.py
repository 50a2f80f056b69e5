"""What is stored comes back as it was: every field of every entity, on both databases."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runlink.domain import (
    Automation,
    Batch,
    BatchExecution,
    Engine,
    ExecutionStatus,
    Item,
    ItemExecution,
    ItemStateHistory,
    OrchestrationInstance,
    Run,
    RunOrchestration,
    new_id,
)

MANY = settings(
    max_examples=8,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters, max_size=30)
names = texts.filter(str.strip).map(lambda text: f"{text.strip()} ü日本🚀'\"%\\ {new_id()}")
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis wants bounds without a zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-8))]),
)
# jsonb gives a float from 1e16 upward back as a whole number
numbers = st.integers(min_value=-(2**53), max_value=2**53) | st.floats(-1e15, 1e15)
json = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json, max_size=4)
statuses = st.sampled_from(ExecutionStatus)


def maybe(strategy):
    return st.none() | strategy


inherited = {
    "created_at": times,
    "updated_at": times,
    "created_by": texts.map(lambda text: f"cli:{text}"),
    "updated_by": texts.map(lambda text: f"cli:{text}"),
    "version": st.integers(1, 2**31 - 1),
    "is_active": st.booleans(),
}
lifecycle = {"status": statuses, "started_at": maybe(times), "finished_at": maybe(times)}
schema = st.just({"type": "object", "properties": {"ü": {"type": "string"}}, "required": ["ü"]})


def check(store, repository, entity):
    with store.unit_of_work("somebody") as uow:
        getattr(uow, repository).add(entity)
    with store.reading() as uow:
        found = getattr(uow, repository).get(entity.id)
    for field in fields(entity):
        if not field.name.startswith("_"):
            assert getattr(found, field.name) == getattr(entity, field.name), field.name
            assert type(getattr(found, field.name)) is type(getattr(entity, field.name)), field.name
    assert found.stored_version == entity.version


@given(data=st.data())
@MANY
def test_the_entities_of_an_automation(store, data):
    def draw(**strategies):
        return data.draw(st.fixed_dictionaries(strategies))

    automation = Automation(
        **draw(name=names, description=maybe(texts), batch_schema=maybe(schema), item_schema=maybe(schema), **inherited)
    )
    check(store, "automations", automation)
    batch = Batch(automation_id=automation.id, **draw(name=names, payload=json, **inherited))
    check(store, "batches", batch)
    item = Item(batch_id=batch.id, **draw(sequence_number=st.integers(0, 2**31 - 1), payload=json, **inherited))
    check(store, "items", item)
    run = Run(
        automation_id=automation.id,
        **draw(
            correlation_id=maybe(texts),
            cancellation_reason=maybe(texts),
            error_summary=maybe(texts),
            attempt=st.integers(1, 9),
            **lifecycle,
            **inherited,
        ),
    )
    check(store, "runs", run)
    batch_execution = BatchExecution(run_id=run.id, batch_id=batch.id, **draw(**lifecycle, **inherited))
    check(store, "batch_executions", batch_execution)
    execution = ItemExecution(
        run_id=run.id,
        batch_execution_id=batch_execution.id,
        item_id=item.id,
        attempt_count=data.draw(st.integers(0, 3)),
        max_attempts=data.draw(maybe(st.integers(3, 9))),
        **draw(result_payload=json, error_message=maybe(texts), **lifecycle, **inherited),
    )
    check(store, "item_executions", execution)
    line = ItemStateHistory(
        item_execution_id=execution.id,
        **draw(
            previous_status=maybe(statuses),
            new_status=statuses,
            changed_at=times,
            created_at=times,
            created_by=texts.map(lambda text: f"cli:{text}"),
        ),
    )
    with store.unit_of_work() as uow:
        uow.item_state_history.add(line)
        assert uow.item_state_history.get(line.id) == line


@given(data=st.data())
@MANY
def test_the_entities_of_an_engine(store, data):
    def draw(**strategies):
        return data.draw(st.fixed_dictionaries(strategies))

    engine = Engine(
        **draw(
            name=names,
            type=names,
            url=maybe(texts),
            product=maybe(texts),
            product_version=maybe(texts),
            **inherited,
        )
    )
    check(store, "engines", engine)
    instance = OrchestrationInstance(
        engine_id=engine.id,
        **draw(
            external_id=names,
            duration_seconds=maybe(st.floats(0, 1e9)),
            instance_metadata=maybe(objects),
            workflow=maybe(texts),
            native_status=maybe(texts),
            url=maybe(texts),
            message=maybe(texts),
            attempt=st.integers(1, 99),
            revision=maybe(texts),
            parent_external_id=maybe(texts),
            parameters=maybe(objects),
            labels=maybe(st.dictionaries(texts, texts, max_size=3)),
            queued_at=maybe(times),
            observed_at=maybe(times),
            vanished_at=maybe(times),
            **lifecycle,
            **inherited,
        ),
    )
    check(store, "orchestration_instances", instance)
    automation = Automation(name=data.draw(names))
    run = Run(automation_id=automation.id)
    with store.unit_of_work() as uow:
        uow.automations.add(automation)
        uow.runs.add(run)
    link = RunOrchestration(
        run_id=run.id,
        orchestration_instance_id=instance.id,
        **draw(attached_at=times, rule=maybe(texts), **inherited),
    )
    check(store, "run_orchestrations", link)


@pytest.mark.parametrize("payload", [1.0, 1e15, 12345678901234567890, "12", "1e3", True, 0, "", [], {}, "null"])
def test_a_document_that_is_a_single_value_is_kept_as_it_is(store, payload):
    automation = Automation(name="a")
    batch = Batch(automation_id=automation.id, name="b", payload=payload)
    with store.unit_of_work() as uow:
        uow.automations.add(automation)
    check(store, "batches", batch)


def test_times_keep_their_microseconds_and_their_order(store):
    moments = [datetime(2024, 1, 1, 0, 0, 0, micro, tzinfo=UTC) for micro in (0, 1, 10, 999999)]
    with store.unit_of_work() as uow:
        for moment in reversed(moments):
            uow.engines.add(Engine(name=str(moment), type="t", created_at=moment))
        found = [engine.created_at for engine in uow.engines.list()]
    assert sorted(found) == moments


def test_a_naive_time_does_not_get_in(store):
    automation = Automation(name="a")
    automation.created_at = datetime(2024, 1, 1)  # noqa: DTZ001
    with store.unit_of_work() as uow, pytest.raises(Exception, match="no time zone"):
        uow.automations.add(automation)
