"""A real Buildbot on loopback: one master and one worker, made from nothing in a folder and gone afterwards.

The demo runs runlink against it, and the Buildbot plugin's live tests import it by path. It speaks to Buildbot with the
standard library alone, so that its account of what ran (`results`) owes nothing to the plugin that is being judged.

    with RealBuildbot(folder) as engine:
        _, (request,) = engine.force("force-ok", run_id="42")
        engine.wait([request])
        print(engine.results())
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

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".envs" / "buildbot" / "bin"
LOGIN = ("worker1", "demo")

LEAVE_WITH_PARENT = """
# A demo that is killed with -9 cleans up nothing: this process notices that its parent is another, and ends.
import os
from twisted.internet import reactor, task
task.LoopingCall(lambda: os.getppid() == {parent} or reactor.stop()).start(2, now=False)
"""


class EngineMissingError(RuntimeError):
    """There is no environment with Buildbot in it."""


class EngineBrokenError(RuntimeError):
    """Buildbot did not start, or ended by itself. The message carries the end of its log."""


@dataclasses.dataclass(frozen=True)
class Try:
    """One build of a request. `results` as Buildbot writes it (0 SUCCESS … 6 CANCELLED), None while it runs."""

    build: int
    number: int
    results: int | None
    state: str
    steps: tuple[tuple[str, int | None], ...]


@dataclasses.dataclass(frozen=True)
class Account:
    """What Buildbot itself says of one build request. `parent` is the request whose build triggered it."""

    id: int
    builder: str
    submitted_at: int
    complete: bool
    results: int
    tries: tuple[Try, ...]
    properties: Mapping[str, Any]
    parent: int | None


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at this moment, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class RealBuildbot:
    """Starts on entering, ends and leaves no process on leaving, come what may. `folder` must be empty or absent.

    `push_url` is where the master is to push builds (HttpStatusPush); by default nowhere. `more` is what the end of
    its master.cfg is to say besides.
    """

    def __init__(
        self, folder: Path | str, *, start_timeout_s: float = 90.0, push_url: str | None = None, more: str = ""
    ) -> None:
        self.folder = Path(folder).resolve()
        self.url = ""
        self._start_timeout_s = start_timeout_s
        self._push_url = push_url
        self._more = more
        self._environment: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        # No proxy of the machine may come between this process and its own loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        if not (BIN / "buildbot").exists():
            raise EngineMissingError(f"no Buildbot in {BIN.parent}: run `scripts/setup buildbot` first")
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    # --- starting and ending -------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        http, pb = _free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        environment = self._environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "RUNLINK_DEMO_HTTP_PORT": str(http),
            "RUNLINK_DEMO_WORKER_PORT": str(pb),
        }
        if self._push_url is not None:
            environment["RUNLINK_DEMO_PUSH_URL"] = self._push_url
        master, worker = self.folder / "master", self.folder / "worker"
        quiet = ("--quiet", "--relocatable")
        made = [
            self._spawn(environment, "buildbot", "create-master", *quiet, "master"),
            self._spawn(environment, "buildbot-worker", "create-worker", *quiet, "worker", f"127.0.0.1:{pb}", *LOGIN),
        ]
        deadline = time.monotonic() + self._start_timeout_s
        for process in made:
            if process.wait(max(1.0, deadline - time.monotonic())):
                raise EngineBrokenError(f"{process.args!r} failed: {self._log('spawn.log')}")
        self._processes.clear()
        configuration = Path(__file__).with_name("master.cfg").read_text("utf-8") + self._more
        (master / "master.cfg").write_text(configuration, "utf-8")
        for folder in (master, worker):
            with (folder / "buildbot.tac").open("a", encoding="utf-8") as tac:
                tac.write(LEAVE_WITH_PARENT.format(parent=os.getpid()))
        self._spawn(environment, "buildbot", "start", "--nodaemon", str(master))
        self._spawn(environment, "buildbot-worker", "start", "--nodaemon", str(worker))
        self._await_api(deadline)

    def restart(self) -> None:
        """Kills the master as a crash would, and starts it again; the worker stays and comes back by itself."""
        master = self._processes.pop(0)
        os.killpg(master.pid, signal.SIGKILL)
        master.wait(10)
        (self.folder / "master" / "twistd.pid").unlink(missing_ok=True)
        self._spawn(self._environment, "buildbot", "start", "--nodaemon", str(self.folder / "master"))
        self._processes.insert(0, self._processes.pop())
        self._await_api(time.monotonic() + self._start_timeout_s)

    def _spawn(self, environment: Mapping[str, str], program: str, *arguments: str) -> subprocess.Popen[str]:
        """In a session of its own, so that Ctrl-C reaches the demo alone and its children can be ended as a group."""
        with (self.folder / "spawn.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / program), *arguments],
                cwd=self.folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                text=True,
            )
        self._processes.append(process)
        return process

    def _await_api(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    raise EngineBrokenError(f"{process.args!r} ended with {process.returncode}: {self._log()}")
            with contextlib.suppress(OSError, ValueError):
                # REST answers a moment before the master calls itself active and its schedulers are there.
                if self.get("forceschedulers") and any(master["active"] for master in self.get("masters")):
                    return
            time.sleep(0.1)
        raise EngineBrokenError(f"Buildbot did not answer within {self._start_timeout_s:.0f} s: {self._log()}")

    def _log(self, name: str = "master/twistd.log") -> str:
        for path in (self.folder / name, self.folder / "spawn.log"):
            if path.exists() and path.stat().st_size:
                return "\n".join(path.read_text("utf-8", "replace").splitlines()[-25:])
        return "(no log)"

    def _end(self) -> None:
        """SIGTERM to each group, five seconds for all of them, then SIGKILL. Waits for each: no zombies."""
        for name, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + patience_s
            for process in reversed(self._processes):
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, name)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        self._processes.clear()

    # --- what one can ask of it ----------------------------------------------------------------------------------

    def get(self, path: str) -> list[dict[str, Any]]:
        """The rows of one REST collection or item, e.g. `buildrequests/3/builds`."""
        return self._rows(urllib.request.Request(f"{self.url}/api/v2/{path}"), path)

    def _rows(self, request: urllib.request.Request, path: str) -> list[dict[str, Any]]:
        request.add_header("Accept", "application/json")
        with self._opener.open(request, timeout=20) as answer:
            body = json.load(answer)
        body.pop("meta", None)
        if len(body) != 1:
            raise EngineBrokenError(f"{path} answered {sorted(body)}")
        return list(next(iter(body.values())))

    def _call(self, path: str, method: str, params: Mapping[str, Any]) -> Any:
        """JSON-RPC over POST. Buildbot answers 200 with an empty result to much that it does not know."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=20) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise EngineBrokenError(f"{method} on {path}: HTTP {error.code} {error.read(400)!r}") from error

    def force(self, scheduler: str, **properties: str) -> tuple[int, tuple[int, ...]]:
        """Starts a build. Gives the buildset's id and the ids of its build requests."""
        buildset, requests = self._call(f"forceschedulers/{scheduler}", "force", {"reason": "runlink", **properties})
        return buildset, tuple(requests.values())

    def stop(self, build: int, reason: str = "stopped by the demo") -> None:
        """Cancels a running build; it ends a moment later with results 6."""
        self._call(f"builds/{build}", "stop", {"reason": reason})

    def cancel(self, request: int, reason: str = "cancelled by the demo") -> None:
        """Cancels a build request that may have no build yet."""
        self._call(f"buildrequests/{request}", "cancel", {"reason": reason})

    def builds(self, request: int) -> list[dict[str, Any]]:
        """The builds of one request as Buildbot tells them, oldest first."""
        return sorted(self.get(f"buildrequests/{request}/builds"), key=lambda build: build["buildid"])

    def wait(self, requests: Iterable[int], timeout_s: float = 60.0) -> None:
        """Returns when all of these have ended; raises TimeoutError."""
        left = set(requests)
        deadline = time.monotonic() + timeout_s
        while left:
            left -= {request for request in left if self.get(f"buildrequests/{request}")[0]["complete"]}
            if left and time.monotonic() > deadline:
                raise TimeoutError(f"build requests {sorted(left)} did not end within {timeout_s:.0f} s")
            if left:
                time.sleep(0.2)

    def results(self) -> list[Account]:
        """Buildbot's own account of every build request, by id, read one by one."""
        builders = {row["builderid"]: row["name"] for row in self.get("builders")}
        rows = sorted(self.get("buildrequests?property=*"), key=lambda row: row["buildrequestid"])
        return [self._account(row, builders) for row in rows]

    def _account(self, row: Mapping[str, Any], builders: Mapping[int, str]) -> Account:
        buildset = self.get(f"buildsets/{row['buildsetid']}")[0]
        parent = buildset["parent_buildid"]
        return Account(
            id=row["buildrequestid"],
            builder=builders[row["builderid"]],
            submitted_at=row["submitted_at"],
            complete=row["complete"],
            results=row["results"],
            tries=tuple(self._try(build) for build in self.builds(row["buildrequestid"])),
            properties={name: value for name, (value, _source) in (row["properties"] or {}).items()},
            parent=None if parent is None else self.get(f"builds/{parent}")[0]["buildrequestid"],
        )

    def _try(self, build: Mapping[str, Any]) -> Try:
        steps = sorted(self.get(f"builds/{build['buildid']}/steps"), key=lambda step: step["number"])
        return Try(
            build=build["buildid"],
            number=build["number"],
            results=build["results"],
            state=build["state_string"],
            steps=tuple((step["name"], step["results"]) for step in steps),
        )
