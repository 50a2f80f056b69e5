"""One Jenkins as a place to read from: its jobs, their builds, its queue; and what is remembered between two reads.

`polling`, `rereading` and `adapter` come here. What is kept is only to save requests: all of it can be rebuilt.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runlink.spi import UNKNOWN, Context, ExecutionStatus, NotFound, Observation, Step, TransientError, Unreadable
from runlink_jenkins import translate
from runlink_jenkins.client import AnswerError, Client, path_of
from runlink_jenkins.listing import FIRST_LEVELS, Batch, Folder, builds_in, plan, read_listing
from runlink_jenkins.translate import BUILD, SENSELESS, BuildId, QueueId, Resolve

MOST_BUILDS_PER_REQUEST: Final = 2500
"""About 2 MB of JSON (100 KB gzipped), 1 to 6 s of a cold server (recordings: 4,100 builds cold in 9.1 s)."""
FEWEST_BUILDS_PER_REQUEST: Final = 200
PAGE: Final = 500
OVERLAP: Final = 5
"""Of `allBuilds` pages: a build that starts between two pages moves all others by one."""
_MOST_TIMES: Final = 50_000
_MOST_FAILED: Final = 3
"""Jobs of one batch that may fail with 500 before it is taken for the server's trouble, not theirs."""
_WFAPI_AGAIN_S: Final = 3600.0

Builds = list[Mapping[str, Any]]


class Site:
    """Reads one Jenkins. Raises what `Client.read` raises."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = Client(context)
        self.base_url = self.client.base_url
        self.listing: Folder | None = None
        self._levels = FIRST_LEVELS
        self._most_builds = MOST_BUILDS_PER_REQUEST
        self._times: dict[tuple[str, int], int | None] = {}
        self._no_wfapi_until = 0.0
        self._warned: set[str] = set()
        self._unstable = ExecutionStatus(str(self.setting("unstable_as")))

    def setting(self, key: str) -> Any:
        """The configured value, or the schema's default."""
        return self.context.config.get(key, _DEFAULTS.get(key))

    def warn_once(self, key: str, sentence: str, *args: Any) -> None:
        """One line in the log for a condition that each poll meets again, until `unwarn`."""
        if key not in self._warned:
            self._warned.add(key)
            self.context.log.warning(sentence, *args)

    def unwarn(self, key: str) -> None:
        """The condition is over."""
        self._warned.discard(key)

    # --- jobs and the queue -------------------------------------------------------------------------------------
    def probe(self) -> Folder:
        """All jobs as they are now: one request, unless folders turn out to lie deeper than before."""
        self.listing, self._levels = read_listing(
            self.client.read,
            self._levels,
            lambda name: self.context.log.warning("folder %s is listed and answers 404: its jobs are left out", name),
        )
        return self.listing

    def queue(self) -> list[Mapping[str, Any]]:
        """What waits, newest first."""
        items = self.client.read("/queue", translate.QUEUE).get("items")
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    # --- builds -------------------------------------------------------------------------------------------------
    def builds(self, wanted: Mapping[str, int]) -> Iterator[dict[str, Builds]]:
        """The newest builds of each wanted job (fullName -> how many), request by request; a job that is gone is left
        out, one that the server cannot read (500) too, with a warning."""
        if not wanted:
            return
        root = self.listing or self.probe()
        for batch in plan(root, wanted, self._most_builds):
            found = self._batch(batch) if len(batch.names) > 1 else {}
            failed = 0
            for name in batch.names:
                try:
                    if name not in found and (alone := self._alone(name, batch.builds)) is not None:
                        found[name] = alone
                except AnswerError as error:
                    failed += 1
                    if failed > _MOST_FAILED and not found:
                        raise
                    self.warn_once(f"job {name}", "job %s cannot be read and is passed over: %s", name, error)
            yield found

    def _batch(self, batch: Batch) -> dict[str, Builds]:
        """Empty where the server failed at the batch: then each job is asked for by itself."""
        try:
            answer = self.client.read(*batch.query)
        except (AnswerError, NotFound):
            return {}
        except TransientError:
            self._most_builds = max(FEWEST_BUILDS_PER_REQUEST, self._most_builds // 2)
            raise
        self._most_builds = min(MOST_BUILDS_PER_REQUEST, self._most_builds * 2)
        names = set(batch.names)
        return {name: builds for name, builds in builds_in(answer) if name in names}

    def _alone(self, name: str, builds: int) -> Builds | None:
        try:
            answer = self.client.read(path_of(name), f"fullName,builds[{BUILD}]{{0,{builds}}}")
        except NotFound:
            return None
        self.unwarn(f"job {name}")
        return answer.get("builds") or []

    def all_builds(self, name: str) -> Iterator[Builds]:
        """Every build of a job, newest first, in pages without doubles.

        Jenkins 2.426.2: with any range this loads all records of the job into the server's memory, hence for a
        backfill and for a gap of more than 100 builds only.
        """
        start, lowest = 0, None
        while True:
            try:
                answer = self.client.read(path_of(name), f"allBuilds[{BUILD}]{{{start},{start + PAGE}}}")
            except NotFound:
                return
            page: Builds = answer.get("allBuilds") or []
            yield [b for b in page if lowest is None or (b.get("number") or 0) < lowest]
            if len(page) < PAGE:
                return
            lowest, start = page[-1].get("number") or 0, start + PAGE - OVERLAP

    def build(self, job: str, number: int, tree: str = BUILD) -> Mapping[str, Any] | None:
        """One build by number, None for 404."""
        try:
            return self.client.read(f"{path_of(job)}/{number}", tree)
        except NotFound:
            return None

    def queue_item(self, number: int) -> Mapping[str, Any] | None:
        """One queue item, also for 5 minutes after it left the queue; None when it is forgotten."""
        try:
            return self.client.read(f"/queue/item/{number}")
        except NotFound:
            return None

    # --- translation --------------------------------------------------------------------------------------------
    def observe(
        self,
        raw: Mapping[str, Any],
        job: str,
        *,
        resolve: Resolve,
        queued: QueueId | None = None,
        steps: Any = None,
    ) -> Observation | Unreadable:
        """A build as an observation, or as unreadable with the reason."""
        identity = None
        try:
            identity = translate.build_id(raw, job)
            self.note(identity)
            return translate.observe_build(
                raw,
                identity,
                self.base_url,
                resolve=resolve,
                queued=queued,
                unstable_as=self._unstable,
                steps=steps,
            )
        except SENSELESS as error:
            known = str(identity) if identity else None
            return Unreadable(raw=dict(raw), reason=f"a build of {job}: {error!r}", external_id=known)

    def note(self, identity: BuildId) -> None:
        """Remembers when a build was, for the parents of others."""
        if len(self._times) > _MOST_TIMES:
            self._times.clear()
        self._times[identity.job, identity.number] = identity.timestamp_ms

    def parent(self, job: str, number: int, child_ms: int, *, ask: bool) -> str | None:
        """The external id of the build that a cause names, from what was read, or (`ask`) by one request.

        A build that is younger than its child is another one, of a recreated job.
        """
        if (job, number) not in self._times and ask:
            raw = self.build(job, number, "timestamp")
            time = raw.get("timestamp") if raw else None
            self._times[job, number] = time if isinstance(time, int) and time > 0 else None
        found = self._times.get((job, number))
        return str(BuildId(job, number, found)) if found and found <= child_ms else None

    def knows(self, job: str, number: int) -> bool:
        """Whether `parent` needs no request."""
        return (job, number) in self._times

    def steps(self, job: str, number: int) -> tuple[Step, ...] | Any:
        """The stages of a Pipeline build; UNKNOWN where the server has no wfapi (asked again after an hour)."""
        now = self.context.now().timestamp()
        if now < self._no_wfapi_until:
            return UNKNOWN
        try:
            return translate.observe_stages(self.client.read_raw(f"{path_of(job)}/{number}/wfapi/describe"))
        except NotFound:
            self._no_wfapi_until = now + _WFAPI_AGAIN_S
        except (*SENSELESS, AnswerError) as error:
            self.warn_once("wfapi", "the stages of %s #%d cannot be read: %r", job, number, error)
        return UNKNOWN


_DEFAULTS: Final[Mapping[str, Any]] = {
    key: spec["default"]
    for key, spec in json.loads(
        importlib.resources.files("runlink_jenkins").joinpath("config.schema.json").read_text("utf-8")
    )["properties"].items()
    if "default" in spec
}
