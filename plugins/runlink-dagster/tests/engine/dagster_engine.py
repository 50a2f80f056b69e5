"""A real Dagster on loopback: code server, webserver and daemon, made from nothing in a folder and gone afterwards.

The live tests come here. It speaks GraphQL with the standard library alone and with documents of its own, so that its
account of what ran (`accounts`) owes nothing to the plugin that is being judged.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
BIN = HERE.parents[3] / ".envs" / "dagster" / "bin"
LOCATION = "demo"

_ACCOUNT = """query($limit: Int!) { runsOrError(limit: $limit) { __typename ... on PythonError { message } ... on Runs {
  results {
    id status pipelineName tags { key value } parentRunId rootRunId runConfigYaml creationTime updateTime startTime
    endTime repositoryOrigin { repositoryLocationName }
    stepStats { stepKey status startTime endTime attempts { startTime endTime } }
    eventConnection { hasMore events {
      __typename ... on MessageEvent { timestamp stepKey eventType message }
      ... on ExecutionStepFailureEvent { error { className } }
    } }
  } } } }"""
_LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }"""
_REEXECUTE = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }"""
_TERMINATE = """mutation($id: String!, $policy: TerminateRunPolicy) {
  terminateRun(runId: $id, terminatePolicy: $policy) { __typename ... on Error { message } } }"""
_RELOAD = "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"
_SET_UP = """from dagster import DagsterInstance
instance = DagsterInstance.get()
instance.run_storage, instance.event_log_storage, instance.schedule_storage"""
_DELETE = "mutation($id: String!) { deleteRun(runId: $id) { __typename ... on Error { message } } }"


class EngineMissingError(RuntimeError):
    """There is no environment with Dagster in it."""


class EngineBrokenError(RuntimeError):
    """Dagster did not start, ended by itself, or refused. The message says which."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One line of a run's event log. `at` in seconds since the epoch."""

    type: str
    at: float
    step: str | None
    error: str | None


@dataclasses.dataclass(frozen=True)
class Account:
    """What Dagster itself says of one run. `steps` as `stepStats` has them."""

    id: str
    job: str
    status: str
    tags: Mapping[str, str]
    parent: str | None
    config: str
    created_at: float
    updated_at: float
    started_at: float | None
    ended_at: float | None
    steps: tuple[Mapping[str, Any], ...]
    events: tuple[Event, ...]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _end_with_parent() -> None:
    """In the child, before its program: SIGKILL when the test itself is killed (Linux, prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class RealDagster:
    """Starts on entering, ends and leaves no process on leaving, come what may. `folder` must be empty or absent.

    `started_s` is how long the last start took, in seconds, until the code location was loaded and the daemons alive;
    `first_started_s` how long the first.
    """

    def __init__(self, folder: Path | str, *, start_timeout_s: float = 180.0) -> None:
        self.folder = Path(folder).resolve()
        self.url = ""
        self.started_s = self.first_started_s = 0.0
        self._start_timeout_s = start_timeout_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # No proxy of the machine may come between this process and its own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        if not (BIN / "dagster").exists():
            raise EngineMissingError(f"no Dagster in {BIN.parent}: run `scripts/setup dagster` first")
        try:
            self._make()
            self.start()
        except BaseException:
            self._end(list(self._processes))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end(list(self._processes))

    # --- starting and ending -------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("definitions.py", "dagster.yaml"):
            shutil.copy(HERE / name, self.folder)
        self._http, self._grpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._http}"
        (self.folder / "workspace.yaml").write_text(
            f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {self._grpc}, location_name: {LOCATION}}}}}]\n",
            "utf-8",
        )

        # Dagster 1.13.28: of several processes that find no database yet, all make it, and all but one end.
        made = subprocess.run(
            [str(BIN / "python"), "-c", _SET_UP],
            env=self._environment(),
            cwd=self.folder,
            capture_output=True,
            check=False,
        )
        if made.returncode:
            raise EngineBrokenError(f"no database could be made: {made.stderr[-2000:].decode('utf-8', 'replace')}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "DAGSTER_HOME": str(self.folder),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }

    def start(self) -> None:
        """Starts what is not running: code server, webserver, daemon."""
        began = time.monotonic()
        code = ["code-server", "start", "-f", "definitions.py", "--location-name", LOCATION]
        self._run("code-server", "dagster", *code, "-h", "127.0.0.1", "-p", str(self._grpc))
        self._run("webserver", "dagster-webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self._http))
        self._run("daemon", "dagster-daemon", "run", "-w", "workspace.yaml")
        self._await(began + self._start_timeout_s)
        self.started_s = time.monotonic() - began
        self.first_started_s = self.first_started_s or self.started_s

    def kill(self, *names: str) -> None:
        """SIGKILL for the whole group of these processes: a crash. Runs belong to the group of the code server."""
        self._end(list(names), signals=(signal.SIGKILL,))

    def _run(self, name: str, program: str, *arguments: str) -> None:
        if name in self._processes:
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(BIN / program), *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of libc
            )

    def _await(self, deadline: float) -> None:
        wanted = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } workspaceOrError { "
        wanted += "... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename } } } } }"
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise EngineBrokenError(f"the {name} ended with {process.returncode}: {self._log(name)}")
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EngineBrokenError):
                self.ask(_RELOAD, name=LOCATION)  # else the webserver goes on showing what a killed code server had
                data = self.ask(wanted)
                daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
                entries = data["workspaceOrError"]["locationEntries"]
                kinds = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
                if kinds == ["RepositoryLocation"] and all(one["healthy"] for one in daemons if one["required"]):
                    return
            time.sleep(0.2)
        raise EngineBrokenError(f"not ready within {self._start_timeout_s:.0f} s: {self._log('webserver')}")

    def _log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-25:]) if path.exists() else "(no log)"

    def _end(self, names: list[str], signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)) -> None:
        """Each signal to each group, five seconds for all of them. Waits for each: no zombies."""
        ending = {name: self._processes.pop(name) for name in names if name in self._processes}
        for each in signals:
            deadline = time.monotonic() + 5.0
            for process in ending.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, each)
            for process in ending.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))

    # --- what one can ask of it ----------------------------------------------------------------------------------

    def ask(self, document: str, **variables: Any) -> Any:
        """The `data` of a GraphQL answer."""
        body = json.dumps({"query": document, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=60) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            raise EngineBrokenError(f"HTTP {error.code}: {error.read(600)!r}") from error
        if said.get("errors"):
            raise EngineBrokenError(f"errors: {said['errors'][0]['message']}")
        return said["data"]

    def _do(self, field: str, wanted: str, document: str, **variables: Any) -> Any:
        said = self.ask(document, **variables)[field]
        if said["__typename"] != wanted:
            raise EngineBrokenError(f"{field}: {said}")
        return said

    def launch(self, job: str, *, run_id: str = "", config: Mapping[str, Any] | None = None) -> str:
        """Starts a run with `run_id` as a tag. Gives its id in Dagster."""
        parameters = {
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": LOCATION,
                "jobName": job,
            },
            "runConfigData": dict(config or {}),
            "mode": "default",
            "executionMetadata": {"tags": [{"key": "run_id", "value": run_id}] if run_id else []},
        }
        return str(self._do("launchRun", "LaunchRunSuccess", _LAUNCH, p=parameters)["run"]["runId"])

    def reexecute(self, run: str, strategy: str = "ALL_STEPS") -> str:
        """Runs it again as a new run. `strategy`: ALL_STEPS or FROM_FAILURE."""
        parameters = {"parentRunId": run, "strategy": strategy}
        said = self._do("launchRunReexecution", "LaunchRunSuccess", _REEXECUTE, p=parameters)
        return str(said["run"]["runId"])

    def terminate(self, run: str, *, force: bool = False) -> None:
        """Cancels it; it is CANCELING, and CANCELED a moment later. `force`: without asking its worker, at once."""
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE"
        self._do("terminateRun", "TerminateRunSuccess", _TERMINATE, id=run, policy=policy)

    def delete(self, run: str) -> None:
        """Removes it and all that Dagster knows of it."""
        self._do("deleteRun", "DeletePipelineRunSuccess", _DELETE, id=run)

    def status(self, run: str) -> str | None:
        """Dagster's word for it; None for a run that Dagster does not have."""
        said = self.ask("query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run)
        status: str | None = said["runOrError"].get("status")
        return status

    def accounts(self) -> list[Account]:
        """Dagster's own account of every run, oldest first."""
        said = self._do("runsOrError", "Runs", _ACCOUNT, limit=10_000)
        return [_account(row) for row in reversed(said["results"])]


def _account(row: Mapping[str, Any]) -> Account:
    events = row["eventConnection"]
    if events["hasMore"]:
        raise EngineBrokenError(f"the event log of {row['id']} is longer than one answer")
    return Account(
        id=row["id"],
        job=row["pipelineName"],
        status=row["status"],
        tags={tag["key"]: tag["value"] for tag in row["tags"]},
        parent=row["parentRunId"],
        config=row["runConfigYaml"],
        created_at=row["creationTime"],
        updated_at=row["updateTime"],
        started_at=row["startTime"],
        ended_at=row["endTime"],
        steps=tuple(row["stepStats"]),
        events=tuple(
            Event(
                each.get("eventType") or each["__typename"],
                int(each.get("timestamp") or 0) / 1000,
                each.get("stepKey"),
                (each.get("error") or {}).get("className"),
            )
            for each in events["events"]
        ),
    )
