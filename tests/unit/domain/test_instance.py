"""OrchestrationInstance: how outside truth enters, and the transitions made by hand. RunOrchestration, too."""

import pytest

from runlink.domain import (
    ExecutionStatus,
    InstanceLinked,
    InstanceStatusChanged,
    InstanceUnlinked,
    InstanceVanished,
    InvalidStateError,
    OrchestrationInstance,
    RunOrchestration,
    ValidationError,
    new_id,
)

S = ExecutionStatus
TRANSITION_OF = {"start": S.PROCESSING, "complete": S.COMPLETED, "fail": S.FAILED, "cancel": S.CANCELLED}


def stored(instance):
    """Everything the store would write."""
    return {name: value for name, value in vars(instance).items() if name not in ("_events", "observed_at")}


@pytest.fixture
def facts(minutes):
    return {
        "attempt": 2,
        "observed_at": minutes(7),
        "native_status": "SUCCESS",
        "started_at": minutes(1),
        "finished_at": minutes(3),
        "queued_at": minutes(0),
        "workflow": "team/build",
        "url": "https://ci.example.org/1",
        "message": "done",
        "revision": "41",
        "parent_external_id": "build-122",
        "parameters": {"RUN_ID": "7"},
        "labels": {"team": "a"},
        "metadata": {"node": "n1"},
    }


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("call", TRANSITION_OF)
def test_each_transition_asks_the_table(status, call, minutes, make_instance):
    instance, target = make_instance(status=status), TRANSITION_OF[call]
    if status.can_transition_to(target):
        getattr(instance, call)(at=minutes(1))
        assert (instance.status, instance.version) == (target, 2)
        (event,) = instance.pull_events()
        assert (event.previous_status, event.new_status, event.passed) == (status, target, ())
    else:
        with pytest.raises(InvalidStateError, match=f"is {status} and cannot become {target}"):
            getattr(instance, call)(at=minutes(1))
        assert (instance.status, instance.version, instance.pull_events()) == (status, 1, [])


@pytest.mark.parametrize(("finish", "duration"), [(3, 120.0), (0, 0.0)])
def test_duration_is_counted_and_never_negative(make_instance, minutes, finish, duration):
    instance = make_instance()
    instance.start(minutes(1))
    instance.complete(minutes(finish))
    assert instance.duration_seconds == duration


def test_failure_keeps_a_known_message(make_instance):
    one, other = make_instance(message="known"), make_instance(message="known")
    for instance in (one, other):
        instance.start()
    one.fail()
    other.fail("OOM")
    assert (one.message, other.message) == ("known", "OOM")


def test_first_seen(facts, minutes):
    engine_id = new_id()
    instance = OrchestrationInstance.first_seen(engine_id, " build-1 ", S.COMPLETED, at=minutes(8), **facts)
    assert (instance.version, instance.created_at, instance.updated_at) == (1, minutes(8), minutes(8))
    assert (instance.external_id, instance.status, instance.duration_seconds) == ("build-1", S.COMPLETED, 120.0)
    assert instance.instance_metadata == facts.pop("metadata")
    assert {name: getattr(instance, name) for name in facts} == facts
    assert instance.pull_events() == [
        InstanceStatusChanged(
            occurred_at=minutes(8),
            orchestration_instance_id=instance.id,
            engine_id=engine_id,
            external_id="build-1",
            attempt=2,
            native_status="SUCCESS",
            previous_status=None,
            new_status=S.COMPLETED,
            started_at=minutes(1),
            finished_at=minutes(3),
            message="done",
        )
    ]


def test_first_seen_knows_only_what_was_told(minutes):
    running = OrchestrationInstance.first_seen(new_id(), "b", S.PROCESSING, at=minutes(8), finished_at=minutes(9))
    assert (running.started_at, running.finished_at, running.attempt) == (None, None, 1)
    ended = OrchestrationInstance.first_seen(new_id(), "b", S.FAILED, at=minutes(8), attempt=None)
    assert (ended.started_at, ended.finished_at, ended.duration_seconds, ended.attempt) == (None, None, None, 1)


@pytest.mark.parametrize(
    "bad", [{"external_id": " "}, {"status": "COMPLETED"}, {"engine_id": "x"}, {"attempt": 0}, {"started_at": "soon"}]
)
def test_first_seen_is_checked(bad, minutes):
    given = {"engine_id": new_id(), "external_id": "b", "status": S.PENDING, "at": minutes(0)}
    with pytest.raises(ValidationError, match=next(iter(bad))):
        OrchestrationInstance.first_seen(**given | bad)


def test_observed_walks_the_steps_in_between(make_instance, minutes):
    instance = make_instance()
    assert instance.observe(
        S.COMPLETED, at=minutes(9), started_at=minutes(1), finished_at=minutes(4), native_status="SUCCESS"
    )
    assert (instance.started_at, instance.finished_at, instance.duration_seconds) == (minutes(1), minutes(4), 180.0)
    assert (instance.version, instance.updated_at) == (2, minutes(9))
    (event,) = instance.pull_events()
    assert (event.previous_status, event.passed, event.new_status) == (S.PENDING, (S.PROCESSING,), S.COMPLETED)
    assert (event.occurred_at, event.started_at, event.finished_at) == (minutes(9), minutes(1), minutes(4))


def test_the_same_again_is_no_change(facts, minutes):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.COMPLETED, at=minutes(8), **facts)
    instance.pull_events()
    before = stored(instance)
    assert instance.observe(S.COMPLETED, at=minutes(9), **facts | {"observed_at": minutes(9)}) is False
    assert instance.observe(S.COMPLETED, at=minutes(9)) is False
    assert instance.observe(S.COMPLETED, at=minutes(9), observed_at=minutes(2)) is False
    assert stored(instance) == before
    assert instance.observed_at == minutes(9)
    assert instance.pull_events() == []


@pytest.mark.parametrize(
    ("fact", "value", "field"),
    [
        ("native_status", "UNSTABLE", "native_status"),
        ("workflow", "team/other", "workflow"),
        ("url", "https://ci.example.org/2", "url"),
        ("message", "corrected", "message"),
        ("parent_external_id", "build-1", "parent_external_id"),
        ("parameters", {"RUN_ID": 7}, "parameters"),
        ("labels", {}, "labels"),
        ("metadata", {"node": "n2"}, "instance_metadata"),
    ],
)
def test_one_new_fact_is_one_change_without_a_status_event(facts, fact, value, field, minutes):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.COMPLETED, at=minutes(8), **facts)
    instance.pull_events()
    before = stored(instance)
    assert instance.observe(S.COMPLETED, at=minutes(9), **facts | {fact: value}) is True
    assert stored(instance) == before | {field: value, "version": 2, "updated_at": minutes(9)}
    assert instance.pull_events() == []


def test_a_newer_revision_of_the_same_state_is_kept_and_is_no_change(facts, minutes):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.COMPLETED, at=minutes(8), **facts)
    assert instance.observe(S.COMPLETED, at=minutes(9), **facts | {"revision": "42"}) is False
    assert (instance.revision, instance.version) == ("42", 1)


def test_true_is_not_one_in_parameters(make_instance, minutes):
    instance = make_instance(parameters={"flag": 1})
    assert instance.observe(S.PENDING, at=minutes(1), parameters={"flag": True}) is True


def test_the_engine_may_correct_its_times(facts, minutes):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.COMPLETED, at=minutes(8), **facts)
    assert instance.observe(S.COMPLETED, at=minutes(9), finished_at=minutes(5)) is True
    assert (instance.finished_at, instance.duration_seconds, instance.version) == (minutes(5), 240.0, 2)


def test_times_that_were_not_told(make_instance, minutes):
    watched = make_instance()
    watched.observe(S.PROCESSING, at=minutes(2))
    assert watched.started_at == minutes(2)
    assert watched.observe(S.PROCESSING, at=minutes(3)) is False
    assert watched.observe(S.PROCESSING, at=minutes(3), started_at=minutes(1), finished_at=minutes(9)) is True
    assert (watched.started_at, watched.finished_at) == (minutes(1), None)
    watched.observe(S.FAILED, at=minutes(4))
    assert (watched.finished_at, watched.duration_seconds) == (minutes(4), 180.0)
    missed = make_instance()
    missed.observe(S.COMPLETED, at=minutes(4))
    assert (missed.started_at, missed.finished_at, missed.duration_seconds) == (None, minutes(4), None)


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("observed", S)
def test_where_no_way_leads_nothing_changes(make_instance, minutes, status, observed):
    instance = make_instance(status=status)
    before = stored(instance)
    if status.path_to(observed) is None:
        with pytest.raises(InvalidStateError):
            instance.observe(observed, at=minutes(1), workflow="w", started_at=minutes(0))
        assert stored(instance) == before
        assert instance.pull_events() == []
    else:
        assert instance.observe(observed, at=minutes(1)) is (status is not observed)


@pytest.mark.parametrize(
    "bad", [{"at": "now"}, {"status": "FAILED"}, {"attempt": 0}, {"attempt": True}, {"finished_at": 7}]
)
def test_bad_facts_change_nothing(make_instance, minutes, bad):
    instance = make_instance()
    before = stored(instance)
    with pytest.raises(ValidationError):
        instance.observe(**{"status": S.COMPLETED, "at": minutes(1), "workflow": "w"} | bad)
    with pytest.raises(TypeError, match="no such fact of an instance: workflw"):
        instance.observe(S.COMPLETED, at=minutes(1), workflw="w")
    assert stored(instance) == before


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("observed", S)
def test_a_higher_attempt_begins_anew_from_any_status(facts, minutes, status, observed):
    instance = OrchestrationInstance.first_seen(new_id(), "b", status, at=minutes(8), **facts)
    instance.pull_events()
    assert instance.observe(observed, at=minutes(20), attempt=3) is True
    assert (instance.status, instance.attempt, instance.version) == (observed, 3, 2)
    assert instance.started_at == (minutes(20) if observed is S.PROCESSING else None)
    assert instance.finished_at == (minutes(20) if observed.is_ended else None)
    assert (instance.duration_seconds, instance.message, instance.workflow) == (None, None, "team/build")
    (event,) = instance.pull_events()
    assert (event.previous_status, event.new_status, event.attempt) == (status, observed, 3)


def test_a_higher_attempt_brings_its_own_times(facts, minutes):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.FAILED, at=minutes(8), **facts)
    instance.pull_events()
    instance.observe(S.COMPLETED, at=minutes(20), attempt=3, started_at=minutes(10), finished_at=minutes(11))
    assert (instance.started_at, instance.finished_at, instance.duration_seconds) == (minutes(10), minutes(11), 60.0)
    (event,) = instance.pull_events()
    assert (event.previous_status, event.passed, event.new_status) == (S.FAILED, (S.PROCESSING,), S.COMPLETED)


def test_a_lower_attempt_is_over(make_instance, minutes):
    instance = make_instance(attempt=3)
    with pytest.raises(InvalidStateError, match="attempt 2 is over"):
        instance.observe(S.PENDING, at=minutes(1), attempt=2)
    assert instance.version == 1


def test_vanishes_once_and_comes_back(make_instance, minutes):
    instance = make_instance(status=S.PROCESSING)
    assert instance.vanish(minutes(5)) is True
    assert instance.vanish(minutes(6)) is False
    assert (instance.vanished_at, instance.version, instance.status) == (minutes(5), 2, S.PROCESSING)
    (event,) = instance.pull_events()
    assert isinstance(event, InstanceVanished)
    assert event.last_status is S.PROCESSING
    assert instance.observe(S.PROCESSING, at=minutes(7)) is True
    assert (instance.vanished_at, instance.version, instance.pull_events()) == (None, 3, [])


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_what_has_ended_cannot_vanish(make_instance, status):
    instance = make_instance(status=status)
    with pytest.raises(InvalidStateError, match="cannot vanish"):
        instance.vanish()
    assert (instance.vanished_at, instance.version) == (None, 1)


@pytest.mark.parametrize(("status", "start"), [(S.PROCESSING, 9), (S.PENDING, None)])
def test_reopen(facts, minutes, status, start):
    instance = OrchestrationInstance.first_seen(new_id(), "b", S.FAILED, at=minutes(8), **facts)
    instance.pull_events()
    instance.reopen(3, minutes(9), status=status)
    assert (instance.status, instance.attempt, instance.version) == (status, 3, 2)
    assert instance.started_at == (None if start is None else minutes(start))
    assert (instance.finished_at, instance.duration_seconds, instance.message) == (None, None, None)
    (event,) = instance.pull_events()
    assert (event.previous_status, event.new_status, event.attempt) == (S.FAILED, status, 3)


def test_reopen_is_refused(make_instance):
    with pytest.raises(InvalidStateError, match="not ended"):
        make_instance().reopen(2)
    ended = make_instance(status=S.FAILED, attempt=2)
    with pytest.raises(InvalidStateError, match="at least 3"):
        ended.reopen(2)
    with pytest.raises(ValidationError, match="PENDING or PROCESSING"):
        ended.reopen(3, status=S.COMPLETED)
    assert (ended.status, ended.version) == (S.FAILED, 1)


def test_rename(make_instance, minutes):
    instance = make_instance(external_id="queue/17")
    assert instance.rename(" job/a#1 ", minutes(1)) is True
    assert instance.rename("job/a#1") is False
    assert (instance.external_id, instance.version) == ("job/a#1", 2)
    with pytest.raises(ValidationError, match="external_id"):
        instance.rename(" ")


def test_links(minutes):
    ids = {"run_id": new_id(), "orchestration_instance_id": new_id()}
    link = RunOrchestration.attach(**ids, rule="nightly", at=minutes(1), by="rule:nightly")
    assert (link.attached_at, link.created_at, link.created_by, link.rule) == (
        minutes(1), minutes(1), "rule:nightly", "nightly",
    )  # fmt: skip
    assert link.detach(minutes(2), "cli:ann") is True
    assert link.detach(minutes(3)) is False
    assert (link.is_active, link.version, link.attached_at) == (False, 2, minutes(1))
    assert link.restore(minutes(4)) is True
    assert (link.is_active, link.version, link.attached_at) == (True, 3, minutes(4))
    assert link.pull_events() == [
        event(occurred_at=at, run_orchestration_id=link.id, rule="nightly", **ids)
        for event, at in ((InstanceLinked, minutes(1)), (InstanceUnlinked, minutes(2)), (InstanceLinked, minutes(4)))
    ]


def test_a_link_by_hand(minutes):
    link = RunOrchestration(run_id=new_id(), orchestration_instance_id=new_id())
    assert link.attached_at.tzinfo is not None
    assert (link.rule, link.pull_events()) == (None, [])
    assert RunOrchestration.attach(run_id=new_id(), orchestration_instance_id=new_id()).rule is None
