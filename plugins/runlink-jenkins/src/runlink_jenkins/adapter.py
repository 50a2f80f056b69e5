"""The Jenkins adapter: what the host calls, handed on to the rooms that do it.

The host comes here through `runlink_adapters`. `polling` finds builds and queue items, `rereading` follows those that
are open, `notifications` says which build a push is about, `site` reads, `translate` turns what was read into
observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from runlink.spi import (
    Context,
    Cursors,
    Delivery,
    DeliveryRejected,
    EngineInfo,
    NotFound,
    Page,
    Polls,
    Receipt,
    Receives,
    Refetches,
    TransientError,
    load_schema,
)
from runlink_jenkins.client import path_of
from runlink_jenkins.notifications import build_of
from runlink_jenkins.polling import Poll
from runlink_jenkins.rereading import Reread
from runlink_jenkins.site import Site
from runlink_jenkins.translate import SENSELESS, build_id

_FIRST_LOOK = (
    "quietingDown,jobs[fullName,lastBuild[number],jobs[fullName,lastBuild[number],jobs[fullName,lastBuild[number]]]]"
    "{0,50}"
)


class JenkinsAdapter(Polls, Refetches, Receives):
    """One Jenkins, read through its JSON API with python-jenkins. Written and recorded against Jenkins 2.426.2."""

    name: ClassVar[str] = "jenkins"
    config_schema: ClassVar[Mapping[str, Any]] = load_schema("runlink_jenkins")
    steps_on_refetch: ClassVar[bool] = True
    authentication: ClassVar[str] = "basic"
    """What the Notification plugin can do: user and password in the endpoint's address."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._site = Site(context)

    def check(self) -> EngineInfo:
        """Two or three requests: the jobs, who is asking, and whether Pipeline stages are to be had."""
        client = self._site.client
        root = self._root(_FIRST_LOOK)
        me = client.read("/whoAmI")
        warnings = []
        if me.get("anonymous"):
            warnings.append("Jenkins is read anonymously: set user and token to read all jobs, at less cost to it")
        if root.get("quietingDown"):
            warnings.append("Jenkins is quieting down: builds wait in the queue until an administrator cancels that")
        if not root.get("jobs"):
            warnings.append(f"no job is visible to {me.get('name') or 'this user'}: grant Overall/Read and Item/Read")
        pipeline = _a_pipeline_build(root)
        if pipeline and not self._has_stages(*pipeline):
            warnings.append(
                "no stages of Pipeline builds are to be had: install the Jenkins plugin pipeline-rest-api (Stage View)"
            )
        return EngineInfo(product="Jenkins", version=client.version or "unknown", warnings=tuple(warnings))

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """Waiting queue items, builds that are new, jobs that changed, and now and then a sweep over recent builds."""
        try:
            yield from Poll(self._site, cursors).pages()
        except NotFound as error:
            raise TransientError(
                f"{error}: no Jenkins answers at {self._site.base_url}; check the address and its path, or wait for it"
            ) from None

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """These builds and queue items as they are now, Pipeline builds with their stages."""
        yield from Reread(self._site, external_ids).pages()

    def receive(self, delivery: Delivery) -> Receipt:
        """One request, for the time that makes the build's id; the host reads the build itself."""
        job, number = build_of(delivery)
        if not self.context.wants(job):
            return Receipt()
        raw = self._site.build(job, number, "number,timestamp")
        if raw is None:
            raise DeliveryRejected(
                f"Jenkins shows no build {number} of {job}: it was deleted, or this user may not see it"
            )
        try:
            return Receipt(refetch=(str(build_id(raw, job)),))
        except SENSELESS as error:
            raise DeliveryRejected(f"build {number} of {job} makes no sense: {error}") from None

    def _root(self, tree: str) -> Mapping[str, Any]:
        try:
            return self._site.client.read("", tree)
        except NotFound as error:
            raise TransientError(
                f"{error}: no Jenkins answers at {self._site.base_url}; check the address and its path"
            ) from None

    def _has_stages(self, job: str, number: int) -> bool:
        try:
            self._site.client.read_raw(f"{path_of(job)}/{number}/wfapi/describe")
        except NotFound:
            return False
        return True


def _a_pipeline_build(item: Mapping[str, Any]) -> tuple[str, int] | None:
    """Some Pipeline job's newest build, to try on it what can be asked of one."""
    for child in item.get("jobs") or ():
        last = child.get("lastBuild")
        if last and str(last.get("_class", "")).endswith("WorkflowRun"):
            return child["fullName"], last["number"]
        if found := _a_pipeline_build(child):
            return found
    return None
