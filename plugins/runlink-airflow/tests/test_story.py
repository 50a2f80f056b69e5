"""The recorded story, looked at rarely and with crashes: the same end."""

import pytest

from runlink.testing import StoryContract

END = 14
DELETED = "ok_pipeline/rl-0007@1795444448.941370"
CLEARED = "fail_pipeline/manual__2026-11-23T14:34:08.818404+00:00@1795444448.818404"
RETRIED = "retry_pipeline/manual__2026-11-23T14:34:08.844276+00:00@1795444448.844276"
MAPPED = "mapped_pipeline/manual__2026-11-23T14:34:08.862959+00:00@1795444448.862959"
CANCELLED = "long_pipeline/manual__2026-11-23T14:34:08.895936+00:00@1795444448.895936"
PAUSED = "paused_pipeline/manual__2026-11-23T14:34:08.918515+00:00@1795444448.918515"


@pytest.fixture(autouse=True)
def audit_log(airflow, patch_line):
    """What the recorded Airflow wrote when the long run was cancelled (its form as in recording 144)."""
    airflow.events = [
        patch_line("long_pipeline", "manual__2026-11-23T14:34:08.895936+00:00", "2026-11-23T14:35:36.700000Z")
    ]


class TestStory(StoryContract):
    moments = range(1, END + 1)

    @pytest.fixture
    def at(self, airflow):
        return airflow.at

    def told(self, host):
        """Without the tries of a run (who looks rarely sees fewer) and what was deleted."""
        table = {name: row for name, row in host.table().items() if name != DELETED}
        return {name: {k: v for k, v in row.items() if k != "attempt"} for name, row in table.items()}

    @pytest.fixture
    def undisturbed(self, make_host, at):
        host = make_host()
        for number in self.moments:
            at(number)
            host.turn()
        self.settle(host)
        return host

    def test_the_end_as_airflow_tells_it(self, undisturbed):
        told = {
            name.split("/")[0]: (
                str(row["status"]),
                row["native_status"],
                row["attempt"],
                row["parameters"],
                row["message"],
            )
            for name, row in undisturbed.table().items()
            if "rl-0020" not in name and name != DELETED
        }
        assert told == {
            "ok_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0001"}, None),
            "fail_pipeline": ("FAILED", "failed", 2, {"run_id": "rl-0002"}, "task boom failed (try 2 of 2)"),
            "retry_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0003"}, None),
            "mapped_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0004"}, None),
            "long_pipeline": (
                "CANCELLED",
                "failed",
                1,
                {"run_id": "rl-0005"},
                "set to failed by admin: cancelled by runlink",
            ),
            "paused_pipeline": ("COMPLETED", "success", 1, {"run_id": "rl-0006"}, None),
        }
        assert len(undisturbed.table()) == 8
        assert not any(row["vanished"] for row in undisturbed.table().values())  # it had ended, so nobody asked

    def test_every_try_is_a_step(self, undisturbed):
        def tries(name, step):
            steps = undisturbed.table()[name]["steps"]
            return sorted((attempt, native) for external_id, _, attempt, _, native, *_ in steps if external_id == step)

        assert tries(RETRIED, "flaky") == [(1, "failed"), (2, "failed"), (3, "success")]
        assert tries(CLEARED, "boom") == [(1, "failed"), (2, "failed")]

    def test_a_mapped_task_is_a_step_with_parts(self, undisturbed):
        steps = undisturbed.table()[MAPPED]["steps"]
        assert {step: (native, str(status)) for step, _, _, status, native, *_ in steps} == {
            "items": ("success", "COMPLETED"),
            "square": ("mapped", "FAILED"),
            "square[0]": ("success", "COMPLETED"),
            "square[1]": ("success", "COMPLETED"),
            "square[2]": ("failed", "FAILED"),
            "square[3]": ("success", "COMPLETED"),
            "total": ("success", "COMPLETED"),
        }


def test_statuses_on_the_way(airflow, make_host):
    host, way = make_host(), []
    for number in range(1, 8):
        airflow.at(number)
        host.turn()
        row = host.table()[RETRIED]
        way.append((str(row["status"]), row["native_status"]))
    assert way == [
        ("PENDING", "queued"),
        *[("PROCESSING", "running")] * 2,
        ("RETRYING", "running"),
        *[("RETRYING", "running")] * 2,
        ("COMPLETED", "success"),
    ]
