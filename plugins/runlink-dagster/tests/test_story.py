"""The recorded story, looked at rarely and with crashes: the same end."""

import pytest

from runlink.testing import StoryContract

END = 12
FAIL, LONG = "0566eb2d-2cd6-46f2-b368-94a85759f85f", "72790e80-1db7-4d7f-9984-bbc49f935257"
RETRY, AGAIN = "8527bacc-fa6b-4fbb-8f64-489f3c7c80ea", "f02bf0b3-3cc4-49bd-89fe-c0a481ce99b3"


class TestStory(StoryContract):
    moments = range(1, END + 1)

    @pytest.fixture
    def at(self, engine):
        return engine.at

    @pytest.fixture
    def whole_end(self, make_host, at):
        """What is told when one looks at each moment."""
        return self.end(make_host, at)

    def test_the_end_as_dagster_tells_it(self, whole_end):
        told = {
            row["workflow"].removeprefix("dagster_defs.py/"): (
                str(row["status"]),
                row["native_status"],
                row["parent_external_id"],
            )
            for name, row in whole_end.items()
            if name != AGAIN
        }
        assert told == {
            "ok_job": ("COMPLETED", "SUCCESS", None),
            "fail_job": ("FAILED", "FAILURE", None),
            "retry_job": ("COMPLETED", "SUCCESS", None),
            "mapped_job": ("COMPLETED", "SUCCESS", None),
            "long_job": ("CANCELLED", "CANCELED", None),
        }
        again = whole_end[AGAIN]
        assert (again["workflow"], str(again["status"])) == ("dagster_defs.py/fail_job", "PENDING")
        assert again["parent_external_id"] == FAIL
        assert all(row["steps"] is not None for row in whole_end.values())


def test_statuses_on_the_way(engine, make_host):
    host, way = make_host(), []
    for moment in range(1, END):
        engine.at(moment)
        host.turn()
        row = host.table()[FAIL]
        state = (str(row["status"]), row["native_status"], len(row["steps"]))
        if state not in way:
            way.append(state)
    assert way == [
        ("PENDING", "QUEUED", 0),
        ("PENDING", "STARTING", 0),
        ("PROCESSING", "STARTED", 0),
        ("PROCESSING", "STARTED", 1),  # seen though Dagster did not stamp the run
        ("FAILED", "FAILURE", 1),
    ]
