"""The recorded story, looked at rarely and with crashes: the same end."""

import pytest

from runlink.testing import StoryContract

END = 14


class TestStory(StoryContract):
    moments = range(1, END + 1)

    @pytest.fixture
    def at(self, master):
        return master.at

    @pytest.fixture
    def whole_end(self, make_host, at):
        """What is told when one looks at each moment."""
        return self.end(make_host, at)

    def test_the_end_as_buildbot_tells_it(self, whole_end):
        told = {
            name: (row["workflow"], row["status"], row["native_status"], row["attempt"], row["parent_external_id"])
            for name, row in whole_end.items()
        }
        parent = "buildrequest:5@1795445389"
        assert told == {
            "buildrequest:1@1795445389": ("ok", "COMPLETED", "SUCCESS", 1, None),
            "buildrequest:2@1795445389": ("fail", "FAILED", "FAILURE", 1, None),
            "buildrequest:3@1795445389": ("retry", "COMPLETED", "SUCCESS", 3, None),
            "buildrequest:4@1795445389": ("long", "CANCELLED", "CANCELLED", 1, None),
            parent: ("parent", "FAILED", "FAILURE", 1, None),
            "buildrequest:6@1795445395": ("child2", "FAILED", "FAILURE", 1, parent),
            "buildrequest:7@1795445395": ("child1", "COMPLETED", "SUCCESS", 1, parent),
            "buildrequest:8@1795445416": ("ok", "PROCESSING", "building", 1, None),
            "buildrequest:9@1795445416": ("long", "CANCELLED", "CANCELLED", 1, None),
        }

    def test_a_retry_is_the_same_request_with_a_new_build(self, whole_end):
        retried = whole_end["buildrequest:3@1795445389"]
        assert [(number, status, native) for number, (status, native, *_) in retried["attempts"].items()] == [
            (1, "FAILED", "RETRY"),
            (2, "FAILED", "RETRY"),
            (3, "COMPLETED", "SUCCESS"),
        ]
        steps = [(step, attempt, native) for step, _, attempt, _, native, *_ in retried["steps"]]
        assert sorted(steps, key=lambda step: step[1]) == [
            ("0:worker_preparation", 1, "SUCCESS"),
            ("1:flaky", 1, "RETRY"),
            ("0:worker_preparation", 2, "SUCCESS"),
            ("1:flaky", 2, "RETRY"),
            ("0:worker_preparation", 3, "SUCCESS"),
            ("1:flaky", 3, "SUCCESS"),
        ]


def test_statuses_on_the_way(master, make_host):
    host, way = make_host(), []
    for moment in range(1, END):
        master.at(moment)
        host.turn()
        row = host.table()["buildrequest:3@1795445389"]
        way.append((str(row["status"]), row["native_status"], row["attempt"]))
    assert way == [
        *[("PENDING", "pending", 1)] * 3,
        *[("PROCESSING", "building", 1)] * 3,
        ("RETRYING", "claimed", 1),
        *[("PROCESSING", "building", 2)] * 2,
        ("RETRYING", "pending", 2),
        *[("PROCESSING", "building", 3)] * 2,
        ("COMPLETED", "SUCCESS", 3),
    ]
