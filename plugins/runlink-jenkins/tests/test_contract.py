"""Every promise of the adapter interface, kept against a scripted Jenkins that answers tree queries as the real one."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import quote

from fake_jenkins import FREESTYLE_BUILD, Build, FakeJenkins

from runlink.spi import ExecutionStatus
from runlink.testing import (
    AdapterContract,
    EngineSettings,
    Reply,
    Request,
    ScriptedEngine,
    ScriptedRun,
    isolated,
    record,
    replay,
)
from runlink_jenkins import JenkinsAdapter
from runlink_jenkins.translate import RESULTS, BuildId


class ScriptedJenkins(ScriptedEngine):
    """A run is a freestyle build. Numbers count over all jobs, so those of one job have gaps, as after deletions."""

    statuses = {"building": ExecutionStatus.PROCESSING, **RESULTS}
    workflows = ("etl", "team/Bücher ☃ 日本")
    lacks = {
        "attempts": "a build is begun once; a retry is another build",
        "reruns": "a build is begun once; Replay makes another",
        "messages": "a build says in no words how it ended",
        "steps": "a freestyle build has no stages (test_rereading.py has those of Pipelines)",
    }

    def __init__(self) -> None:
        super().__init__()
        self._jenkins = FakeJenkins()
        self._at = (0, 0)

    def external_id(self, run: ScriptedRun) -> str:
        return str(BuildId(run.workflow, run.number, _ms(run.created_at)))

    def restarted(self) -> None:
        self._jenkins.session += "x"

    def answer(self, request: Request) -> Reply:
        if self._at != (self.epoch, self.change):
            self._follow()
        path = request.target
        return Reply(*self._jenkins.handle(request.method, path, request.headers, request.body))

    def delivery(self, run: ScriptedRun) -> tuple[dict[str, str], bytes]:
        """As the Notification plugin posts it."""
        folders = "/".join(f"job/{quote(name)}" for name in run.workflow.split("/"))
        build = {"number": run.number, "phase": "COMPLETED" if run.status.is_ended else "STARTED", "status": run.native}
        told = {"name": run.workflow.rpartition("/")[2], "url": f"{folders}/", "build": build}
        return {"Content-Type": "application/json"}, json.dumps(told).encode()

    def _follow(self) -> None:
        self._at = (self.epoch, self.change)
        for workflow in self.workflows:
            job = self._jenkins.job(workflow)
            runs = [run for run in self.runs if run.workflow == workflow]
            job.builds = [Build(**self._build(run)) for run in reversed(runs)]
            numbers = [r.number for r in self.changes() if r.workflow == workflow]
            job.next = max(numbers, default=0) + 1
            job.color = "blue_anime" if any(not run.status.is_ended for run in runs) else "blue"

    def _build(self, run: ScriptedRun) -> dict[str, object]:
        ended = run.finished_at
        parent = run.parent and {
            "_class": "hudson.model.Cause$UpstreamCause",
            "shortDescription": "Started by upstream project",
            "upstreamProject": run.parent.workflow,
            "upstreamBuild": run.parent.number,
        }
        parameters = [{"_class": "hudson.model.StringParameterValue", "name": n, "value": v}
                      for n, v in run.parameters.items()]  # fmt: skip
        return {
            "_class": FREESTYLE_BUILD,
            "number": run.number,
            "url": f"http://jenkins.test/job/x/{run.number}/",
            "result": None if run.native == "building" else run.native,
            "building": run.native == "building",
            "timestamp": _ms(run.created_at),
            "duration": int((ended - run.created_at).total_seconds() * 1000) if ended else 0,
            "queueId": run.number,
            "displayName": f"#{run.number}",
            "description": None,
            "keepLog": False,
            "builtOn": "",
            "actions": [
                {"_class": "hudson.model.ParametersAction", "parameters": parameters},
                {"_class": "hudson.model.CauseAction", "causes": [parent] if parent else []},
            ],
        }


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class TestJenkins(AdapterContract):
    adapter = JenkinsAdapter
    engine = ScriptedJenkins
    config = {"user": "runlink", "token": "t0ken-0f-jenkins"}
    patience_s = 1200.0
    listed = 150  # of a job met for the first time builds_per_job are looked at, 100
    exempt = {
        "test_ten_thousand_runs_in_bounded_memory": "of a job met for the first time 100 builds are looked at by "
        "design; `make bench ARGS=backfill_memory` measures 200,000"
    }


class TestJenkinsApart(AdapterContract):
    """The same through the boundary of a process, with fewer lives: each adapter that is made is one more to start."""

    adapter = isolated(JenkinsAdapter)
    engine = ScriptedJenkins
    config = TestJenkins.config
    patience_s = TestJenkins.patience_s
    listed = TestJenkins.listed
    examples = 2
    exempt = TestJenkins.exempt | {
        "test_it_goes_on_after_any_page": "a hundred processes one after another: runlink-buildbot's has them",
    }


# --- recordings ---------------------------------------------------------------------------------------------------

TOKEN = "t0ken-of-jenkins"


def test_a_password_and_the_crumb_it_takes_are_recorded_too(tmp_path):
    with ScriptedJenkins() as jenkins:
        jenkins._jenkins.user, jenkins._jenkins.token, jenkins._jenkins.is_token = "rob", TOKEN, False
        jenkins._jenkins.longest_url = 130  # so that trees are POSTed, which takes a crumb
        jenkins.end(jenkins.start())
        settings = EngineSettings(name="ci", type="jenkins", url=jenkins.url, options={"user": "rob", "token": TOKEN})
        live = record(JenkinsAdapter, settings, tmp_path / "one", since=jenkins.now - timedelta(days=1))
        assert (live.error, live.instances) == (None, 1)
    assert replay(JenkinsAdapter, tmp_path / "one").is_same
    told = "".join(path.read_text() for path in (tmp_path / "one").iterdir())
    assert "crumbIssuer" in told
    assert "Basic" not in told
    assert "dummy-crumb" not in told
