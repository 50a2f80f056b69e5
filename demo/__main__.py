"""The main job on a real engine: `make demo`.

Starts a real Buildbot, starts `runlink serve` beside it, forces builds that succeed, fail, retry, fan out, run long and
are cancelled, shows how their instances appear, move and are linked to Runs, and ends with one Run explained. Exit code
0 only if what Buildbot says and what runlink stored agree, run by run, try by try.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from demo.agreement import differences
from demo.buildbot_engine import RealBuildbot
from demo.scene import Scene
from runlink.bootstrap import Runlink

CONFIG = """\
[store]
url = "sqlite:///runlink.db"

[server]
listen = "127.0.0.1:0"

[engines.ci]
type = "buildbot"
url = "{url}"
poll_interval_s = 1

[[links]]                            # a build that carries a run id belongs to the Run with that id
engine = "ci"
automation = "nightly"
run_key = "parameters.run_id"
create_run = true

[[links]]                            # what a linked build triggers belongs to the same Run
engine = "ci"
inherit = "parent"

[automations.nightly]
quiet_s = 3                          # how long a Run waits for more after its last build ended
"""
STORY = ("ok", "fail", "retry", "parent", "long")


def main() -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="then keep serving the dashboard until Ctrl-C")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configuration and database")
    parser.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    folder = Path(tempfile.mkdtemp(prefix="runlink-demo-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(console, folder, arguments.began, stay=arguments.stay)
    except KeyboardInterrupt:
        console.print("interrupted; cleaning up")
        return 130
    finally:
        if arguments.keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run(console: Console, folder: Path, began: float, *, stay: bool) -> int:
    """The story, in a folder of its own."""
    console.print("[bold]1.[/] starting a real Buildbot (a master and a worker) on loopback …")
    with RealBuildbot(folder / "buildbot") as engine:
        console.print(f"   Buildbot answers at {engine.url}")
        config = folder / "runlink.toml"
        config.write_text(CONFIG.format(url=engine.url), "utf-8")
        console.print("[bold]2.[/] starting [bold]runlink serve[/] with this configuration:\n")
        console.print(CONFIG.format(url=engine.url), style="cyan", markup=False)
        with serving(config, folder / "serve.log"):
            runlink = open_when_synced(config)
            address = address_in(folder / "serve.log")
            console.print(f"   the dashboard, live: [bold]{address}[/]\n")
            try:
                code = story(console, engine, runlink, config, began)
            finally:
                runlink.close()
            if stay:
                keep_serving(console, config, address)
            else:
                console.print("\n   to look at all this in the dashboard: [bold]make demo ARGS=--stay[/]")
            return code


def story(console: Console, engine: RealBuildbot, runlink: Runlink, config: Path, began: float) -> int:
    """Forces builds and watches them until all is settled; then compares and explains."""
    console.print(f"[bold]3.[/] forcing builds with a run id each: {', '.join(f'order-{name}' for name in STORY)}\n")
    requests = {name: engine.force(f"force-{name}", run_id=f"order-{name}", owner="demo")[1][0] for name in STORY}
    scene = Scene(console, runlink, began)
    stopped = False
    with scene:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            settled = scene.refresh(expected_runs=len(STORY))
            if not stopped:
                stopped = stop_when_running(engine, requests["long"])
            if settled and all(row.complete for row in engine.results()):
                break
            time.sleep(0.4)
        else:
            console.print("[red]the runs did not settle within 120 s[/]")
            return 1
    console.print("\n[bold]4.[/] comparing with Buildbot's own account, run by run, try by try …")
    wrong = differences(engine.results(), runlink)
    for line in wrong:
        console.print(f"   [red]differs[/] {line}", markup=True)
    if not wrong:
        count = len(engine.results())
        console.print(f"   [green]agreed[/]: {count} build requests, their tries, steps, parents and Runs")
    console.print("\n[bold]5.[/] why did order-parent fail?  [bold]runlink explain order-parent[/]\n")
    explained = subprocess.run(command(config, "explain", "order-parent"), check=False)
    return 1 if wrong or explained.returncode else 0


def keep_serving(console: Console, config: Path, address: str) -> None:
    """Leaves the dashboard open until Ctrl-C; with a token, for whoever wants to change something."""
    made = subprocess.run(
        command(config, "tokens", "create", "demo", "--role", "operator"), stdout=subprocess.PIPE, text=True, check=True
    )
    console.print(f"\n[bold]6.[/] the dashboard stays open at [bold]{address}[/] until Ctrl-C")
    console.print(f"   to link or move something there, log in with this token: {made.stdout.strip()}")
    with suppress(KeyboardInterrupt):
        signal.pause()


def address_in(log: Path, timeout_s: float = 30.0) -> str:
    """Where `runlink serve` answers, as it has said."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := re.search(r"answering at (\S+)", log.read_text("utf-8")):
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(f"runlink serve did not say where it answers; see {log}")


def stop_when_running(engine: RealBuildbot, request: int, after_s: float = 2.0) -> bool:
    """Stops the build of a request once it has run for a while; whether it did."""
    builds = engine.builds(request)
    if not builds or not builds[0]["started_at"] or time.time() - builds[0]["started_at"] < after_s:
        return False
    engine.stop(builds[0]["buildid"], reason="stopped by the demo")
    return True


def command(config: Path, *arguments: str) -> list[str]:
    """The `runlink` command of this environment."""
    return [str(Path(sys.executable).with_name("runlink")), "--config", str(config), *arguments]


@contextmanager
def serving(config: Path, log: Path) -> Iterator[None]:
    """`runlink serve` in a process of its own, stopped by SIGTERM at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(config, "serve"), stdout=output, stderr=output, env={**os.environ, "NO_COLOR": "1"}
        )
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"runlink serve ended by itself with {process.returncode}:\n{log.read_text()}")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def open_when_synced(config: Path, timeout_s: float = 30.0) -> Runlink:
    """The system, once its first sync (the baseline) is done."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        runlink = Runlink.open(config)
        with runlink.store.reading() as uow:
            synced = [row for row in uow.feed_health.list() if row["baseline_at"] is not None]
        if synced:
            return runlink
        runlink.close()
        time.sleep(0.3)
    raise TimeoutError(f"runlink serve did not finish its first sync; see {config.with_name('serve.log')}")


if __name__ == "__main__":
    sys.exit(main())
