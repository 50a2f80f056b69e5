"""(d) Peak memory of a process that backfills 200,000 builds (200 jobs of 1,000): opening, reading, storing, all of it.

The child process is this file; its peak resident memory is the figure. No baseline: the goal is a number. For scale,
the memory of the same process before its first request is printed too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import fake_jenkins
from benchmarks.measure import Figure, peak_mb

JOBS, BUILDS = 200, 1000


def run() -> Iterator[Figure]:
    """One figure."""
    with (
        fake_jenkins.running(JOBS, BUILDS) as (url,),
        tempfile.TemporaryDirectory(prefix="runlink-bench-") as folder,
    ):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.backfill_memory", folder, url]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert told["new"] == JOBS * BUILDS, told
    rate = {"builds_per_cpu_second": JOBS * BUILDS / told["cpu_s"]}
    more = {"before_mb": told["before_mb"], **rate}
    yield Figure("backfill_200000_peak_memory", told["peak_mb"], "MB", goal="under 150 MB", more=more)


def main() -> None:
    """The child."""
    from benchmarks.jenkins_client import client

    folder, url = sys.argv[1:]
    with client(Path(folder), url, backfill=True) as one:
        before, began = peak_mb(), time.process_time()
        new = one.poll().new
        spent = time.process_time() - began
        print(json.dumps({"new": new, "before_mb": before, "peak_mb": peak_mb(), "cpu_s": spent}))


if __name__ == "__main__":
    main()
