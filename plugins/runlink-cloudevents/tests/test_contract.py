"""The promises of a receiver, kept for CDEvents that a scripted pipeline sends in structured mode."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runlink.spi import ExecutionStatus
from runlink.testing import AdapterContract, Request, ScriptedEngine, ScriptedRun
from runlink.testing.contract.feeds import delivery
from runlink_cloudevents import CDEventsAdapter


class ScriptedPipeline(ScriptedEngine):
    """It only sends."""

    statuses = {
        "queued": ExecutionStatus.PENDING,
        "started": ExecutionStatus.PROCESSING,
        "success": ExecutionStatus.COMPLETED,
        "failure": ExecutionStatus.FAILED,
        "cancel": ExecutionStatus.CANCELLED,
    }
    lacks = {
        "attempts": "CDEvents have no tries",
        "deletion": "nothing is told of what is gone",
        "messages": "only what failed has words",
        "parents": "a chain has no order",
        "reruns": "each run has an id of its own",
        "resets": "ids are unique together with their source",
        "steps": "taskruns are told apart (test_cdevents.py has them)",
    }

    def external_id(self, run: ScriptedRun) -> str:
        return f"/ci/{self.epoch}#{run.number}"

    def answer(self, request: Request) -> int:
        return 404

    def delivery(self, run: ScriptedRun) -> tuple[Mapping[str, str], bytes]:
        predicate = run.native if run.native in ("queued", "started") else "finished"
        content = {"pipelineName": run.workflow, "url": "http://ci.test/run"}
        if predicate == "finished":
            content["outcome"] = run.native
        kind = f"dev.cdevents.pipelinerun.{predicate}.0.3.0"
        source = f"/ci/{self.epoch}"
        data = {
            "context": {"version": "0.5.0", "id": f"{run.number}-{run.change}", "source": source, "type": kind,
                        "timestamp": run.changed_at.isoformat()},
            "subject": {"id": str(run.number), "source": source, "type": "pipelineRun", "content": content},
            "customData": run.parameters,
        }  # fmt: skip
        event = {"specversion": "1.0", "id": data["context"]["id"], "source": source, "type": kind, "data": data}
        return {"content-type": "application/cloudevents+json"}, json.dumps(event).encode()


class TestCDEvents(AdapterContract):
    adapter = CDEventsAdapter
    engine = ScriptedPipeline
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
