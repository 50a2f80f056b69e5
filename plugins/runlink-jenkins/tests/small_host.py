"""The host's part in a few lines: cursors kept, pages applied, open instances read again. The tests come here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from fake_jenkins import T0, Build, FakeJenkins

import runlink.testing
from runlink.spi import Observation, Page
from runlink_jenkins import JenkinsAdapter

RECORDINGS = Path(__file__).parent / "recordings"
NOW = datetime.fromtimestamp(T0 / 1000, UTC) + timedelta(hours=1)
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


def recording(name: str) -> dict[str, Any]:
    """A recorded exchange."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    return found


def body(name: str) -> dict[str, Any]:
    """The JSON of a recorded answer."""
    found: dict[str, Any] = json.loads(recording(name)["response"]["body"])
    return found


class Bench:
    """A loopback server, the Jenkins behind it, and a clock that only `pass_time` moves."""

    def __init__(self) -> None:
        self.jenkins = FakeJenkins()
        self.url = ""
        self.engine: Any = None
        self.now = NOW
        self._adapters: list[JenkinsAdapter] = []

    def handle(self, *request: Any) -> Any:
        """Asks whichever Jenkins stands behind the server now."""
        return self.jenkins.handle(*request)

    def adapter(self, **options: Any) -> JenkinsAdapter:
        config = options.pop("config", {})
        options.setdefault("since", NOW - timedelta(days=7))
        adapter = runlink.testing.build(JenkinsAdapter, self.url, config=config, now=lambda: self.now, **options)
        self._adapters.append(adapter)
        return adapter

    def pass_time(self, **interval: float) -> None:
        self.now += timedelta(**interval)

    def close_adapters(self) -> None:
        self.now = NOW
        while self._adapters:
            runlink.testing.close(self._adapters.pop())

    def asked(self) -> list[str]:
        """The paths asked for since the last call."""
        paths = [path for _, path, _ in self.jenkins.requests]
        self.jenkins.requests.clear()
        return paths


class SmallHost:
    """Stores what an adapter tells. `turn` is one poll with the refetch that follows."""

    def __init__(self) -> None:
        self.cursors: dict[str, str] = {}
        self.table: dict[str, dict[str, Any]] = {}
        self.unreadable: list[Any] = []
        self.shown: set[str] = set()

    def turn(self, adapter: JenkinsAdapter) -> None:
        self.poll(adapter)
        self.refetch(adapter)

    def poll(self, adapter: JenkinsAdapter) -> list[Page]:
        self.shown = set()
        pages = []
        for page in adapter.poll(dict(self.cursors)):
            self.apply(page)
            pages.append(page)
        return pages

    def refetch(self, adapter: JenkinsAdapter, *more: str) -> None:
        ids = [i for i, row in self.table.items() if self._is_open(row) and i not in self.shown] + list(more)
        for page in adapter.refetch(ids) if ids else ():
            self.apply(page)
        self.shown = set()

    @staticmethod
    def _is_open(row: dict[str, Any]) -> bool:
        return row["status"] not in ENDED and not row.get("vanished")

    def apply(self, page: Page) -> None:
        msgspec.json.encode(page)
        for partition, cursor in page.cursors.items():
            if cursor is None:
                self.cursors.pop(partition, None)
            else:
                assert len(cursor.encode()) <= 65536
                self.cursors[partition] = cursor
        for observation in page.observations:
            self.take(observation)
        for external_id in page.gone:
            row = self.table.get(external_id)
            if row and self._is_open(row):
                row["vanished"] = True
        self.unreadable += page.unreadable

    def take(self, observation: Observation) -> None:
        told = {k: v for k, v in msgspec.structs.asdict(observation).items() if v is not None}
        told["status"] = str(told["status"])
        replaced = told.pop("supersedes", None)
        row = self.table.pop(replaced, None) or {}
        row = self.table.get(observation.external_id, row)
        if row.get("status") in ENDED and told["status"] not in ENDED:
            raise AssertionError(f"{observation.external_id} went back from {row} to {told}")
        self.table[observation.external_id] = {**row, **told, "vanished": False}
        self.shown.add(observation.external_id)

    def statuses(self) -> dict[str, str]:
        return {i: "vanished" if row["vanished"] else row["status"] for i, row in self.table.items()}


def put_recorded_job(jenkins: FakeJenkins, raw: dict[str, Any], **fields: Any) -> None:
    """A recorded job (fullName, builds, …) into the fake, its builds as they were recorded."""
    job = jenkins.job(raw["fullName"])
    job.klass = raw.get("_class", job.klass)
    job.builds = [Build(**b) for b in raw.get("builds", [])]
    job.next = raw.get("nextBuildNumber") or max([b["number"] for b in raw.get("builds", [])], default=0) + 1
    job.color = raw.get("color") or job.color
    for key, value in fields.items():
        setattr(job, key, value)


def put_moment(jenkins: FakeJenkins, step: int) -> None:
    """The Jenkins of the recorded sequence `seq-0…6` at one of its moments."""
    jenkins.job("starved-job")
    probes = {raw["fullName"]: raw for raw in body(f"seq-{step}-probe")["jobs"]}
    for raw in body(f"seq-{step}-builds")["jobs"]:
        put_recorded_job(jenkins, {**probes[raw["fullName"]], **raw})
    before = jenkins.queue
    jenkins.queue = {item["id"]: item for item in body(f"seq-{step}-queue")["items"]}
    for number in before.keys() - jenkins.queue.keys():
        jenkins.left[number] = before[number] | {"_class": "hudson.model.Queue$LeftItem", "why": None}
    for number, item in jenkins.left.items():
        job = jenkins.job("seq/job-a")
        started = [b.number for b in job.builds if b.fields["queueId"] == number]
        item["executable"] = {"number": started[0]} if started else None
