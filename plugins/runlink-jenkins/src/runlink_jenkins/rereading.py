"""Given instances read again: those still open, each turn, and ended ones once for their stages.

`adapter` comes here. The hard part is the verdict on what is not there: gone, lost permission, or a server that has
just started and is no witness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runlink.spi import AdapterError, CredentialsRejected, NotFound, Observation, Page, TransientError, Unreadable
from runlink_jenkins import translate
from runlink_jenkins.client import AnswerError, path_of
from runlink_jenkins.listing import Job
from runlink_jenkins.site import Builds, Site
from runlink_jenkins.translate import SENSELESS, BuildId, QueueId

FEW: Final = 4
"""Up to so many builds are each read by number, which makes the server load one record; more in tree queries."""
NEAR: Final = 30
"""How far below nextBuildNumber a build may be to be looked for in a listing of the newest builds."""
MOST_PARENTS: Final = 20
_MOST_IN_A_PAGE: Final = 200


class Reread:
    """One refetch. `pages` is called once."""

    def __init__(self, site: Site, external_ids: Sequence[str]) -> None:
        self._site = site
        self._queue: list[QueueId] = []
        self._builds: dict[tuple[str, int], BuildId] = {}
        self._doubles: list[BuildId] = []
        self._observations: list[Observation] = []
        self._unreadable: list[Unreadable] = []
        self._gone: list[str] = []
        self._missing: list[tuple[str, str]] = []
        self._withheld = 0
        self._read = 0
        self._unread: AdapterError | None = None
        self._parents_asked = 0
        self._open_steps = int(site.setting("open_step_reads"))
        for external_id in dict.fromkeys(external_ids):
            self._sort_in(external_id)

    def _sort_in(self, external_id: str) -> None:
        identity = translate.parse_id(external_id)
        if isinstance(identity, QueueId):
            self._queue.append(identity)
        elif identity is None:
            self._gone.append(external_id)
        elif (identity.job, identity.number) in self._builds:
            self._doubles.append(identity)
        else:
            self._builds[identity.job, identity.number] = identity

    def pages(self) -> Iterator[Page]:
        """Each instance as it is now, or gone.

        Raises TransientError at the end when some are missing from a server that has just restarted: they are asked
        for again before that counts. A build that cannot be read is passed over, unless none can be.
        """
        self._read_queue()
        yield from self._page()
        yield from self._read_listed()
        for identity in list(self._builds.values()):
            self._read_one(identity)
            yield from self._page(least=_MOST_IN_A_PAGE)
        for identity in self._doubles:
            self._read_one(identity)
        self._judge_missing()
        yield from self._page()
        if self._unread and not self._read:
            raise self._unread
        if self._withheld:
            self._site.client.begin_turn()
            raise TransientError(
                f"Jenkins was restarted, and {self._withheld} builds or queue items are missing since: they are asked "
                "for again before they count as gone"
            )

    def _page(self, least: int = 1) -> Iterator[Page]:
        if len(self._observations) + len(self._gone) + len(self._unreadable) >= least:
            yield Page(observations=self._observations, gone=tuple(self._gone), unreadable=tuple(self._unreadable))
            self._observations, self._gone, self._unreadable = [], [], []

    # --- queue items --------------------------------------------------------------------------------------------
    def _read_queue(self) -> None:
        if not self._queue:
            return
        waiting = {(item.get("id"), item.get("inQueueSince")): item for item in self._site.queue()}
        for identity in self._queue:
            item = waiting.get(identity) or self._site.queue_item(identity.number)
            if item is None or item.get("inQueueSince") != identity.since_ms:
                self._is_gone(str(identity))
            else:
                self._take_item(identity, item)

    def _take_item(self, identity: QueueId, item: Mapping[str, Any]) -> None:
        """A waiting or cancelled item as it is; one that has left the queue as the build it became."""
        job = translate.queue_job(item)
        number = (item.get("executable") or {}).get("number")
        if job is not None and isinstance(number, int):
            raw = self._site.build(job, number)
            if raw is not None and raw.get("queueId") == identity.number:
                self._take(raw, job, queued=identity)
            else:
                self._missing.append((str(identity), job))
            return
        try:
            if job is None:
                raise ValueError("it is for no job")
            _, observation = translate.observe_queue_item(item, job, self._site.base_url, resolve=self._resolve)
            self._observations.append(observation)
        except SENSELESS as error:
            reason = f"queue item {identity.number}: {error!r}"
            self._unreadable.append(Unreadable(raw=dict(item), reason=reason, external_id=str(identity)))

    # --- builds -------------------------------------------------------------------------------------------------
    def _read_listed(self) -> Iterator[Page]:
        """Many builds: those among the newest of their jobs, in a few tree queries. What is found is done with."""
        if len(self._builds) <= FEW:
            return
        listing = self._site.listing or self._site.probe()
        jobs: dict[str, Job] = {job.name: job for job in listing.jobs()}
        wanted: dict[str, int] = {}
        for job, number in self._builds:
            below = jobs[job].next - number if job in jobs else NEAR
            if 0 < below < NEAR:
                wanted[job] = max(wanted.get(job, 0), below + 2)
        for found in self._site.builds(wanted):
            for job, builds in found.items():
                self._take_listed(job, builds)
            yield from self._page()

    def _take_listed(self, job: str, builds: Builds) -> None:
        for raw in builds:
            identity = self._builds.get((job, raw.get("number") or 0))
            if identity and raw.get("timestamp") == identity.timestamp_ms:
                del self._builds[job, identity.number]
                self._read += 1
                self._take(raw, job)

    def _read_one(self, identity: BuildId) -> None:
        try:
            raw = self._site.build(identity.job, identity.number)
        except (AnswerError, CredentialsRejected) as error:
            # 500 for a record that the server cannot load; 403 for a job that may be known of and not read.
            self._unread = error
            self._site.warn_once(
                f"build {identity}", "build %s cannot be read and is kept as it was: %s", identity, error
            )
            return
        self._read += 1
        if raw is None:
            self._missing.append((str(identity), identity.job))
        elif raw.get("timestamp") == identity.timestamp_ms or not raw.get("timestamp"):
            self._take(raw, identity.job)
        else:
            self._is_gone(str(identity))

    def _take(self, raw: Mapping[str, Any], job: str, *, queued: QueueId | None = None) -> None:
        steps: Any = ()
        if translate.is_pipeline(raw):
            steps = self._steps(raw, job)
        found = self._site.observe(raw, job, resolve=self._resolve, queued=queued, steps=steps)
        if isinstance(found, Unreadable):
            self._unreadable.append(found)
        else:
            self._observations.append(found)

    def _steps(self, raw: Mapping[str, Any], job: str) -> Any:
        if raw.get("building"):
            if not self._open_steps:
                return None
            self._open_steps -= 1
        return self._site.steps(job, int(raw.get("number") or 0))

    def _resolve(self, job: str, number: int, child_ms: int) -> str | None:
        ask = self._parents_asked < MOST_PARENTS and not self._site.knows(job, number)
        self._parents_asked += ask
        return self._site.parent(job, number, child_ms, ask=ask)

    # --- verdicts -----------------------------------------------------------------------------------------------
    def _judge_missing(self) -> None:
        """404 on a build is its deletion only if its job, or others in the job's folder, can still be seen."""
        answers: dict[str, bool] = {}
        for external_id, job in self._missing:
            if job not in answers:
                answers[job] = self._is_in_sight(job)
            if answers[job]:
                self._is_gone(external_id)

    def _is_in_sight(self, job: str) -> bool:
        try:
            self._site.client.read(path_of(job), "fullName")
        except NotFound:
            return self._has_others(job.rpartition("/")[0])
        return True

    def _has_others(self, folder: str) -> bool:
        """Whether a folder still shows jobs. One that does not is, to all appearance, no longer permitted."""
        try:
            others = self._site.client.read(path_of(folder), "jobs[fullName]{0,1}").get("jobs")
        except NotFound:
            others = None
        if others:
            self._site.unwarn(f"folder {folder}")
            return True
        self._site.warn_once(
            f"folder {folder}",
            "%s shows no jobs any more: its builds are kept as they were; check Item/Read of the user",
            f"folder {folder}" if folder else "Jenkins",
        )
        return False

    def _is_gone(self, external_id: str) -> None:
        if self._site.client.restarted:
            self._withheld += 1
        else:
            self._gone.append(external_id)
