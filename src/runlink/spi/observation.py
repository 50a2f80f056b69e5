"""What an adapter tells the host: observations, their steps and attempts, and the pages they come in.

An observation is an instance as the engine shows it now: a state, never a change. All of it can be serialised with
msgspec, and `msgspec.json.schema(Page)` is the published schema.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from runlink.domain import ExecutionStatus


class Unknown(enum.Enum):
    """The type of `UNKNOWN`: steps exist and are not to be had (offloaded, not permitted)."""

    UNKNOWN = "unknown"


UNKNOWN: Literal[Unknown.UNKNOWN] = Unknown.UNKNOWN


def _aware(owner: str, name: str, value: datetime | None) -> None:
    if value is not None and value.tzinfo is not UTC and (not isinstance(value, datetime) or value.tzinfo is None):
        raise ValueError(f"{owner}: {name} is {value!r}, which has no time zone; give an aware datetime in UTC")


def _status(owner: str, value: object) -> None:
    if value.__class__ is not ExecutionStatus:
        raise ValueError(f"{owner}: status is {value!r}; give an ExecutionStatus, e.g. ExecutionStatus.PROCESSING")


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try of an instance, where the engine remembers earlier ones. `number` counts from 1."""

    number: int
    status: ExecutionStatus
    native_status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        owner = f"attempt {self.number}"
        _status(owner, self.status)
        _aware(owner, "started_at", self.started_at)
        _aware(owner, "finished_at", self.finished_at)


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of an instance: a stage, a task instance, a node, a pod.

    `external_id` names the step within its instance and stays the same over its attempts; `parent` is the external id
    of the step it is part of. `final` says whether the engine will try no more: True, False, or None where the engine
    does not tell.
    """

    external_id: str
    name: str
    status: ExecutionStatus
    native_status: str
    attempt: int = 1
    final: bool | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    parent: str | None = None

    def __post_init__(self) -> None:
        owner = f"step {self.external_id!r}"
        if not self.external_id:
            raise ValueError(f"{owner}: external_id is empty")
        if self.attempt < 1:
            raise ValueError(f"{owner}: attempt is {self.attempt}; attempts count from 1")
        _status(owner, self.status)
        _aware(owner, "started_at", self.started_at)
        _aware(owner, "finished_at", self.finished_at)


class Revision(msgspec.Struct, frozen=True, array_like=True):
    """The engine's own ordering of one instance's states. Numbers compare within an epoch only.

    A restored or re-installed engine starts again lower: give it another epoch (a server id, a cluster id).
    """

    number: int
    epoch: str = ""

    def __str__(self) -> str:
        return f"{self.epoch}:{self.number}"


class Observation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instance as the engine shows it now. None means *not told* and keeps what is known.

    external_id    the engine's identifier, unique within the engine for ever (take in what makes it so: a uid, …)
    workflow       what the engine ran, by its full path
    status         the closest ExecutionStatus; `native_status` is the engine's own word beside it
    attempt        which try this state belongs to, from 1, where the engine counts; `attempts` tells of earlier ones
    revision       the engine's own ordering of states, where it has one
    created_at     when the engine accepted it; `started_at`, `finished_at`: aware datetimes, in UTC
    parent         external id, in the same engine, of the instance that started this one
    parameters     what it was started with; `labels`: short strings to select by; `metadata`: what else is kept
    message        why it is in this state, in the engine's words
    steps          None: not read. (): there are none. UNKNOWN: there are some, and they are not to be had
    supersedes     the id this instance had before (a queue item that became a build): row, links and history stay
    complete       False for a push that shows a part of the state only

    Raises ValueError for a naive datetime, an empty id or workflow, a status that is no ExecutionStatus, an attempt
    below 1. An adapter that may meet such items builds each observation in a `try` and reports the bad one as
    `Unreadable`.
    """

    external_id: str
    workflow: str
    status: ExecutionStatus
    native_status: str
    attempt: int = 1
    revision: Revision | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    url: str | None = None
    parent: str | None = None
    parameters: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None
    message: str | None = None
    metadata: Mapping[str, Any] | None = None
    steps: tuple[Step, ...] | Unknown | None = None
    attempts: tuple[Attempt, ...] | None = None
    supersedes: str | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        if self.external_id.__class__ is not str or not self.external_id:
            raise ValueError(f"observation: external_id is {self.external_id!r}; give a string that is not empty")
        if self.workflow.__class__ is not str or not self.workflow:
            raise ValueError(f"observation {self.external_id!r}: workflow is {self.workflow!r}; give its full path")
        if self.status.__class__ is not ExecutionStatus:
            _status(f"observation {self.external_id!r}", self.status)
        if self.attempt < 1:
            raise ValueError(f"observation {self.external_id!r}: attempt is {self.attempt}; attempts count from 1")
        for name in ("created_at", "started_at", "finished_at"):
            value = getattr(self, name)
            if value is not None and value.tzinfo is not UTC:
                _aware(f"observation {self.external_id!r}", name, value)


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an engine's answer that made no sense. It is quarantined with its reason; the rest goes on."""

    raw: Any
    reason: str
    external_id: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of what a feed tells, stored in one transaction together with its cursors.

    observations   at most a few thousand; an instance may stand in a page more than once, in order
    cursors        partition -> where to go on (a string of at most 64 KiB; None forgets the partition). A partition is
                   whatever the adapter likes: a job, a namespace, or one for all. Left out = unchanged, as for the
                   first pages of a listing that shows the newest first
    gone           external ids that were asked for, and that the engine says it no longer has. A container that stopped
                   answering (a folder turned 404) is a lost permission: do not report what was in it as gone
    unreadable     items to quarantine
    """

    observations: Sequence[Observation] = ()
    cursors: Mapping[str, str | None] = {}
    gone: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


def page_of(
    rows: Iterable[Any],
    observe: Callable[[Any], Observation],
    *,
    cursors: Mapping[str, str | None] | None = None,
    gone: Iterable[str] = (),
) -> Page:
    """The page of an engine's rows. A row that `observe` cannot read (KeyError, TypeError, ValueError, …) is set aside
    with the reason, and the rest goes on."""
    seen: list[Observation] = []
    bad: list[Unreadable] = []
    for row in rows:
        try:
            seen.append(observe(row))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            bad.append(Unreadable(raw=row, reason=f"it makes no sense: {type(error).__name__}: {error}"))
    return Page(observations=seen, cursors=dict(cursors or {}), gone=tuple(gone), unreadable=tuple(bad))


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A pushed message, verified and stored by the host before an adapter sees it."""

    id: str
    received_at: datetime
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery tells: observations, ids to read again, and what of it made no sense.

    Mark an observation `complete=False` when it is a part: then its steps are added to those that are known, and its
    workflow counts only where none is known. Where the adapter can refetch, the host does so for each instance that is
    told to have ended, and believes the engine.
    """

    observations: tuple[Observation, ...] = ()
    refetch: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found: the product and its version, and what an operator should know.

    `warnings` are sentences with a remedy each (a missing permission, a missing server plugin).
    """

    product: str
    version: str
    warnings: tuple[str, ...] = ()
