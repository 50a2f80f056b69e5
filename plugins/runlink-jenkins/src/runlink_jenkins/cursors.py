"""What a poll has to remember: per job where it was and which builds it saw, the waiting queue items, the sweep.

The polling module comes here with the stored cursors and takes away those that changed. Each partition is compact
JSON; only the partitions that a page changed are written, and an idle poll writes none.

    jobs.00 … jobs.63    the jobs, by a hash of their full name: hash -> [next, color, unsettled, number, timestamp, …]
    queue.0 … queue.7    waiting queue items, by id: id -> [inQueueSince, job hash, 1 when it was missed once]
    sweep                when the last sweep ended (s since the epoch) and, within one, the job it got to
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from runlink.spi import CursorExpired, Cursors
from runlink_jenkins.translate import QueueId

JOB_SHARDS: Final = 64
QUEUE_SHARDS: Final = 8
LARGEST: Final = 60_000
"""Bytes of one partition; the host takes 64 KiB. A fuller one forgets the older half of the builds it saw."""
UNSETTLED_POLLS: Final = 3
"""How often a job is read again whose newest number has no build yet: Jenkins counts up before it lists the build."""


@functools.lru_cache(maxsize=131072)
def key_of(job: str) -> str:
    """8 characters that stand for a job's full name (48 bits: a clash costs requests, never a build's identity)."""
    return base64.urlsafe_b64encode(hashlib.blake2b(job.encode(), digest_size=6).digest()).decode()


@functools.lru_cache(maxsize=131072)
def _shard_of(key: str) -> int:
    return base64.urlsafe_b64decode(key)[0] % JOB_SHARDS


@dataclass(slots=True)
class JobState:
    """Where a job was when last read.

    next        the nextBuildNumber up to which its builds are known
    unsettled   how often in a row the newest number had no build; 0 is the rule
    seen        number -> timestamp (ms) of its newest builds, newest first
    """

    next: int
    color: str = ""
    unsettled: int = 0
    seen: dict[int, int] = field(default_factory=dict)

    def moved(self, following: int, color: str) -> bool:
        """Whether the probe shows anything that this state does not know."""
        return following != self.next or color != self.color or 0 < self.unsettled < UNSETTLED_POLLS


class Ledger:
    """The cursors of one engine, read, changed and written."""

    def __init__(self, cursors: Cursors) -> None:
        self._jobs: dict[str, list[Any]] = {}
        self.queue: dict[int, list[Any]] = {}
        self.swept_at: float | None = None
        self.swept_to = ""
        self._changed: set[str] = set()
        for partition, text in cursors.items():
            kind = partition.partition(".")[0]
            if kind == "jobs":
                self._jobs.update(_read(text))
            elif kind == "queue":
                self.queue.update((int(number), value) for number, value in _read(text).items())
            elif kind == "sweep":
                sweep = _read(text)
                self.swept_at, self.swept_to = sweep.get("at"), sweep.get("to", "")

    def knows_jobs(self) -> bool:
        """Whether any job was ever read."""
        return bool(self._jobs)

    def job(self, name: str) -> JobState | None:
        """None for a job never read."""
        packed = self._jobs.get(key_of(name))
        return None if packed is None else JobState(packed[0], packed[1], packed[2], _unpacked(packed[3:]))

    def unmoved(self, name: str, following: int, color: str) -> bool:
        """Whether the probe shows what is known; as `JobState.moved`, at the price an idle poll can pay."""
        packed = self._jobs.get(key_of(name))
        if packed is None:
            return following <= 1
        return packed[0] == following and packed[1] == color and not 0 < packed[2] < UNSETTLED_POLLS

    def put_job(self, name: str, state: JobState) -> None:
        """Keeps a job's state."""
        key = key_of(name)
        packed = [state.next, state.color, state.unsettled, *_packed(state.seen)]
        if self._jobs.get(key) != packed:
            self._jobs[key] = packed
            self._changed.add(f"jobs.{_shard_of(key):02}")

    def keep_jobs(self, names: Iterable[str]) -> None:
        """Forgets all other jobs. One that comes back is met as a new one."""
        for key in self._jobs.keys() - {key_of(name) for name in names}:
            del self._jobs[key]
            self._changed.add(f"jobs.{_shard_of(key):02}")

    def enqueue(self, item: QueueId, job: str) -> None:
        """Remembers a waiting item: its id alone does not tell which it is (ids come again after a crash)."""
        self._put_item(item.number, [item.since_ms, key_of(job), 0])

    def dequeue(self, number: int) -> None:
        """Forgets an item."""
        if self.queue.pop(number, None) is not None:
            self._changed.add(f"queue.{number % QUEUE_SHARDS}")

    def miss(self, present: set[int]) -> None:
        """Forgets the items that are absent for the second time: their builds would have shown by now."""
        for number, (since, key, missed) in list(self.queue.items()):
            if number in present:
                continue
            if missed:
                self.dequeue(number)
            else:
                self._put_item(number, [since, key, 1])

    def _put_item(self, number: int, value: list[Any]) -> None:
        if self.queue.get(number) != value:
            self.queue[number] = value
            self._changed.add(f"queue.{number % QUEUE_SHARDS}")

    def queued(self, number: Any, job: str, timestamp_ms: int) -> QueueId | None:
        """The item that a build of this job with this queueId was, when it was seen waiting."""
        known = self.queue.get(number)
        if known is None or known[1] != key_of(job) or known[0] > timestamp_ms:
            return None
        return QueueId(number, known[0])

    def sweep(self, at_s: float | None, to: str) -> None:
        """Notes how far a sweep is."""
        if (self.swept_at, self.swept_to) != (at_s, to):
            self.swept_at, self.swept_to = at_s, to
            self._changed.add("sweep")

    def take_changed(self) -> dict[str, str | None]:
        """The partitions changed since the last call, as they have to be stored now."""
        changed, self._changed = self._changed, set()
        shards: dict[int, dict[str, list[Any]]] = {int(p[5:]): {} for p in changed if p.startswith("jobs.")}
        if shards:
            for key, packed in self._jobs.items():
                if (shard := _shard_of(key)) in shards:
                    shards[shard][key] = packed
        written: dict[str, str | None] = {f"jobs.{n:02}": _fitted(jobs) for n, jobs in shards.items()}
        for partition in changed:
            if partition.startswith("queue."):
                mine = {str(n): v for n, v in self.queue.items() if n % QUEUE_SHARDS == int(partition[6:])}
                written[partition] = _written(mine) if mine else None
            elif partition == "sweep":
                written[partition] = _written({"at": self.swept_at, "to": self.swept_to})
        return written


def _fitted(jobs: dict[str, list[Any]]) -> str | None:
    """A shard's text. One that is too long keeps every job's place and fewer of the builds it saw."""
    if not jobs:
        return None
    text = _written(jobs)
    kept = 64
    while len(text) > LARGEST and kept:
        kept //= 2
        for packed in jobs.values():
            del packed[3 + 2 * kept :]
        text = _written(jobs)
    return text


def _written(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _read(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise CursorExpired(f"a stored cursor is none of this release's ({error}); all is read anew") from None


def _packed(seen: Mapping[int, int]) -> list[int]:
    """Differences from one build to the next: small numbers."""
    packed: list[int] = []
    number = timestamp = 0
    for n in sorted(seen, reverse=True):
        packed += (n - number, seen[n] - timestamp)
        number, timestamp = n, seen[n]
    return packed


def _unpacked(packed: list[int]) -> dict[int, int]:
    seen: dict[int, int] = {}
    number = timestamp = 0
    for i in range(0, len(packed), 2):
        number += packed[i]
        timestamp += packed[i + 1]
        seen[number] = timestamp
    return seen
