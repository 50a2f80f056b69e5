"""What the browser tests look at: two engines, one of them a Jenkins, `runlink serve` beside them in a process of its
own, and tokens for a viewer and an operator. Nothing of runlink is replaced."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from tests.acceptance.cli.conftest import TOKEN, AcmeEngine, install, until

from runlink.testing import RecordedEngine

ROOT = Path(__file__).parents[2]
NASTY = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
HOOK_SECRET = "secret-of-the-hook"
CONFIG = """\
[store]
url = "sqlite:///runlink.db"

[server]
listen = "127.0.0.1:{port}"
auth = "{auth}"

[engines.jenkins]
type = "jenkins"
url = "{jenkins}"
poll_interval_s = 1

[engines.jenkins.webhook]
authentication = "bearer"
secrets = [{{ env = "HOOK_SECRET" }}]

[engines.deploys]
type = "acme"
url = "{acme}"
token = {{ env = "ACME_TOKEN" }}
poll_interval_s = 1

[[links]]
name = "release by its id"
workflow = ["release/*", "deploy/*"]
automation = "release"
run_key = "parameters.RUN_ID"

[automations.release]
expected = ["release/build", "deploy/prod"]
"""


def _fake_jenkins():
    path = ROOT / "plugins/runlink-jenkins/tests/fake_jenkins.py"
    spec = importlib.util.spec_from_file_location("fake_jenkins_of_the_browser", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.FakeJenkins()


def at(seconds_ago: float) -> str:
    """A time of the recent past."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


class Scene:
    """Engines and a server. `url` is where the dashboard is."""

    def __init__(self, folder: Path, *, auth: str = "required"):
        self.folder = folder
        self.acme = AcmeEngine()
        self.jenkins = _fake_jenkins()
        self._recorded = RecordedEngine(self.jenkins.handle)
        self._recorded.__enter__()
        self.jenkins.configured_url = self._recorded.url
        site = folder / "site"
        site.mkdir()
        shutil.copy(ROOT / "tests/acceptance/cli/runlink_acme.py", site)
        install(site, "acme", "runlink_acme", "2.5")
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(site),
            "ACME_TOKEN": TOKEN,
            "HOOK_SECRET": HOOK_SECRET,
            "NO_COLOR": "1",
        }
        self._auth, self._port = auth, 0
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._configure()
        self.tokens = {
            role: self.run("tokens", "create", role, "--role", role).strip() for role in ("viewer", "operator")
        }

    def _configure(self):
        text = CONFIG.format(port=self._port, auth=self._auth, jenkins=self._recorded.url, acme=self.acme.url)
        (self.folder / "runlink.toml").write_text(text)

    def _command(self, *arguments):
        return [sys.executable, "-c", "from runlink.cli import main; main()", "--config", "runlink.toml", *arguments]

    def run(self, *arguments):
        """What the `runlink` command says."""
        done = subprocess.run(
            self._command(*arguments), cwd=self.folder, env=self._environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(self):
        """Starts the server, at the same port when it ran before."""
        said = self.folder / "serve.txt"
        with said.open("wb") as file:
            self.process = subprocess.Popen(
                self._command("serve"), cwd=self.folder, env=self._environ, stdout=file, stderr=file
            )

        def address():
            assert self.process.poll() is None, said.read_text()
            return re.search(r"answering at (http://\S+?)/?\n", said.read_text())

        self.url = until(address, "the server")[1]
        if not self._port:
            self._port = int(self.url.rpartition(":")[2])
            self._configure()

    def stop(self):
        """Ends the server."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(10)

    def close(self):
        self.stop()
        self.acme.close()
        self._recorded.__exit__(None, None, None)

    # --- what programs ask and change, as the operator --------------------------------------------------------------

    def get(self, path, **parameters):
        return self._ask("GET", path, params=parameters)

    def post(self, path, **body):
        return self._ask("POST", path, json=body or None)

    def _ask(self, method, path, **options):
        headers = {"Authorization": f"Bearer {self.tokens['operator']}"}
        answer = httpx.request(
            method, f"{self.url}/api/v1{path}", headers=headers, timeout=30, trust_env=False, **options
        )
        assert answer.is_success, answer.text
        return answer.json()

    def make_run(self, key):
        """A Run of `release`, waiting; gives its id."""
        (automation,) = self.get("/automations", name="release")["items"]
        return self.post("/runs", automation_id=automation["id"], correlation_id=key)["id"]

    def make_items(self, run_id, batch, count):
        """A batch that runs in this Run, with so many items that wait; gives the ids of their executions."""
        (automation,) = self.get("/automations", name="release")["items"]
        batch_id = self.post("/batches", automation_id=automation["id"], name=batch, payload={})["id"]
        self.post(f"/batches/{batch_id}/items", payloads=list(range(count)))
        items = self.get(f"/batches/{batch_id}/items", limit=500)["items"]
        execution = self.post("/batch-executions", run_id=run_id, batch_id=batch_id)["id"]
        self.post(f"/batch-executions/{execution}/start")
        made = (self.post("/item-executions", batch_execution_id=execution, item_id=item["id"]) for item in items)
        return [one["id"] for one in made]

    def is_synced(self):
        """Whether each engine was read."""
        feeds = [feed for one in self.get("/engines")["items"] for feed in one["feeds"] if feed["feed"] == "poll"]
        return len(feeds) == 2 and all(feed["last_success_at"] for feed in feeds)

    # --- what happens in the engines ------------------------------------------------------------------------------

    def build(self, run_id, job="release/build", **fields):
        """A Jenkins build with a RUN_ID."""
        named = {"_class": "hudson.model.ParametersAction", "parameters": [
            {"_class": "hudson.model.StringParameterValue", "name": "RUN_ID", "value": run_id}]}  # fmt: skip
        now_ms = int(time.time() * 1000)
        given = {"actions": [named], "timestamp": now_ms, "building": True, "result": None, "duration": 0}
        return self.jenkins.build(job, **given | fields)

    def push(self, body, **headers):
        """A delivery of Jenkins."""
        headers = {"Authorization": f"Bearer {HOOK_SECRET}", **headers}
        answer = httpx.post(f"{self.url}/hooks/jenkins", content=body, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 202, answer.text

    def deploy(self, external_id, run_id, status, **more):
        """A deployment in the other engine; told again it is changed."""
        self.acme.add(external_id, more.pop("job", "deploy/prod"), status, parameters={"RUN_ID": run_id}, **more)
