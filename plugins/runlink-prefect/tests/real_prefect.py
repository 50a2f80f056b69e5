"""A real Prefect on loopback: a server and a runner that serves `flows.py`, made from nothing in a folder and gone
afterwards. It speaks to Prefect with the standard library alone, so that its account owes nothing to the plugin.

    with RealPrefect(folder) as engine:
        run = engine.trigger("ok", run_id="42")
        engine.wait([run])
        print(engine.account(run))
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".envs" / "prefect" / "bin"
FLOWS = Path(__file__).with_name("flows.py")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
Row = dict[str, Any]


class EngineMissingError(RuntimeError):
    """There is no environment with Prefect in it."""


class EngineBrokenError(RuntimeError):
    """Prefect did not start, or ended by itself. The message carries the end of its log."""


@dataclasses.dataclass(frozen=True)
class Account:
    """What Prefect itself says of one flow run. `states` and those of each task run are (type, name, time)."""

    id: str
    workflow: str
    state: tuple[str, str]
    states: tuple[tuple[str, str, str], ...]
    parameters: Mapping[str, Any]
    parent: str | None
    tasks: Mapping[str, tuple[str, tuple[tuple[str, str, str], ...]]]


class RealPrefect:
    """Starts on entering, ends and leaves no process on leaving, come what may. `settings` are environment variables of
    the server, which then stands alone: no runner could sign in."""

    def __init__(
        self, folder: Path | str, *, settings: Mapping[str, str] | None = None, start_timeout_s: float = 180.0
    ) -> None:
        self._settings = dict(settings or {})
        self.folder = Path(folder).resolve()
        self.started_in_s = 0.0
        self._start_timeout_s = start_timeout_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._deployments: dict[str, str] = {}
        # No proxy of the machine may come between this process and its own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/api"

    def __enter__(self) -> Self:
        if not (BIN / "prefect").exists():
            raise EngineMissingError(f"no Prefect in {BIN.parent}: run `scripts/setup prefect` first")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.start_server()
            if not self._settings:
                self._spawn("runner", str(BIN / "python"), str(FLOWS))
                self._await_deployments()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    # --- starting and ending -------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """Starts the server on the same database as before, and waits for it."""
        began = time.monotonic()
        self._spawn(
            "server",
            str(BIN / "prefect"),
            "server",
            "start",
            "--no-ui",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
        )
        self._await("an answer of the server", lambda: self.call("GET", "/health") is True)
        self.started_in_s = self.started_in_s or time.monotonic() - began

    def kill_server(self) -> None:
        """SIGKILL: what was not written is lost."""
        self._kill("server")

    def _spawn(self, name: str, *command: str) -> None:
        """In a session of its own, so that all that it starts can be ended as a group."""
        environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": "127.0.0.1",
            **self._settings,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, what: str, condition: Any) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise EngineBrokenError(f"the {name} ended with {process.returncode}: {self._log(name)}")
            with contextlib.suppress(OSError, ValueError, KeyError):
                if condition():
                    return
            time.sleep(0.1)
        raise EngineBrokenError(f"no {what} within {self._start_timeout_s:.0f} s: {self._log('server')}")

    def _await_deployments(self) -> None:
        def listed() -> bool:
            rows = self.call("POST", "/deployments/filter", {})
            self._deployments = {row["entrypoint"].partition(":")[2]: row["id"] for row in rows}
            return len(rows) == 7 and all(row["status"] == "READY" for row in rows)

        self._await("deployment", listed)

    def _log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-25:]) if path.exists() else "(no log)"

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def processes(self) -> list[int]:
        """Ids of all processes that were started with this folder as their PREFECT_HOME, whoever started them."""
        mark = f"PREFECT_HOME={self.folder / 'home'}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def _end(self) -> None:
        """SIGTERM to the runner's group, then to the server's, then SIGKILL to what is left. No zombies."""
        for name in ("runner", "server"):
            process = self._processes.pop(name, None)
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(8)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(8)
        for pid in self.processes():  # each flow run is a process, maybe in a group of its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # --- what one can ask of it ----------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the API answers. A server that is busy with SQLite answers 503 to writes: asked again."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for patience in range(20):
            try:
                with self._opener.open(request, timeout=30) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or patience == 19:
                    raise EngineBrokenError(f"{method} {path}: HTTP {error.code} {error.read(400)!r}") from error
                time.sleep(0.5)
        return None

    def trigger(self, flow: str, run_id: str, *, in_s: float = 0, **parameters: Any) -> str:
        """Starts a flow run, or has it wait for its time; gives its id."""
        state: Row = {}
        if in_s:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + in_s))
            state = {"state": {"type": "SCHEDULED", "state_details": {"scheduled_time": at}}}
        body = {"parameters": {"run_id": run_id, **parameters}, "tags": [f"run_id:{run_id}"], **state}
        row = self.call(
            "POST", f"/deployments/{self._deployments[flow]}/create_flow_run", {**body, "idempotency_key": run_id}
        )
        return str(row["id"])

    def set_state(self, run: str, kind: str, name: str | None = None, *, force: bool = False) -> None:
        """What the interface's buttons do. An answer of 201 may say REJECT or ABORT."""
        state = {"type": kind, **({"name": name} if name else {})}
        answer = self.call("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})
        if answer["status"] != "ACCEPT":
            raise EngineBrokenError(f"{kind} for {run}: {answer}")

    def delete(self, run: str) -> None:
        """Deletes a flow run."""
        self.call("DELETE", f"/flow_runs/{run}")

    def state(self, run: str) -> tuple[str, str]:
        """Type and name of its present state."""
        row = self.call("GET", f"/flow_runs/{run}")
        return row["state_type"], row["state_name"]

    def wait(self, runs: Iterable[str], *, states: tuple[str, ...] = ENDED, timeout_s: float = 150.0) -> None:
        """Returns when each is in one of these states; raises TimeoutError."""
        deadline, left = time.monotonic() + timeout_s, set(runs)
        while left := {run for run in left if self.state(run)[0] not in states}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {'/'.join(states)} within {timeout_s:.0f} s: {[self.state(r) for r in left]}")
            time.sleep(0.2)

    def runs(self) -> list[str]:
        """All flow runs that there are."""
        return [row["id"] for row in self.call("POST", "/flow_runs/filter", {"limit": 200})]

    def account(self, run: str) -> Account:
        """Prefect's own account of one flow run, asked for piece by piece."""
        row = self.call("GET", f"/flow_runs/{run}")
        flow = self.call("GET", f"/flows/{row['flow_id']}")["name"]
        deployment = self.call("GET", f"/deployments/{row['deployment_id']}")["name"] if row["deployment_id"] else None
        parent = row["parent_task_run_id"] and self.call("GET", f"/task_runs/{row['parent_task_run_id']}")
        question = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
        tasks = self.call("POST", "/task_runs/filter", question)
        return Account(
            id=run,
            workflow=f"{flow}/{deployment}" if deployment else flow,
            state=(row["state_type"], row["state_name"]),
            states=self._states("flow_run", run),
            parameters=row["parameters"],
            parent=parent["flow_run_id"] if parent else None,
            tasks={task["id"]: (task["name"], self._states("task_run", task["id"])) for task in tasks},
        )

    def _states(self, kind: str, run: str) -> tuple[tuple[str, str, str], ...]:
        states = self.call("GET", f"/{kind}_states/?{kind}_id={run}")
        return tuple((state["type"], state["name"], state["timestamp"]) for state in states)
