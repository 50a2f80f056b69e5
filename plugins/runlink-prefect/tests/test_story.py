"""The recorded story, looked at rarely and with crashes: the same end."""

from urllib.parse import urlsplit

import pytest
from recorded_story import moments

from runlink.testing import StoryContract

OK = "b68b40ac-958d-4c02-a70e-0e8f9349f361"
FAIL = "233c450f-174b-426c-88f2-1aa653e08dbb"
RETRY = "e99aefea-9f9d-43f9-a7d5-19158683f9ba"
FLOW_RETRY = "a187bbee-1514-4a07-a5a4-30ddb9709cff"
MAPPED = "a045aa6c-465c-40b4-84aa-5d074f9464bd"
LONG = "1ed49654-c851-4b5d-8e24-8fef69df299f"
LATER = "26a5bb6d-9a4f-41fb-906c-b747c84d4201"


class TestStory(StoryContract):
    moments = moments()

    @pytest.fixture
    def at(self, prefect):
        self.prefect = prefect
        return prefect.at

    @pytest.fixture
    def whole_end(self, make_host, at):
        """What is told when one looks after each thing that happened."""
        return self.end(make_host, at)

    def settle(self, host):
        for _ in range(3):
            host.turn()
            self.prefect.wait(20)
        super().settle(host)

    def told(self, host):
        told = super().told(host)  # each test's Prefect has a port of its own
        return {name: row | {"url": urlsplit(row["url"]).path} for name, row in told.items()}

    def test_the_end_as_prefect_tells_it(self, whole_end):
        rows = {
            name: (row["workflow"], row["status"], row["native_status"], row["attempt"])
            for name, row in whole_end.items()
        }
        first = {name: rows.pop(name) for name in (OK, FAIL, RETRY, FLOW_RETRY, MAPPED, LONG, LATER)}
        assert first == {
            OK: ("ok-flow/ok-dep", "COMPLETED", "Completed", 1),
            FAIL: ("fail-flow/fail-dep", "FAILED", "Failed", 2),
            RETRY: ("retry-flow/retry-dep", "COMPLETED", "Completed", 1),
            FLOW_RETRY: ("flowretry-flow/flowretry-dep", "COMPLETED", "Completed", 2),
            MAPPED: ("mapped-flow/mapped-dep", "COMPLETED", "Completed", 1),
            LONG: ("long-flow/long-dep", "PROCESSING", "Running", 2),
            LATER: ("ok-flow/ok-dep", "PENDING", "Scheduled", 1),
        }
        assert sorted(rows.values()) == [
            ("fail-flow/fail-dep", "FAILED", "Failed", 1),
            ("ok-flow/ok-dep", "COMPLETED", "Completed", 1),
            ("retry-flow/retry-dep", "COMPLETED", "Completed", 1),
            ("retry-flow/retry-dep", "COMPLETED", "Completed", 1),
        ]

    def test_a_flow_retry_is_another_try(self, whole_end):
        tries = whole_end[FLOW_RETRY]["attempts"]
        assert [(number, str(status), native) for number, (status, native, *_) in sorted(tries.items())] == [
            (1, "FAILED", "AwaitingRetry"),
            (2, "COMPLETED", "Completed"),
        ]
        first, second = tries[1], tries[2]
        assert first[3] < second[2] < second[3]

    def test_an_end_that_is_left_again_is_another_try(self, whole_end):
        """073: RUNNING on a cancelled run, 074: SCHEDULED on a failed one; both with the same id."""
        assert [str(each[0]) for _, each in sorted(whole_end[LONG]["attempts"].items())] == ["CANCELLED", "PROCESSING"]
        assert [str(each[0]) for _, each in sorted(whole_end[FAIL]["attempts"].items())] == ["FAILED", "FAILED"]
        assert whole_end[LONG]["finished_at"] is None

    def test_a_task_run_has_one_row_and_several_tries(self, whole_end):
        """067: the tries are in its states only."""
        steps = sorted(whole_end[RETRY]["steps"], key=lambda step: step[2])
        assert [(name, attempt, str(status), native) for _, name, attempt, status, native, *_ in steps] == [
            ("flaky", 1, "FAILED", "AwaitingRetry"),
            ("flaky", 2, "FAILED", "AwaitingRetry"),
            ("flaky", 3, "COMPLETED", "Completed"),
        ]
        assert len({step[0] for step in steps}) == 1

    def test_mapped_task_runs_are_steps_of_one_name(self, whole_end):
        steps = whole_end[MAPPED]["steps"]
        assert [step[1] for step in steps] == ["square"] * 4
        assert sorted(str(step[3]) for step in steps) == ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED"]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (FLOW_RETRY, [("RETRYING", "AwaitingRetry", 1), ("PROCESSING", "Running", 2), ("COMPLETED", "Completed", 2)]),
        (
            FAIL,
            [
                ("FAILED", "Failed", 1),
                ("RETRYING", "AwaitingRetry", 2),
                ("RETRYING", "Pending", 2),
                ("RETRYING", "Submitting", 2),
                ("PROCESSING", "Running", 2),
                ("FAILED", "Failed", 2),
            ],
        ),
        (
            LONG,
            [("PROCESSING", "Cancelling", 1), ("CANCELLED", "Cancelled", 1), ("PROCESSING", "Running", 2)],
        ),
    ],
)
def test_statuses_on_the_way(run, expected, prefect, host):
    way = []
    for when in moments():
        prefect.at(when)
        host.turn()
        row = host.table().get(run)
        if row and (seen := (str(row["status"]), row["native_status"], row["attempt"])) not in way[-1:]:
            way.append(seen)
    assert way == [
        ("PENDING", "Scheduled", 1),
        ("PENDING", "Pending", 1),
        ("PENDING", "Submitting", 1),
        ("PROCESSING", "Running", 1),
        *expected,
    ]
