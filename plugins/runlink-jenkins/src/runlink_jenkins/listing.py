"""What jobs there are, and how the builds of some of them are asked for in few requests.

`site` comes here: `read_listing` is the cheap probe (it makes Jenkins load no build), `plan` turns "these jobs, so many
builds" into tree queries over ranges of neighbouring jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runlink.spi import NotFound
from runlink_jenkins.client import path_of
from runlink_jenkins.translate import BUILD

FIRST_LEVELS: Final = 4
MOST_LEVELS: Final = 16
"""How many levels of folders one probe asks for, to begin with and at most."""

MOST_BUILDS: Final = 100
"""Jenkins 2.426.2: `builds` ends at the newest 100 whatever range is asked; only `allBuilds` goes on."""

_SLACK: Final = 24
"""How many builds nobody asked for may be read to save a request, to begin with."""
_ENOUGH_REQUESTS: Final = 8


@dataclass(slots=True)
class Job:
    """A job as the probe shows it. `next` is nextBuildNumber, which never goes down while the job lives."""

    name: str
    next: int
    color: str
    in_queue: bool


@dataclass(slots=True)
class Folder:
    """A folder, multibranch project or the root (name ""), with its children in the server's order.

    A child of a kind that is neither keeps its place as an empty folder, because ranges count it.
    """

    name: str
    children: list[Job | Folder] = field(default_factory=list)

    def jobs(self) -> Iterator[Job]:
        """All jobs below, in order."""
        for child in self.children:
            if isinstance(child, Job):
                yield child
            else:
                yield from child.jobs()


Read = Callable[[str, str], Mapping[str, Any]]
"""(path, tree) -> the object."""


def probe_tree(levels: int) -> str:
    """The probe for so many levels; a folder at the last one shows only whether it has anything in it."""
    tree = "jobs[fullName]{0,1}"
    for _ in range(levels):
        tree = f"jobs[fullName,nextBuildNumber,inQueue,color,{tree}]"
    return tree


def read_listing(read: Read, levels: int, lost: Callable[[str], None]) -> tuple[Folder, int]:
    """All jobs, and the levels to ask for next time so that one request will do.

    A folder that answers 404 between the two requests is told to `lost` and left empty.
    """
    root = Folder("")
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            answer = read(path_of(folder.name), probe_tree(levels))
        except NotFound:
            if folder is root:
                raise
            lost(folder.name)
            continue
        waiting += _fill(folder, answer.get("jobs") or (), levels)
    return root, min(max(levels, _depth(root)), MOST_LEVELS)


def _fill(folder: Folder, raw_children: Any, levels: int) -> list[Folder]:
    """Takes the children in; the folders that have more than was asked for."""
    deeper: list[Folder] = []
    for raw in raw_children:
        name, following = raw.get("fullName") or "", raw.get("nextBuildNumber")
        if name and isinstance(following, int):
            folder.children.append(Job(name, following, raw.get("color") or "", raw.get("inQueue") is True))
            continue
        child = Folder(name)
        folder.children.append(child)
        if not name or not raw.get("jobs"):
            continue
        if levels > 1:
            deeper += _fill(child, raw["jobs"], levels - 1)
        else:
            deeper.append(child)
    return deeper


@dataclass(slots=True)
class Batch:
    """One request: the newest `builds` builds of all jobs in children [start, stop) of a folder.

    names   the jobs among them that are wanted; a single one is better asked for by its own path
    """

    folder: str
    start: int
    stop: int
    builds: int
    levels: int
    names: list[str]

    @property
    def query(self) -> tuple[str, str]:
        """Path and tree."""
        builds = f"builds[{BUILD}]{{0,{self.builds}}}"
        tree = ""
        for _ in range(self.levels):
            tree = f"jobs[fullName,{builds}{',' if tree else ''}{tree}]"
        return path_of(self.folder), f"{tree}{{{self.start},{self.stop}}}"


def plan(root: Folder, wanted: Mapping[str, int], most_builds: int) -> list[Batch]:
    """The requests that read `wanted` (fullName -> how many of its newest builds, at most 100).

    No request is expected to answer with many more than `most_builds` builds. Jobs in between are read along only as
    far as that saves a request: the server loads up to 100 records from disk for each.
    """
    batches: list[Batch] = []
    for least, most in ((0, 8), (8, 32), (32, MOST_BUILDS)):
        names = {name for name, builds in wanted.items() if least < builds <= most}
        if names:
            batches += _plan_alike(root, names, max(wanted[name] for name in names), most_builds)
    return batches


def _plan_alike(root: Folder, names: set[str], builds: int, most_builds: int) -> list[Batch]:
    slack = _SLACK
    while True:
        batches = _Planner(names, builds, most_builds, slack).batches_of(root)
        needed = sum(builds * len(b.names) for b in batches) // most_builds
        if len(batches) <= _ENOUGH_REQUESTS + needed or slack >= most_builds:
            return batches
        slack *= 4


class _Planner:
    def __init__(self, names: set[str], builds: int, most_builds: int, slack: int) -> None:
        self._names, self._builds, self._most, self._slack = names, builds, most_builds, slack
        self._batches: list[Batch] = []
        self._weights: dict[int, tuple[int, int]] = {}

    def batches_of(self, root: Folder) -> list[Batch]:
        self._weigh(root)
        self._visit(root)
        return self._batches

    def _weigh(self, item: Job | Folder) -> tuple[int, int]:
        """(builds asked for, builds read along), each job counting one more for itself."""
        if isinstance(item, Job):
            weight = 1 + min(self._builds, max(0, item.next - 1))
            found = (weight, 0) if item.name in self._names else (0, weight)
        else:
            parts = [self._weigh(child) for child in item.children]
            found = (sum(p[0] for p in parts), sum(p[1] for p in parts))
        self._weights[id(item)] = found
        return found

    def _visit(self, folder: Folder) -> None:
        batch: Batch | None = None
        total = gap = 0
        for index, child in enumerate(folder.children):
            own, along = self._weights[id(child)]
            if not own:
                gap += along
                continue
            if isinstance(child, Folder) and (along > self._slack or own + along > self._most):
                batch = None
                self._visit(child)
                continue
            if batch is None or gap > self._slack or total + gap + own + along > self._most:
                batch = Batch(folder.name, index, index, self._builds, 1, [])
                self._batches.append(batch)
                total = -gap
            total += gap + own + along
            gap = 0
            batch.stop = index + 1
            batch.levels = max(batch.levels, _depth(child) + 1)
            batch.names += (
                [child.name]
                if isinstance(child, Job)
                else [job.name for job in child.jobs() if job.name in self._names]
            )


def _depth(item: Job | Folder) -> int:
    """How many levels of `jobs` it takes to see all that is in it."""
    return 0 if isinstance(item, Job) else 1 + max((_depth(child) for child in item.children), default=0)


def builds_in(answer: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """(fullName, builds, newest first) of every job in an answer to a Batch."""
    if isinstance(answer.get("builds"), list):
        yield answer.get("fullName") or "", answer["builds"]
    for child in answer.get("jobs") or ():
        yield from builds_in(child)
