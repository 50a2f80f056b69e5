"""No sequence of calls reaches a state that the rules forbid; each change is exactly one version."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from runlink.domain import (
    BatchExecution,
    ExecutionStatus,
    InvalidStateError,
    ItemExecution,
    OrchestrationInstance,
    Run,
    new_id,
)

T0 = datetime(2024, 1, 1, tzinfo=UTC)
STATUSES = st.sampled_from(ExecutionStatus)
MOMENTS = st.integers(-100, 10_000).map(lambda seconds: T0 + timedelta(seconds=seconds))
ATTEMPTS = st.integers(1, 4)


def state(entity):
    """All that is stored but the version, and the read time, which is no change by itself."""
    aside = ("version", "updated_at", "observed_at", "_events", "_history")
    kept = {name: value for name, value in vars(entity).items() if name not in aside}
    # for Python True == 1, for JSON and the domain they differ
    return {name: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for name, v in kept.items()}


class Watched(RuleBasedStateMachine):
    """Calls an entity and compares before and after."""

    def call(self, method, *arguments, **named):
        entity = self.entity
        before, version, updated_at, events = state(entity), entity.version, entity.updated_at, len(entity._events)
        answer = None
        refused = False
        try:
            answer = getattr(entity, method)(*arguments, **named)
        except InvalidStateError:
            refused = True
        changed = state(entity) != before
        assert entity.version == version + changed
        assert entity.updated_at >= updated_at
        if not changed:
            assert len(entity._events) == events
        assert not (refused and changed)
        if isinstance(answer, bool):
            assert answer is changed
        self.check_step(before, method, refused)

    def check_step(self, before, method, refused):
        old, new = before["status"], self.entity.status
        if method in ("observe", "reopen") and self.entity.attempt > before["attempt"]:
            return
        assert old.path_to(new) is not None
        if method != "observe" and old is not new:
            assert old.can_transition_to(new)

    @rule(at=MOMENTS, method=st.sampled_from(["start", "complete", "fail", "cancel", "deactivate", "restore"]))
    def act(self, method, at):
        self.call(method, at=at)

    @invariant()
    def ended_exactly_when_finished(self):
        assert (self.entity.finished_at is not None) is self.entity.status.is_ended


class Repeatable(Watched):
    @rule(attempt=ATTEMPTS, at=MOMENTS)
    def reopen(self, attempt, at):
        was_ended, known = self.entity.status.is_ended, self.entity.attempt
        self.call("reopen", attempt, at=at)
        assert self.entity.attempt == (attempt if was_ended and attempt > known else known)


class RunMachine(Repeatable):
    @initialize()
    def build(self):
        self.entity = Run(automation_id=new_id(), created_at=T0)


class BatchExecutionMachine(Watched):
    @initialize()
    def build(self):
        self.entity = BatchExecution(run_id=new_id(), batch_id=new_id(), created_at=T0)


class ItemExecutionMachine(Watched):
    @initialize(max_attempts=st.none() | st.integers(0, 4))
    def build(self, max_attempts):
        ids = {"run_id": new_id(), "batch_execution_id": new_id(), "item_id": new_id()}
        self.entity = ItemExecution(**ids, max_attempts=max_attempts, created_at=T0)

    @rule(max_attempts=st.integers(0, 4), at=MOMENTS)
    def expect_attempts(self, max_attempts, at):
        self.call("expect_attempts", max_attempts, at=at)

    @rule(at=MOMENTS)
    def give_up(self, at):
        self.call("give_up", "enough", at=at)

    @invariant()
    def attempts_stay_within_their_limit(self):
        if self.entity.max_attempts is not None:
            assert self.entity.attempt_count <= self.entity.max_attempts

    @invariant()
    def history_is_an_unbroken_chain(self):
        seen = [ExecutionStatus.PENDING]
        for one in self.entity._history:
            assert one.previous_status is seen[-1]
            assert one.previous_status.can_transition_to(one.new_status)
            seen.append(one.new_status)
        assert seen[-1] is self.entity.status
        assert seen.count(ExecutionStatus.PROCESSING) == self.entity.attempt_count


class InstanceMachine(Repeatable):
    @initialize()
    def build(self):
        self.entity = OrchestrationInstance(engine_id=new_id(), external_id="b", created_at=T0)

    @rule(
        status=STATUSES,
        at=MOMENTS,
        attempt=st.none() | ATTEMPTS,
        started_at=st.none() | MOMENTS,
        finished_at=st.none() | MOMENTS,
        observed_at=st.none() | MOMENTS,
        native_status=st.none() | st.sampled_from(["a", "b"]),
        metadata=st.none() | st.sampled_from([{"a": 1}, {"a": True}, {"a": [1, 2]}]),
    )
    def observe(self, status, **facts):
        self.call("observe", status, **facts)

    @rule(at=MOMENTS, external_id=st.sampled_from("bc"))
    def rename(self, external_id, at):
        self.call("rename", external_id, at=at)

    @rule(at=MOMENTS)
    def vanish(self, at):
        self.call("vanish", at=at)

    @rule(at=MOMENTS, status=STATUSES)
    def seen_again_at_once(self, at, status):
        with suppress(InvalidStateError):
            self.entity.observe(status, at=at)
            assert self.entity.observe(status, at=at) is False

    @invariant()
    def the_rest_agrees(self):
        assert self.entity.duration_seconds is None or self.entity.duration_seconds >= 0
        assert self.entity.vanished_at is None or not self.entity.status.is_ended

    @invariant()
    def status_events_are_an_unbroken_chain(self):
        known = ExecutionStatus.PENDING
        for event in self.entity._events:
            if event.type == "instance.status_changed":
                assert event.previous_status is known
                known = event.new_status
        assert known is self.entity.status


for machine in (RunMachine, BatchExecutionMachine, ItemExecutionMachine, InstanceMachine):
    case = machine.TestCase
    case.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, database=None)
    globals()[f"Test{machine.__name__}"] = case
del case, machine
