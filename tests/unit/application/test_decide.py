"""The rules of order, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runlink.application.ingest.decide import Read, Verdict, decide
from runlink.application.rows import Tracked
from runlink.domain import ExecutionStatus, OrchestrationInstance, new_id
from runlink.spi import Observation, Revision

T1 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
EARLIER, EQUAL, LATER = T1 - timedelta(minutes=1), T1, T1 + timedelta(minutes=1)

S = ExecutionStatus
FORWARD, AGAIN, STALE = Verdict.FORWARD, Verdict.AGAIN, Verdict.STALE
POLL, PUSH = True, False


def verdict(
    known, told, read, *, known_attempt=1, told_attempt=1, offset=0, revisions=(None, None), digest=b"d", complete=True
):
    began_at, authoritative = read
    known_revision, told_revision = revisions
    instance = OrchestrationInstance(
        engine_id=new_id(),
        external_id="1",
        status=known,
        attempt=known_attempt,
        observed_at=T1,
        revision=None if known_revision is None else str(known_revision),
    )
    observation = Observation(
        external_id="1", workflow="w", status=told, native_status="n", attempt=told_attempt,
        revision=told_revision, complete=complete,
    )  # fmt: skip
    read = Read(feed="poll", began_at=began_at, authoritative=authoritative)
    return decide(Tracked(instance, digest, attempt_offset=offset), observation, read)


@pytest.mark.parametrize(
    ("known", "told", "read", "expected"),
    [
        # forward, whoever says so and whenever the read began
        (S.PENDING, S.PENDING, (EARLIER, PUSH), FORWARD),
        (S.PENDING, S.PROCESSING, (EARLIER, PUSH), FORWARD),
        (S.PENDING, S.CANCELLED, (EARLIER, POLL), FORWARD),
        (S.PROCESSING, S.RETRYING, (EARLIER, PUSH), FORWARD),
        (S.RETRYING, S.PROCESSING, (EARLIER, PUSH), FORWARD),
        (S.PROCESSING, S.COMPLETED, (EARLIER, PUSH), FORWARD),
        (S.PROCESSING, S.FAILED, (EQUAL, POLL), FORWARD),
        # the same end, with more told
        (S.COMPLETED, S.COMPLETED, (LATER, PUSH), FORWARD),
        (S.COMPLETED, S.COMPLETED, (LATER, POLL), FORWARD),
        (S.COMPLETED, S.COMPLETED, (EQUAL, POLL), STALE),
        (S.COMPLETED, S.COMPLETED, (EARLIER, PUSH), STALE),
        # back: a new attempt by a later read that the host ordered, else too late
        (S.PROCESSING, S.PENDING, (LATER, POLL), AGAIN),
        (S.PROCESSING, S.PENDING, (EQUAL, POLL), STALE),
        (S.PROCESSING, S.PENDING, (LATER, PUSH), STALE),
        (S.COMPLETED, S.PROCESSING, (LATER, POLL), AGAIN),
        (S.COMPLETED, S.PROCESSING, (EQUAL, POLL), STALE),
        (S.COMPLETED, S.PROCESSING, (EARLIER, POLL), STALE),
        (S.COMPLETED, S.PROCESSING, (LATER, PUSH), STALE),
        (S.FAILED, S.PENDING, (LATER, POLL), AGAIN),
        (S.CANCELLED, S.RETRYING, (LATER, POLL), AGAIN),
        # another end
        (S.FAILED, S.COMPLETED, (LATER, POLL), AGAIN),
        (S.FAILED, S.COMPLETED, (LATER, PUSH), STALE),
        (S.FAILED, S.COMPLETED, (EQUAL, POLL), STALE),
    ],
)
def test_without_revisions_the_time_of_the_read_decides(known, told, read, expected):
    assert verdict(known, told, read) is expected


def test_a_whole_read_fills_in_what_a_quicker_push_told_a_part_of():
    for began_at in (EARLIER, EQUAL):
        assert verdict(S.COMPLETED, S.COMPLETED, (began_at, POLL), digest=None) is FORWARD
        assert verdict(S.COMPLETED, S.COMPLETED, (began_at, PUSH), digest=None) is STALE
        assert verdict(S.COMPLETED, S.COMPLETED, (began_at, POLL), digest=None, complete=False) is STALE
        assert verdict(S.COMPLETED, S.FAILED, (began_at, POLL), digest=None) is STALE


def test_of_attempts_that_the_engine_does_not_count_an_older_read_may_tell_of_the_one_before():
    again = {"known_attempt": 2, "told_attempt": 1, "offset": 1}
    assert verdict(S.PENDING, S.PROCESSING, (EARLIER, POLL), **again) is STALE
    assert verdict(S.COMPLETED, S.COMPLETED, (EARLIER, POLL), digest=None, **again) is STALE
    assert verdict(S.PENDING, S.PROCESSING, (EQUAL, POLL), **again) is FORWARD
    assert verdict(S.PENDING, S.PROCESSING, (EARLIER, PUSH), revisions=(Revision(1), Revision(2)), **again) is FORWARD


@pytest.mark.parametrize("known", S)
@pytest.mark.parametrize("told", S)
@pytest.mark.parametrize("read", [(EARLIER, PUSH), (EARLIER, POLL), (LATER, PUSH), (LATER, POLL)])
def test_attempts_only_rise(known, told, read):
    assert verdict(known, told, read, known_attempt=2, told_attempt=3) is FORWARD
    assert verdict(known, told, read, known_attempt=3, told_attempt=2) is STALE


def test_attempts_that_the_host_counted_are_added_to_those_of_the_engine():
    assert verdict(S.COMPLETED, S.COMPLETED, (EQUAL, PUSH), known_attempt=3, told_attempt=2, offset=2) is FORWARD
    assert verdict(S.COMPLETED, S.COMPLETED, (EARLIER, PUSH), known_attempt=3, told_attempt=1, offset=2) is STALE


@pytest.mark.parametrize(
    ("known", "told", "read", "revisions", "expected"),
    [
        (S.PROCESSING, S.COMPLETED, (LATER, POLL), (Revision(5), Revision(4)), STALE),
        (S.PENDING, S.PROCESSING, (LATER, PUSH), (Revision(5), Revision(4)), STALE),
        (S.PROCESSING, S.PENDING, (EARLIER, PUSH), (Revision(5), Revision(6)), AGAIN),
        (S.COMPLETED, S.PROCESSING, (EARLIER, PUSH), (Revision(5), Revision(6)), AGAIN),
        (S.COMPLETED, S.COMPLETED, (EARLIER, PUSH), (Revision(5), Revision(6)), FORWARD),
        (S.COMPLETED, S.PROCESSING, (LATER, PUSH), (Revision(5), Revision(5)), STALE),
        (S.PROCESSING, S.COMPLETED, (EARLIER, PUSH), (Revision(5), None), FORWARD),
        # numbers of two epochs do not compare: a restored engine starts again lower
        (S.PROCESSING, S.COMPLETED, (EARLIER, PUSH), (Revision(500, "a"), Revision(3, "b")), FORWARD),
        (S.COMPLETED, S.PROCESSING, (LATER, POLL), (Revision(500, "a"), Revision(3, "b")), AGAIN),
        (S.COMPLETED, S.PROCESSING, (LATER, PUSH), (Revision(500, "a"), Revision(501, "b")), STALE),
        (S.PENDING, S.PROCESSING, (LATER, PUSH), (Revision(5, "a:b"), Revision(4, "a:b")), STALE),
    ],
)
def test_revisions_of_one_epoch_decide_before_anything_else(known, told, read, revisions, expected):
    assert verdict(known, told, read, revisions=revisions) is expected


def test_a_restored_engine_that_counts_attempts_anew_is_followed_as_a_new_attempt():
    attempts = {"known_attempt": 3, "told_attempt": 1, "revisions": (Revision(500, "a"), Revision(3, "b"))}
    assert verdict(S.PROCESSING, S.COMPLETED, (LATER, POLL), **attempts) is AGAIN
    assert verdict(S.PROCESSING, S.COMPLETED, (LATER, PUSH), **attempts) is STALE
    assert verdict(S.PROCESSING, S.COMPLETED, (EQUAL, POLL), **attempts) is STALE
