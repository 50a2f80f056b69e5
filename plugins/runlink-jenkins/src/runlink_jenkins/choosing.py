"""Which jobs a poll has to read, and how many of their builds: those that moved, and those due to be swept.

`polling` comes here with what the probe showed and what is remembered. Nothing here asks the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runlink_jenkins.cursors import JobState, Ledger
from runlink_jenkins.listing import MOST_BUILDS, Job
from runlink_jenkins.site import Site

MARGIN: Final = 3
"""Builds read beyond the new ones: for those that start meanwhile, and to recognise a recreated job."""
SWEEP_BUILDS_PER_POLL: Final = 20_000


@dataclass(slots=True)
class Choice:
    """What to read.

    depths     fullName -> how many of the newest builds, at most 100
    deep       jobs of which more are wanted: only `allBuilds` has them
    emptied    jobs without builds that had some
    swept_at, swept_to   where the sweep will be then, as `Ledger` keeps it
    """

    depths: dict[str, int] = field(default_factory=dict)
    deep: list[Job] = field(default_factory=list)
    emptied: list[Job] = field(default_factory=list)
    swept_at: float | None = None
    swept_to: str = ""


def choose(site: Site, ledger: Ledger, jobs: Mapping[str, Job]) -> Choice:
    """Those that moved; for a backfill all; and the next part of a sweep that is due."""
    choice = Choice()
    backfill = site.context.backfill
    for job in jobs.values():
        if not backfill and ledger.unmoved(job.name, job.next, job.color):
            continue
        if job.next <= 1:
            choice.emptied.append(job)
        elif (depth := _depth(site, job, ledger.job(job.name))) > MOST_BUILDS:
            choice.deep.append(job)
        else:
            choice.depths[job.name] = depth
    _choose_sweep(site, ledger, jobs, choice)
    return choice


def first_depth(site: Site, job: Job) -> int:
    """How many builds of a job that is met for the first time, or was made anew."""
    return min(int(site.setting("builds_per_job")), job.next - 1 + MARGIN)


def _depth(site: Site, job: Job, state: JobState | None) -> int:
    if site.context.backfill:
        return max(job.next, MOST_BUILDS)
    if state is None or job.next < state.next:
        return first_depth(site, job)
    return job.next - state.next + MARGIN


def _choose_sweep(site: Site, ledger: Ledger, jobs: Mapping[str, Job], choice: Choice) -> None:
    """The first sync counts as a sweep; a long one goes on where the poll before left off."""
    now = site.context.now().timestamp()
    choice.swept_at = now
    if ledger.swept_at is None and not ledger.swept_to:
        return
    if not ledger.swept_to and now - (ledger.swept_at or 0.0) < int(site.setting("sweep_interval_s")):
        choice.swept_at = ledger.swept_at
        return
    names = list(jobs)
    start = names.index(ledger.swept_to) + 1 if ledger.swept_to in jobs else 0
    deep = {job.name for job in choice.deep}
    builds = 0
    for position in range(start, len(names)):
        if builds > SWEEP_BUILDS_PER_POLL:
            choice.swept_at, choice.swept_to = ledger.swept_at, names[position - 1]
            return
        job = jobs[names[position]]
        if job.next > 1 and job.name not in deep:
            depth = min(int(site.setting("sweep_builds")), job.next - 1 + MARGIN)
            choice.depths[job.name] = max(depth, choice.depths.get(job.name, 0))
            builds += depth
