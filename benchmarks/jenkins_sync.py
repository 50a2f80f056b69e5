"""(b) The first sync of 20,000 builds (200 jobs of 100) from a Jenkins on loopback, against three other loaders.

Product: a new configuration and store, and one turn of the feed as `runlink sync` makes it. Setting up (migrations, the
adapter's check) is not counted, nor is anybody's import. Baselines: see `baselines/`. The plain script does
a tenth of the work. CPU of this process alone: the Jenkins is another. All write SQLite files with synchronous=FULL,
dlt as it does by itself. Afterwards the results of all builds are compared.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import fake_jenkins
from benchmarks.baselines.bare_loader import bare_loader
from benchmarks.baselines.plain_script import plain_script
from benchmarks.jenkins_client import client
from benchmarks.measure import Figure, compared, cpu, progress

JOBS, BUILDS = 200, 100
ROWS = JOBS * BUILDS
TENTH = 10
ROUNDS = 3

_OURS = "SELECT workflow, json_extract(instance_metadata, '$.number'), native_status FROM orchestration_instances"


def run() -> Iterator[Figure]:
    """Four ratios."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    seconds: dict[str, list[float]] = {}
    requests = 0
    with fake_jenkins.running(JOBS, BUILDS) as (url,):
        _warm_up(url)
        for number in range(ROUNDS):
            folder = Path(tempfile.mkdtemp(prefix="runlink-bench-"))
            try:
                for who, load in _LOADERS.items():
                    spent, rows, requests_made = load(url, folder)
                    seconds.setdefault(who, []).append(spent)
                    requests = requests_made or requests
                    _check(who, rows, JOBS // TENTH if who == "plain script" else JOBS)
                progress(f"jenkins_sync, round {number + 1} of {ROUNDS}")
            finally:
                shutil.rmtree(folder)
    goals = {
        "plain script": "at least 30 times, aim 100",
        "dlt": "at least 5 times, aim 10",
        "bare loader, same rows": "at least 0.4",
        "bare loader, one lean table": None,
    }
    for who, goal in goals.items():
        yield compared(
            f"first_sync_against_{who.replace(',', '').replace(' ', '_')}",
            seconds["runlink"],
            seconds[who],
            rows=ROWS,
            baseline_rows=ROWS // TENTH if who == "plain script" else None,
            unit="builds per CPU-second",
            goal=goal,
            requests=requests,
        )


Loaded = tuple[float, list[tuple[str, int, str]], int]


def _runlink(url: str, folder: Path) -> Loaded:
    place = folder / "runlink"
    place.mkdir()
    with client(place, url) as one:
        before = one.requests()
        with cpu() as spent:
            outcome = one.poll()
        requests = one.requests() - before
    assert outcome.new == ROWS, outcome
    return spent(), _rows(place / "runlink.db", _OURS), requests


def _plain_script(url: str, folder: Path) -> Loaded:
    with cpu() as spent:
        stored = plain_script(url, folder / "plain.db", jobs=JOBS // TENTH)
    assert stored == ROWS // TENTH
    return spent(), _rows(folder / "plain.db", "SELECT job, number, result FROM builds"), 0


def _dlt(url: str, folder: Path) -> Loaded:
    from benchmarks.baselines import dlt_loader  # its import takes seconds, and reads the environment

    with cpu() as spent:
        dlt_loader.dlt_pipeline(url, folder / "dlt.db", folder / "dlt")
    found = [path for path in folder.glob("dlt*.db") if _has_builds(path)]
    return spent(), _rows(found[0], "SELECT _jobs_name, number, result FROM builds"), 0


def _bare_same(url: str, folder: Path) -> Loaded:
    place = folder / "bare"
    place.mkdir()
    with client(place, url) as one:
        engine_id = one.feed.engine.id.hex
    with cpu() as spent:
        bare_loader(url, place / "runlink.db", rows="same", engine_id=engine_id)
    return spent(), _rows(place / "runlink.db", _OURS), 0


def _bare_lean(url: str, folder: Path) -> Loaded:
    with cpu() as spent:
        bare_loader(url, folder / "lean.db", rows="lean")
    return spent(), _rows(folder / "lean.db", "SELECT job, number, result FROM builds"), 0


_LOADERS: dict[str, Callable[[str, Path], Loaded]] = {
    "runlink": _runlink,
    "bare loader, same rows": _bare_same,
    "dlt": _dlt,
    "bare loader, one lean table": _bare_lean,
    "plain script": _plain_script,
}


def _warm_up(url: str) -> None:
    """Imports, and the server's answers."""
    folder = Path(tempfile.mkdtemp(prefix="runlink-bench-"))
    try:
        for who in ("runlink", "dlt", "bare loader, one lean table"):
            _LOADERS[who](url, folder)
        plain_script(url, folder / "plain.db", jobs=1)
    finally:
        shutil.rmtree(folder)


def _has_builds(path: Path) -> bool:
    return bool(_rows(path, "SELECT 1, 1, 1 FROM sqlite_master WHERE name = 'builds'"))


def _rows(path: Path, query: str) -> list[tuple[str, int, str]]:
    connection = sqlite3.connect(path)
    found = connection.execute(query).fetchall()
    connection.close()
    return sorted(found)


def _check(who: str, rows: list[tuple[str, int, str]], jobs: int) -> None:
    expected = [
        (fake_jenkins.job_name(job), number, "FAILURE" if number % 10 == 1 else "SUCCESS")
        for job in range(jobs)
        for number in range(1, BUILDS + 1)
    ]
    assert rows == expected, f"{who}: {len(rows)} rows; {[r for r in rows if r not in set(expected)][:3]}"
