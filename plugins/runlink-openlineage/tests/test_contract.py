"""The promises of a receiver, kept for OpenLineage events that a scripted producer sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import UUID

from runlink.spi import ExecutionStatus
from runlink.testing import AdapterContract, Request, ScriptedEngine, ScriptedRun
from runlink.testing.contract.feeds import delivery
from runlink_openlineage import OpenLineageAdapter


class ScriptedProducer(ScriptedEngine):
    """It only sends."""

    statuses = {
        "START": ExecutionStatus.PROCESSING,
        "COMPLETE": ExecutionStatus.COMPLETED,
        "FAIL": ExecutionStatus.FAILED,
        "ABORT": ExecutionStatus.CANCELLED,
    }
    lacks = {
        "attempts": "a run is tried once; Airflow's tries are of steps (test_openlineage.py has them)",
        "deletion": "nothing is told of what is gone",
        "parameters": "only Airflow tells them (test_openlineage.py)",
        "parents": "what has a parent is a step of it (test_openlineage.py)",
        "reruns": "each run has an id of its own",
        "resets": "run ids are unique",
        "steps": "runs of parts are told apart (test_openlineage.py)",
    }

    def external_id(self, run: ScriptedRun) -> str:
        return str(UUID(int=(self.epoch << 64) | run.number))

    def answer(self, request: Request) -> int:
        return 404

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        facets = {"errorMessage": {"message": run.message}} if run.message else {}
        event = {
            "eventType": run.native,
            "eventTime": run.changed_at.isoformat(),
            "run": {"runId": self.external_id(run), "facets": facets},
            "job": {"namespace": "prod", "name": run.workflow},
            "producer": "https://producer.example.org",
        }
        return {"content-type": "application/json"}, json.dumps(event).encode()


class TestOpenLineage(AdapterContract):
    adapter = OpenLineageAdapter
    engine = ScriptedProducer
    exempt = {"test_check_tells_product_and_version": "there is no server that a check could reach"}

    def test_an_end_leaves_the_beginning_as_it_was_told(self):
        with self.world() as world:
            run = world.engine.start()
            world.host.push(world.host.adapter.receive(delivery(world, run)).observations)
            world.engine.advance()
            world.engine.end(run, ExecutionStatus.FAILED)
            world.host.push(world.host.adapter.receive(delivery(world, run)).observations)
            row = world.host.table()[world.engine.external_id(run)]
            assert (row["started_at"], row["finished_at"]) == (run.started_at, run.finished_at)
            assert (row["status"], row["workflow"]) == (ExecutionStatus.FAILED, run.workflow)
