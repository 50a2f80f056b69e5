"""One poll: the cheap probe, the queue where a job is in it, the builds of what moved, and now and then the sweep.

`adapter` comes here. An item that leaves the queue between two of these reads shows as a build in the same poll or in
the next one; what was seen waiting is remembered until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from runlink.spi import Cursors, Observation, Page, Unreadable
from runlink_jenkins import translate
from runlink_jenkins.choosing import choose, first_depth
from runlink_jenkins.cursors import UNSETTLED_POLLS, JobState, Ledger
from runlink_jenkins.listing import Job
from runlink_jenkins.site import Builds, Site
from runlink_jenkins.translate import SENSELESS, BuildId

MOST_CONFIRMED: Final = 20
"""Missing builds confirmed by number, and parents asked for, in one poll, at one request each."""
_MOST_ORPHANS: Final = 5_000


class Poll:
    """One poll of a site. `pages` is called once."""

    def __init__(self, site: Site, cursors: Cursors) -> None:
        self._site = site
        self._ledger = Ledger(cursors)
        self._since_ms = int(site.context.since.timestamp() * 1000)
        self._sweep_builds = int(site.setting("sweep_builds"))
        self._observations: list[Observation] = []
        self._unreadable: list[Unreadable] = []
        self._gone: list[str] = []
        self._missing: list[BuildId] = []
        self._orphans: list[tuple[Observation, str, int, int]] = []
        self._unresolved: tuple[str, int, int] | None = None
        self._window: dict[str, int] = {}
        self._deep: list[Job] = []

    def pages(self) -> Iterator[Page]:
        """Everything new or changed; nothing when there is nothing. Each page carries the cursors that it moved."""
        self._site.client.begin_turn()
        listing = self._site.probe()
        jobs = {job.name: job for job in listing.jobs() if self._site.context.wants(job.name)}
        self._notice_emptiness(jobs)
        queue = self._site.queue() if any(job.in_queue for job in jobs.values()) else []
        waiting = self._take_queue(queue, jobs)
        yield from self._page()

        choice = choose(self._site, self._ledger, jobs)
        self._deep += choice.deep
        for job in choice.emptied:
            self._take(job, [], asked=1)
        yield from self._read(jobs, choice.depths)
        again, self._window = self._window, {}
        yield from self._read(jobs, again)
        for job in self._deep:
            yield from self._read_deep(job)

        self._find_parents()
        self._confirm_missing()
        self._ledger.miss(waiting)
        if choice.swept_at != self._ledger.swept_at and jobs:
            self._ledger.keep_jobs(jobs)
        self._ledger.sweep(choice.swept_at, choice.swept_to)
        yield from self._page()

    def _page(self, *, cursors: bool = True) -> Iterator[Page]:
        changed = self._ledger.take_changed() if cursors else {}
        if self._observations or self._gone or self._unreadable or changed:
            yield Page(
                observations=self._observations,
                cursors=changed,
                gone=tuple(self._gone),
                unreadable=tuple(self._unreadable),
            )
        self._observations, self._gone, self._unreadable = [], [], []

    # --- jobs and the queue -------------------------------------------------------------------------------------
    def _notice_emptiness(self, jobs: Mapping[str, Job]) -> None:
        if jobs or not self._ledger.knows_jobs():
            self._site.unwarn("no jobs")
        else:
            self._site.warn_once(
                "no jobs",
                "no job is visible any more: nothing is taken for deleted; check Item/Read of the user, and include",
            )

    def _take_queue(self, queue: Builds, jobs: Mapping[str, Job]) -> set[int]:
        """The waiting items of wanted jobs; the numbers of all that wait."""
        for item in queue:
            try:
                job = translate.queue_job(item)
                if job not in jobs or job is None:
                    continue
                identity, observation = translate.observe_queue_item(
                    item, job, self._site.base_url, resolve=self._resolve
                )
            except SENSELESS as error:
                self._unreadable.append(Unreadable(raw=dict(item), reason=f"a queue item: {error!r}"))
                continue
            self._ledger.enqueue(identity, job)
            self._keep(observation)
        return {item["id"] for item in queue if isinstance(item.get("id"), int)}

    # --- builds -------------------------------------------------------------------------------------------------
    def _read(self, jobs: Mapping[str, Job], depths: Mapping[str, int]) -> Iterator[Page]:
        for found in self._site.builds(depths):
            for name, builds in found.items():
                self._note(builds, name)
            for name, builds in found.items():
                self._take(jobs[name], builds, asked=depths[name])
            yield from self._page()

    def _note(self, builds: Builds, name: str) -> None:
        """So that a child finds its parent wherever in the answer that stands."""
        for raw in builds:
            number, timestamp = raw.get("number"), raw.get("timestamp")
            if isinstance(number, int) and isinstance(timestamp, int):
                self._site.note(BuildId(name, number, timestamp))

    def _take(self, job: Job, builds: Builds, *, asked: int) -> None:
        """The newest builds of a job: observes them and moves the job's state, or asks for more of them."""
        state = self._ledger.job(job.name)
        complete = len(builds) < asked
        shown = _identities(builds)
        recreated = _is_recreated(job, state, shown)
        if recreated and not complete and asked < first_depth(self._site, job):
            self._window[job.name] = first_depth(self._site, job)
            return
        if state and not recreated and not complete and min(shown, default=0) > state.next:
            self._deep.append(job)
            return
        kept = self._observe(job, builds, state, recreated=recreated)
        self._settle(job, state, shown, kept, complete=complete, recreated=recreated)

    def _read_deep(self, job: Job) -> Iterator[Page]:
        """Page by page down to what is known, or, for a backfill or a recreated job, to the look-back window."""
        state = self._ledger.job(job.name)
        shown: dict[int, int] = {}
        kept: dict[int, int] = {}
        complete, recreated = True, False
        for builds in self._site.all_builds(job.name):
            page = _identities(builds)
            shown |= page
            recreated = recreated or _is_recreated(job, state, page)
            to_the_window = state is None or recreated or self._site.context.backfill
            kept |= self._observe(job, builds, state, recreated=recreated, recent=to_the_window)
            yield from self._page(cursors=False)
            if to_the_window:
                enough = bool(builds) and not any(self._is_recent(raw) for raw in builds)
            else:
                enough = state is not None and min(page, default=0) < state.next
            if enough:
                complete = False
                break
        if shown:
            self._settle(job, state, shown, kept, complete=complete, recreated=recreated)
        yield from self._page()

    def _observe(
        self, job: Job, builds: Builds, state: JobState | None, *, recreated: bool, recent: bool = True
    ) -> dict[int, int]:
        """Observes those builds that count, with `recent` all of the look-back window; number -> timestamp of each."""
        kept: dict[int, int] = {}
        newest = max(state.seen.values(), default=None) if state else None
        for raw in builds:
            number, timestamp = raw.get("number"), raw.get("timestamp")
            known = state is not None and isinstance(number, int) and state.seen.get(number) == timestamp
            new = state is not None and isinstance(number, int) and not recreated and number >= state.next
            if isinstance(timestamp, int):
                new = new or (newest is not None and timestamp > newest)
                if not (known or new or (recent and self._is_recent(raw))):
                    continue
                queued = self._ledger.queued(raw.get("queueId"), job.name, timestamp)
            else:
                queued = None
            found = self._site.observe(raw, job.name, resolve=self._resolve, queued=queued)
            if isinstance(found, Unreadable):
                self._unreadable.append(found)
                continue
            self._keep(found)
            if queued:
                self._ledger.dequeue(queued.number)
            kept[raw["number"]] = raw["timestamp"]
        return kept

    def _is_recent(self, raw: Mapping[str, Any]) -> bool:
        """Whether a build runs or ended within the look-back window. Of the senseless ones: yes."""
        timestamp, duration = raw.get("timestamp"), raw.get("duration") or 0
        if raw.get("building") is not False or not isinstance(timestamp, int) or not isinstance(duration, int):
            return True
        return timestamp <= 0 or timestamp + duration >= self._since_ms

    def _settle(
        self,
        job: Job,
        state: JobState | None,
        shown: Mapping[int, int],
        kept: Mapping[int, int],
        *,
        complete: bool,
        recreated: bool,
    ) -> None:
        """Moves the job's state, and finds out which of the builds seen before are not there any more."""
        known = state.seen if state else {}
        lowest = min(shown, default=0)
        for number, timestamp in known.items():
            if number in shown and shown[number] != timestamp:
                self._gone.append(str(BuildId(job.name, number, timestamp)))
            elif number not in shown and (complete or recreated or number > lowest):
                self._missing.append(BuildId(job.name, number, timestamp))
        newest = max(shown, default=0)
        following = max(job.next, newest + 1)
        unsettled = 0
        if newest + 1 < job.next and job.next > 1:
            unsettled = min(UNSETTLED_POLLS, state.unsettled + 1 if state and state.next == following else 1)
        seen = {**({} if recreated else known), **kept}
        newest_first = sorted(seen, reverse=True)[: self._sweep_builds]
        self._ledger.put_job(
            job.name, JobState(following, job.color, unsettled, {number: seen[number] for number in newest_first})
        )

    # --- parents and missing ones -------------------------------------------------------------------------------
    def _resolve(self, job: str, number: int, child_ms: int) -> str | None:
        if self._site.knows(job, number):
            return self._site.parent(job, number, child_ms, ask=False)
        state = self._ledger.job(job)
        if state and number in state.seen:
            self._site.note(BuildId(job, number, state.seen[number]))
            return self._site.parent(job, number, child_ms, ask=False)
        self._unresolved = (job, number, child_ms)
        return None

    def _keep(self, observation: Observation) -> None:
        self._observations.append(observation)
        if self._unresolved is not None:
            if len(self._orphans) < _MOST_ORPHANS:
                self._orphans.append((observation, *self._unresolved))
            self._unresolved = None

    def _find_parents(self) -> None:
        """Tells again, with its parent, each observation whose parent was read after it or has to be asked for."""
        asked = 0
        for observation, job, number, child_ms in self._orphans:
            ask = asked < MOST_CONFIRMED and not self._site.knows(job, number)
            asked += ask
            if parent := self._site.parent(job, number, child_ms, ask=ask):
                self._observations.append(msgspec.structs.replace(observation, parent=parent))

    def _confirm_missing(self) -> None:
        """A build that left the listing is gone when its own address says so too: running ones were seen to leave
        listings for a while (jenkins#26740). Near a restart nothing is said; the next sweep asks again."""
        for identity in self._missing[:MOST_CONFIRMED]:
            raw = self._site.build(identity.job, identity.number)
            if self._site.client.restarted:
                return
            if raw is None or raw.get("timestamp") != identity.timestamp_ms:
                self._gone.append(str(identity))
                self._forget(identity)
                continue
            found = self._site.observe(raw, identity.job, resolve=self._resolve)
            if isinstance(found, Observation):
                self._keep(found)

    def _forget(self, identity: BuildId) -> None:
        state = self._ledger.job(identity.job)
        if state and state.seen.get(identity.number) == identity.timestamp_ms:
            del state.seen[identity.number]
            self._ledger.put_job(identity.job, state)


def _identities(builds: Builds) -> dict[int, int]:
    """number -> timestamp of the builds that have both."""
    return {
        raw["number"]: raw["timestamp"]
        for raw in builds
        if isinstance(raw.get("number"), int) and isinstance(raw.get("timestamp"), int)
    }


def _is_recreated(job: Job, state: JobState | None, shown: Mapping[int, int]) -> bool:
    """Deleted and created again: the numbers went down, or a number stands for another build."""
    if state is None:
        return False
    return job.next < state.next or any(shown.get(n, timestamp) != timestamp for n, timestamp in state.seen.items())
