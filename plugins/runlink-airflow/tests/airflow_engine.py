"""A real Airflow on loopback: API server, scheduler and DAG processor, made from nothing, and gone afterwards.

The live test runs runlink against it. It speaks to Airflow with the standard library alone, and reads its database for
what no API tells (`clear_number`), so that its account of what ran owes nothing to the plugin that is being judged.

    with RealAirflow(folder) as engine:
        run = engine.trigger("ok", run_id="order-42")
        engine.wait([run])
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".envs" / "airflow" / "bin"
USER, PASSWORD = "runlink", "a-password-for-loopback"
"""runlink's own, of the role that may read and nothing else."""
OPERATOR, OPERATOR_PASSWORD = "operator", "another-one"
"""Who triggers, cancels and clears."""
ENDED = ("success", "failed")


class EngineMissingError(RuntimeError):
    """There is no environment with Airflow in it."""


class EngineBrokenError(RuntimeError):
    """Airflow did not start, or ended by itself. The message carries the end of its log."""


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at this moment, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class RealAirflow:
    """Starts on entering, ends and leaves no process on leaving, come what may. `folder` must be empty or absent.

    `start_s` is what the last start took: until the API answers, the scheduler beats and the DAGs are there.
    """

    def __init__(
        self, folder: Path | str, *, start_timeout_s: float = 240.0, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Path(folder).resolve()
        self.url = ""
        self.start_s = 0.0
        self._settings = dict(settings or {})
        self._start_timeout_s = start_timeout_s
        self._processes: list[subprocess.Popen[bytes]] = []
        self._token = ""
        # No proxy of the machine may come between this process and its own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        if not (BIN / "airflow").exists():
            raise EngineMissingError(f"no Airflow in {BIN.parent}: run `scripts/setup airflow` first")
        try:
            self._make()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- starting and ending -------------------------------------------------------------------------------------

    def _make(self) -> None:
        dags = self.folder / "dags"
        dags.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(__file__).parent / "dags" / "runlink_dags.py", dags)
        (self.folder / "passwords.json").write_text(json.dumps({USER: PASSWORD, OPERATOR: OPERATOR_PASSWORD}), "utf-8")
        http, worker_log, trigger_log = _free_ports(3)
        self.url = f"http://127.0.0.1:{http}"
        self._environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "NO_PROXY": "*",
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(http),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": "only-for-loopback",
            "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-loopback-0123456789abcdef",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:viewer,{OPERATOR}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_log),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_log),
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
            **self._settings,
        }
        made = self._spawn("db", "migrate")
        if made.wait(self._start_timeout_s):
            raise EngineBrokenError(f"airflow db migrate failed: {self._log('db')}")
        self._processes.clear()

    def start(self) -> None:
        """The three processes of an Airflow; returns when it can run DAGs."""
        began = time.monotonic()
        for name in ("api-server", "scheduler", "dag-processor"):
            self._spawn(name)
        self._await(began + self._start_timeout_s)
        self.start_s = time.monotonic() - began

    def _spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """In a session of its own, so that its children (workers, supervised tasks) can be ended as a group."""
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / "airflow"), *arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _await(self, deadline: float) -> None:
        wanted = {"ok", "fail", "retry", "mapped", "long", "parent"}
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    name = str(process.args[1])  # type: ignore[index]
                    raise EngineBrokenError(f"airflow {name} ended with {process.returncode}: {self._log(name)}")
            with contextlib.suppress(OSError, ValueError, KeyError, EngineBrokenError):
                self._login()
                health = self.call("GET", "monitor/health")
                dags = {row["dag_id"] for row in self.call("GET", "dags?limit=100")["dags"]}
                if health["scheduler"]["status"] == "healthy" and dags >= wanted:
                    return
            time.sleep(0.2)
        raise EngineBrokenError(f"Airflow was not ready within {self._start_timeout_s:.0f} s: {self._log('scheduler')}")

    def _log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-25:]) if path.exists() else "(no log)"

    def stop(self, *, kill: bool = False) -> None:
        """SIGTERM to each group, then SIGKILL (at once with `kill`). Waits for each: no zombies, and no task left."""
        signals = [(signal.SIGKILL, 5.0)] if kill else [(signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)]
        groups = [process.pid for process in self._processes]
        for name, patience_s in signals:
            deadline = time.monotonic() + patience_s
            for process in reversed(self._processes):
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, name)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        for group in groups:  # a child may outlive the leader of its group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for process_id in self.left():  # a task's supervisor makes a group of its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)
        self._processes.clear()

    def left(self) -> list[int]:
        """Process ids of everything that runs with this folder as AIRFLOW_HOME, dead children aside."""
        mark = f"AIRFLOW_HOME={self.folder}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    # --- what one can ask of it ----------------------------------------------------------------------------------

    def _login(self) -> None:
        body = json.dumps({"username": OPERATOR, "password": OPERATOR_PASSWORD}).encode()
        request = urllib.request.Request(
            f"{self.url}/auth/token", data=body, headers={"Content-Type": "application/json"}
        )
        with self._opener.open(request, timeout=20) as answer:
            self._token = json.load(answer)["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of one call below /api/v2; None for an empty answer. A token that has run out is renewed."""
        try:
            return self._call(method, path, body)
        except EngineBrokenError as error:
            if "HTTP 401" not in str(error):
                raise
            self._login()
            return self._call(method, path, body)

    def _call(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise EngineBrokenError(f"{method} {path}: HTTP {error.code} {error.read(400)!r}") from error
        return json.loads(text) if text else None

    def trigger(self, dag_id: str, *, run_id: str, **conf: Any) -> tuple[str, str]:
        """Starts a run with this id, which also stands in its `conf`. Gives (dag_id, dag_run_id)."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": {"run_id": run_id, **conf}}
        return dag_id, self.call("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"]

    def _path(self, run: tuple[str, str]) -> str:
        return f"dags/{run[0]}/dagRuns/{urllib.parse.quote(run[1], safe='')}"

    def run(self, run: tuple[str, str]) -> dict[str, Any]:
        """One DAG run as the API tells it."""
        return dict(self.call("GET", self._path(run)))

    def cancel(self, run: tuple[str, str], note: str | None = None) -> None:
        """Airflow's way to cancel: the run is set to failed by hand."""
        self.call("PATCH", self._path(run), {"state": "failed"} | ({"note": note} if note else {}))

    def clear(self, run: tuple[str, str]) -> None:
        """Runs its tasks again, in the same run."""
        self.call("POST", f"{self._path(run)}/clear", {"dry_run": False, "only_failed": False})

    def clear_task(self, run: tuple[str, str], task_id: str) -> None:
        """Runs one task of a run again, though it may be running."""
        body = {"dry_run": False, "dag_run_id": run[1], "task_ids": [task_id], "only_failed": False}
        self.call("POST", f"dags/{run[0]}/clearTaskInstances", body | {"only_running": False})

    def task_state(self, run: tuple[str, str], task_id: str) -> str | None:
        """The state of one task of a run."""
        return str(self.call("GET", f"{self._path(run)}/taskInstances/{task_id}")["state"])

    def delete(self, run: tuple[str, str]) -> None:
        """Removes a run that is queued or has ended."""
        self.call("DELETE", self._path(run))

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Runs of a paused DAG stay queued."""
        self.call("PATCH", f"dags/{dag_id}?update_mask=is_paused", {"is_paused": paused})

    def wait(self, runs: Iterable[tuple[str, str]], states: tuple[str, ...] = ENDED, timeout_s: float = 120.0) -> None:
        """Returns when all of these are in one of `states`; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        for run in runs:
            while (state := self.run(run)["state"]) not in states:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{run} is {state}, not one of {states} within {timeout_s:.0f} s")
                time.sleep(0.2)

    # --- its own account -----------------------------------------------------------------------------------------

    def accounts(self) -> list[dict[str, Any]]:
        """Every DAG run as the database has it, with the task instances of every try."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'airflow.db'}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            runs = [dict(row) for row in database.execute("select * from dag_run order by id")]
            tasks = [dict(row) for row in database.execute("select * from task_instance")]
            past = [dict(row) for row in database.execute("select * from task_instance_history")]
        for run in runs:
            key = (run["dag_id"], run["run_id"])
            run["tasks"] = [row for row in tasks if (row["dag_id"], row["run_id"]) == key]
            run["past"] = [row for row in past if (row["dag_id"], row["run_id"]) == key]
        return runs


@contextlib.contextmanager
def paused(engine: RealAirflow, dag_id: str) -> Iterator[None]:
    """The DAG is paused inside."""
    engine.pause(dag_id, paused=True)
    try:
        yield
    finally:
        engine.pause(dag_id, paused=False)
