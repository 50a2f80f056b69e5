"""Acme with all that an adapter may fill in: steps, a stream, pushes. What the template does not need to show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from runlink_rocket.adapter import RocketAdapter
from runlink_rocket.translate import STATUS, observe
from scripted_rocket import RocketEngine

from runlink.spi import (
    CursorExpired,
    Delivery,
    DeliveryRejected,
    NotFound,
    Observation,
    Page,
    Receipt,
    Receives,
    Step,
    TransientError,
    Watches,
    json_of,
    page_of,
)
from runlink.testing import Reply, Request, ScriptedRun


class FullAcmeEngine(RocketEngine):
    lacks = {}

    def answer(self, request: Request) -> Any:
        if request.parts == ["api", "events"]:
            epoch, _, change = request.query["after"].partition("-")
            if epoch != str(self.epoch) or not change.isdigit():
                return 410
            return Reply(200, {"Content-Type": "application/jsonl"}, self._events(int(change)))
        if request.parts == ["api", "changed"]:
            since = datetime.fromisoformat(request.query["since"])
            return {"runs": [self.row(run) for run in self.runs if run.changed_at >= since]}
        return super().answer(request)

    def _events(self, after: int) -> Iterator[bytes]:
        for run in self.follow(after):
            if not run.deleted:
                event = {"place": f"{self.epoch}-{run.change}", "run": self.row(run)}
                yield json.dumps(event).encode() + b"\n"

    def delivery(self, run: ScriptedRun) -> tuple[dict[str, str], bytes]:
        body = {"id": self.external_id(run), "job": run.workflow, "state": run.native, "try": run.attempt}
        return {"Content-Type": "application/json"}, json.dumps(body).encode()

    def row(self, run: ScriptedRun) -> dict[str, Any]:
        steps = [
            {"name": s.name, "state": s.native, "try": s.attempt, "at": str(s.started_at), "to": str(s.finished_at)}
            for s in run.steps
        ]
        return super().row(run) | {"steps": steps}


class FullAcmeAdapter(RocketAdapter, Watches, Receives):
    authentication = "bearer"

    def poll(self, cursors: Any) -> Iterator[Page]:
        place, more = cursors.get("runs", "start"), True
        while more:
            query = {"after": place, "since": self.context.since.isoformat()}
            told = self._get("/api/runs", "runs", "next", "more", params=query)
            place, more = told["next"], told["more"]
            yield page_of(told["runs"], self.observe, cursors={"runs": place})

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        rows, gone = [], []
        for external_id in external_ids:
            try:
                rows.append(self._get(f"/api/runs/{external_id}", "id"))
            except NotFound:
                gone.append(external_id)
        yield page_of(rows, self.observe, gone=gone)

    def watch(self, cursors: Any) -> Iterator[Page]:
        if "runs" not in cursors:
            raise CursorExpired("there is no place to watch from")
        with self._client.stream("GET", "/api/events", params={"after": cursors["runs"]}) as answer:
            if answer.status_code == 410:
                raise CursorExpired("Acme no longer knows the place that was stored")
            if answer.status_code != 200:
                answer.read()
                json_of(answer, self.context.now())
            for line in answer.iter_lines():
                try:
                    event = json.loads(line)
                    told, place = event["run"], event["place"]
                except (ValueError, TypeError, KeyError) as error:
                    raise TransientError(f"the stream does not say what Acme says: {error!r}") from None
                yield page_of([told], self.observe, cursors={"runs": place})

    def observe(self, row: Any) -> Observation:
        return observe_with_steps(row)

    def receive(self, delivery: Delivery) -> Receipt:
        try:
            row = json.loads(delivery.body)
            seen = Observation(
                external_id=row["id"],
                workflow=row["job"],
                status=STATUS[row["state"]],
                native_status=row["state"],
                attempt=row["try"],
                complete=False,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DeliveryRejected(f"this is no delivery of Acme: {error!r}") from None
        return Receipt(observations=(seen,))


def observe_with_steps(row: Any) -> Observation:
    steps = tuple(
        Step(
            external_id=step["name"],
            name=step["name"],
            status=STATUS[step["state"]],
            native_status=step["state"],
            attempt=step["try"],
            started_at=None if step["at"] == "None" else datetime.fromisoformat(step["at"]),
            finished_at=None if step["to"] == "None" else datetime.fromisoformat(step["to"]),
        )
        for step in row["steps"]
    )
    return msgspec.structs.replace(observe(row), steps=steps)
