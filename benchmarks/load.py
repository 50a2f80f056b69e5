"""(e) What one daemon carries: 1,000 idle engines polled every 10 s, and then 20 Jenkins of 500 jobs each.

The daemon is a process of its own (this file), the engines are others. Its CPU and memory are its own account; when a
poll was late is measured where it arrives: an engine's polls should be 10 s and one turn apart. The first 20 s, in
which every engine is met for the first time, are told apart.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import fake_engines, fake_jenkins
from benchmarks.measure import Figure, peak_mb, progress

ENGINES, JENKINS, JOBS, BUILDS = 1000, 20, 500, 5
INTERVAL_S = 10.0
WARM_UP_S, MEASURED_S = (float(word) for word in os.environ.get("RUNLINK_BENCH_LOAD_S", "20,50").split(","))


def run() -> Iterator[Figure]:
    """Both loads."""
    with fake_engines.running() as url:
        engines = {f"engine-{n:04}": ("tiny", f"{url}/e/{n}") for n in range(ENGINES)}
        told = _daemon(engines)
        polled: dict[str, list[float]] = _get(url + fake_engines.POLLED)
        yield from _figures("1000_idle_engines", told, list(polled.values()))
    with fake_jenkins.running(JOBS, BUILDS, count=JENKINS) as urls:
        told = _daemon({f"jenkins-{n}": ("jenkins", url) for n, url in enumerate(urls)})
        assert told["instances"] == JENKINS * JOBS * BUILDS, told
        yield from _figures("20_jenkins_of_500_jobs", told, [_get(url + fake_jenkins.PROBES) for url in urls])


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def _figures(name: str, told: dict[str, Any], polled: list[list[float]]) -> Iterator[Figure]:
    """CPU share in the measured time, memory at the end, and the worst lag."""
    since, until = told["since"], told["until"]
    gaps = [b - a for times in polled for a, b in itertools.pairwise(times) if since <= a and b <= until]
    silent = [until - times[-1] for times in polled]
    assert gaps, "nothing was polled twice"
    lag = max(0.0, max(gaps) - INTERVAL_S, max(silent) - INTERVAL_S)
    more = {"polls": len(gaps), "engines": len(polled), "lost_engines": told["lost"]}
    first = max(times[0] for times in polled) - told["began"]
    yield Figure(f"load_{name}_cpu", told["cpu_s"] / (until - since), "of one core", more=more)
    yield Figure(f"load_{name}_memory", told["rss_mb"], "MB, peak")
    yield Figure(f"load_{name}_worst_lag", lag, "s", more={"all_met_after_s": first})


def _daemon(engines: dict[str, tuple[str, str]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="runlink-bench-") as folder:
        lines = [f'[store]\nurl = "sqlite:///{folder}/runlink.db"\n']
        for name, (kind, url) in engines.items():
            lines.append(f'[engines.{name}]\ntype = "{kind}"\nurl = "{url}"\npoll_interval_s = {INTERVAL_S}\n')
        path = Path(folder) / "runlink.toml"
        path.write_text("".join(lines))
        progress(f"a daemon with {len(engines)} engines for {WARM_UP_S + MEASURED_S:.0f} s")
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.load", str(path)]
        told: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return told


def main() -> None:
    """The daemon's process: as `runlink serve`, with one plugin more, for a set time."""
    from runlink.bootstrap import Runlink, collect_less_often, load_settings, open_settings_store
    from runlink.hosting import PluginHost

    collect_less_often()
    settings = load_settings(Path(sys.argv[1]))
    tiny = type(sys)("tiny_plugin")
    from runlink.spi import hookimpl

    tiny.runlink_adapters = hookimpl(lambda: [fake_engines.TinyAdapter])  # type: ignore[attr-defined]
    now = (lambda: fake_jenkins.NOW) if "jenkins-0" in settings.engines else None
    runlink = Runlink(settings, PluginHost.load(extra=[("tiny", tiny)]), open_settings_store(settings))
    if now is not None:
        runlink.now = now
    told: dict[str, Any] = {}
    with runlink.lease() as fence:
        registered = runlink.register()
        daemon = runlink.daemon(registered, fence)
        told["began"] = time.monotonic()

        def measure() -> None:
            time.sleep(WARM_UP_S)
            told["since"], before = time.monotonic(), time.process_time()
            time.sleep(MEASURED_S)
            told["until"], told["cpu_s"] = time.monotonic(), time.process_time() - before
            daemon.stop()

        threading.Thread(target=measure, daemon=True).start()
        daemon.run()
    told["rss_mb"] = peak_mb()
    told["lost"] = sum(feed.health.state != "ok" for feed in daemon.feeds.values())
    with runlink.store.reading() as uow:
        query = "SELECT count(*) FROM orchestration_instances"
        told["instances"] = uow.connection.exec_driver_sql(query).scalar()
    runlink.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
