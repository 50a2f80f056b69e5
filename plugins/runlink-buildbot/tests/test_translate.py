"""What each state of a build request and of its builds means to runlink, row by row."""

import pytest

from runlink_buildbot.translate import Builder, Facts, Origin, observe, parse_external_id

AT = 1_795_445_389
URL = "http://buildbot.test"


def facts(request=(), builds=(), steps=None, origin=None, builder=None):
    base = {"buildrequestid": 7, "buildsetid": 3, "builderid": 5, "submitted_at": AT, "claimed": True}
    base |= {"complete": False, "complete_at": None, "results": -1, "properties": {}}
    return Facts(
        request=base | dict(request),
        builder=builder or Builder("nightly", ("demo", "etl")),
        builds=[
            {"buildid": 10 + number, "number": number, "builderid": 5, "started_at": AT + number, "properties": {}}
            | {"complete": results is not None, "complete_at": None if results is None else AT + number + 1}
            | {"results": results, "state_string": f"state {results}"}
            for number, results in enumerate(builds, 1)
        ],
        origin=origin or Origin(),
        steps=steps if steps is not None else {},
        url=URL,
    )


@pytest.mark.parametrize(
    ("claimed", "builds", "status", "native", "attempt"),
    [
        (False, [], "PENDING", "pending", 1),
        (True, [], "PROCESSING", "claimed", 1),
        (True, [None], "PROCESSING", "building", 1),
        (False, [None], "PROCESSING", "building", 1),  # the build was read after its request
        (True, [0], "PROCESSING", "building", 1),  # the build has ended, its request not yet
        (True, [5], "RETRYING", "claimed", 1),
        (False, [5], "RETRYING", "pending", 1),
        (False, [4], "RETRYING", "pending", 1),  # a killed master let go of it
        (True, [5, None], "PROCESSING", "building", 2),
        (True, [5, 5], "RETRYING", "claimed", 2),
    ],
)
def test_open(claimed, builds, status, native, attempt):
    seen = observe(facts({"claimed": claimed}, builds))
    assert (seen.status, seen.native_status, seen.attempt, seen.finished_at) == (status, native, attempt, None)


@pytest.mark.parametrize(
    ("results", "status", "native"),
    [
        (0, "COMPLETED", "SUCCESS"),
        (1, "COMPLETED", "WARNINGS"),
        (2, "FAILED", "FAILURE"),
        (3, "COMPLETED", "SKIPPED"),
        (4, "FAILED", "EXCEPTION"),
        (6, "CANCELLED", "CANCELLED"),
    ],
)
def test_ended(results, status, native):
    seen = observe(facts({"complete": True, "complete_at": AT + 9, "results": results}, [5, results]))
    assert (seen.status, seen.native_status, seen.attempt) == (status, native, 2)
    assert (seen.started_at.timestamp(), seen.finished_at.timestamp()) == (AT + 2, AT + 9)
    (first,) = seen.attempts
    assert (first.number, first.status, first.native_status, first.message) == (1, "FAILED", "RETRY", "state 5")


@pytest.mark.parametrize("results", [-1, None, 5, 7, "0"])
def test_an_end_without_a_meaning_is_refused(results):
    with pytest.raises(ValueError, match="results"):
        observe(facts({"complete": True, "complete_at": AT, "results": results}))


@pytest.mark.parametrize(("results", "words"), [(6, "before a build began"), (3, "collapsed")])
def test_ended_without_a_build(results, words):
    seen = observe(facts({"claimed": False, "complete": True, "complete_at": AT, "results": results}))
    assert words in seen.message
    assert seen.steps == seen.attempts == ()
    assert (seen.started_at, seen.url) == (None, f"{URL}/#/buildrequests/7")


def step(number, name, results, **changes):
    row = {"number": number, "name": name, "results": results, "complete": results is not None, "hidden": False}
    row |= {"started_at": AT, "complete_at": None if results is None else AT + 1, "state_string": f"{name}…"}
    return row | changes


def test_the_message_is_the_same_whether_steps_were_read_or_not():
    steps = {11: [step(1, "boom", 2), step(0, "extract", 0)]}
    ended = {"complete": True, "complete_at": AT + 3, "results": 2}
    assert observe(facts(ended, [2])).message == "state 2"
    seen = observe(facts(ended, [2], steps))
    assert seen.message == "state 2"
    assert [(each.external_id, each.status, each.final) for each in seen.steps] == [
        ("0:extract", "COMPLETED", True),
        ("1:boom", "FAILED", True),
    ]


def test_steps_that_have_not_ended():
    steps = {11: [step(0, "a", None), step(1, "b", None, started_at=None)]}
    running = observe(facts({}, [None], steps)).steps
    assert [(each.status, each.native_status, each.final) for each in running] == [
        ("PROCESSING", "running", None),
        ("PENDING", "pending", None),
    ]
    abandoned = observe(facts({"claimed": False}, [4], steps)).steps
    assert [each.native_status for each in abandoned] == ["unfinished", "unfinished"]


def test_a_lost_master_is_said_to_be_the_reason():
    """Buildbot 4.3.0 after kill -9 and a new start: results 5, and the state of a running build."""
    killed = facts({"claimed": False}, [5])
    killed.builds[0]["state_string"] = "building"
    assert observe(killed).message == "RETRY: the master or worker was lost while building"


def test_half_the_steps_are_not_told_as_the_whole():
    assert observe(facts({}, [5, None], {11: []})).steps is None


def test_what_it_was_started_with_and_where_it_came_from():
    properties = {"run_id": ["42", "Force Build Form"], "scheduler": ["force-ok", "Scheduler"], "n": [[1], "x"]}
    origin = Origin("because", "buildrequest:1@5", "Triggered from", 8, ({"branch": "main"},))
    seen = observe(facts({"properties": properties, "waited_for": True, "priority": 0}, [None], origin=origin))
    assert seen.parameters == {"run_id": "42", "scheduler": "force-ok", "n": [1]}
    assert seen.labels == {"tags": "demo,etl", "scheduler": "force-ok"}
    assert seen.parent == "buildrequest:1@5"
    assert seen.metadata == {
        "buildset": 3,
        "reason": "because",
        "priority": 0,
        "waited_for": True,
        "relationship": "Triggered from",
        "rebuilt_build": 8,
        "sources": [{"branch": "main"}],
        "builds": [{"id": 11, "number": 1}],
    }


def test_properties_that_were_not_asked_for_are_not_told():
    assert observe(facts({"properties": None})).parameters is None


@pytest.mark.parametrize("text", ["", "buildrequest:1", "buildrequest:x@1", "build:1@2", "buildrequest:1@2 "])
def test_foreign_ids(text):
    assert parse_external_id(text) is None
