"""`python -m benchmarks [names]`: one JSON object per line on stdout, progress on stderr.

Each benchmark is a module with `run() -> Iterator[Figure]`. Figures are ratios, mostly of CPU seconds, product and
baseline taking turns on the same data in one run, so that a busy machine touches both alike.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from benchmarks.measure import emit, progress

NAMES = (
    "ingest", "items", "jenkins_sync", "idle", "backfill_memory", "load", "kubernetes_watch", "stream", "listings",
    "dashboard", "webhooks", "isolation",
)  # fmt: skip


def main() -> int:
    """Runs the named benchmarks, all when none is named; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; default: all")
    chosen = parser.parse_args().names or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = False
    for name in chosen:
        started = time.monotonic()
        progress(f"{name} …")
        try:
            for figure in importlib.import_module(f"benchmarks.{name}").run():
                emit(figure)
        except Exception as error:  # noqa: BLE001 - the others still have something to say
            failed = True
            sys.excepthook(type(error), error, error.__traceback__)
        progress(f"{name} took {time.monotonic() - started:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
