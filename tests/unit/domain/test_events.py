"""Events as subscribers get them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

import runlink.domain
from runlink.domain import EVENT_TYPES, DomainEvent, RunFailed

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
ID = UUID("018e0000-0000-7000-8000-000000000000")


def test_each_event_is_in_the_registry_under_its_type():
    exported = [getattr(runlink.domain, name) for name in runlink.domain.__all__]
    events = {one for one in exported if isinstance(one, type) and issubclass(one, DomainEvent)}
    assert events - {DomainEvent} == set(EVENT_TYPES.values())
    assert {name: event.type for name, event in EVENT_TYPES.items()} == {name: name for name in EVENT_TYPES}
    assert list(EVENT_TYPES) == [
        "run.started", "run.completed", "run.failed", "run.cancelled", "run.reopened", "run.silent",
        "batch_execution.failed", "item_execution.failed", "items.drifted",
        "instance.status_changed", "instance.vanished", "instance.linked", "instance.unlinked",
    ]  # fmt: skip


def test_events_are_values():
    facts = {"occurred_at": AT, "run_id": ID, "automation_id": ID, "correlation_id": None, "attempt": 1}
    event = RunFailed(**facts, error_summary="x")
    assert event == RunFailed(**facts, error_summary="x")
    assert event != RunFailed(**facts, error_summary="y")
    with pytest.raises(AttributeError):
        event.error_summary = "y"
