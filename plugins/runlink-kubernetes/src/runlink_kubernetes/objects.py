"""What every Kubernetes object has, decoded to the fields that are needed and no more. All rooms come here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from runlink.spi import Observation, Revision, Unreadable

MAX_ANNOTATION_CHARS: Final = 1024


class Owner(msgspec.Struct):
    """One of `metadata.ownerReferences`."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Meta(msgspec.Struct, rename="camel"):
    """`metadata`; `uid` is the identity, a name is used again."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generate_name: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None
    finalizers: list[str] | None = None


class Item(Protocol):
    """An object of any kind."""

    metadata: Meta


T = TypeVar("T", bound=Item)


class ListMeta(msgspec.Struct, rename={"version": "resourceVersion", "after": "continue"}):
    """`metadata` of a list."""

    version: str = ""
    after: str | None = None


class Items(msgspec.Struct, Generic[T]):
    """A page of a list."""

    metadata: ListMeta
    items: list[T] | None = None


class Event(msgspec.Struct, Generic[T]):
    """A line of a watch."""

    type: str
    object: T


class _RawItems(msgspec.Struct):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class StatusDetails(msgspec.Struct, rename="camel"):
    """`details` of a Status."""

    name: str = ""
    retry_after_seconds: float | None = None


class Status(msgspec.Struct):
    """What the API server says of an error, in an answer or in the stream."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a list or a watch stands. After a restore from a backup versions begin again lower: another epoch."""

    version: str
    epoch: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}:{self.version}" if self.epoch else self.version

    @classmethod
    def parse(cls, text: str) -> Place:
        """Of a stored cursor."""
        epoch, _, version = text.rpartition(":")
        return cls(version=version, epoch=int(epoch) if epoch.isdigit() else 0)

    def is_after(self, other: Place) -> bool:
        """Whether both are numbers of one epoch (they are, since Kubernetes 1.35 by promise) and this is the higher."""
        if self.epoch != other.epoch or not (self.version.isdigit() and other.version.isdigit()):
            return False
        return int(self.version) > int(other.version)


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """A kind of object that runs: where it is served, and what it means. A new kind is one of these.

    item      what is decoded of it
    ended     whether it has come to its end
    ended_at  when, None while it has not
    native    its state in the engine's words; two ended snapshots that differ in it are two attempts
    workflow  what runlink calls the thing that it is a run of
    observe   what it means to runlink
    """

    title: str
    group: str
    version: str
    plural: str
    item: type[T]
    ended: Callable[[T], bool]
    ended_at: Callable[[T], datetime | None]
    workflow: Callable[[T], str]
    native: Callable[[T], str]
    observe: Callable[[T, Any], Observation]

    @property
    def api(self) -> str:
        """The path of the API group and version."""
        return f"/apis/{self.group}/{self.version}"

    def path(self, namespace: str, name: str = "") -> str:
        """The path of the collection (all namespaces: "") or of one object."""
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.api}{within}/{self.plural}{f'/{name}' if name else ''}"


class Codec(Generic[T]):
    """Decodes one kind. Safe to share between threads."""

    def __init__(self, kind: Kind[T]) -> None:
        self._items: msgspec.json.Decoder[Items[T]] = msgspec.json.Decoder(Items[kind.item])  # type: ignore[name-defined]
        self._event: msgspec.json.Decoder[Event[T]] = msgspec.json.Decoder(Event[kind.item])  # type: ignore[name-defined]
        self._item: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind.item)

    def items(self, body: bytes) -> tuple[ListMeta, list[T], list[Unreadable]]:
        """A page of a list; an item that makes no sense is set aside. Raises msgspec.DecodeError for no list at all."""
        try:
            page = self._items.decode(body)
        except msgspec.ValidationError:
            return self._one_by_one(body)
        return page.metadata, page.items or [], []

    def _one_by_one(self, body: bytes) -> tuple[ListMeta, list[T], list[Unreadable]]:
        page = msgspec.json.decode(body, type=_RawItems)
        good: list[T] = []
        bad: list[Unreadable] = []
        for raw in page.items or []:
            try:
                good.append(self._item.decode(raw))
            except msgspec.ValidationError as error:
                bad.append(unreadable(bytes(raw), str(error)))
        return page.metadata, good, bad

    def event(self, line: bytes) -> Event[T]:
        """A line of a watch. Raises msgspec.ValidationError for an ERROR event too: see `status_of`."""
        return self._event.decode(line)

    def item(self, body: bytes) -> T:
        """One object. Raises msgspec.DecodeError."""
        return self._item.decode(body)


class _ErrorEvent(msgspec.Struct):
    type: str
    object: Status


def status_of(line: bytes) -> Status | None:
    """What an ERROR event says; None for another line."""
    try:
        event = msgspec.json.decode(line, type=_ErrorEvent)
    except msgspec.DecodeError:
        return None
    return event.object if event.type == "ERROR" else None


class _Named(msgspec.Struct):
    metadata: Meta | None = None
    object: _Named | None = None


def unreadable(raw: bytes, reason: str) -> Unreadable:
    """An item, or the event that brought it, to quarantine, under its id where that much can be read."""
    known = None
    with contextlib.suppress(msgspec.DecodeError):
        named = msgspec.json.decode(raw, type=_Named)
        found = (named.object or named).metadata
        known = external_id(found) if found is not None and found.uid else None
    return Unreadable(raw=raw[:16384].decode("utf-8", "replace"), reason=reason, external_id=known)


def external_id(meta: Meta) -> str:
    """`NAMESPACE/NAME@UID`: the uid makes it unique for ever, the rest is needed to ask for it again."""
    return f"{meta.namespace}/{meta.name}@{meta.uid}"


def parse_external_id(text: str) -> tuple[str, str, str] | None:
    """(namespace, name, uid), or None for an id that is not of this plugin."""
    where, _, uid = text.rpartition("@")
    namespace, _, name = where.partition("/")
    return (namespace, name, uid) if namespace and name and uid and "/" not in name else None


def revision(meta: Meta, epoch: int) -> Revision | None:
    """The engine's order of states."""
    version = meta.resource_version
    return Revision(int(version), str(epoch) if epoch else "") if version.isdigit() else None


def kept_annotations(meta: Meta) -> dict[str, str]:
    """Those worth keeping: no whole manifests."""
    return {
        name: value
        for name, value in (meta.annotations or {}).items()
        if len(value) <= MAX_ANNOTATION_CHARS and name != "kubectl.kubernetes.io/last-applied-configuration"
    }


def workflow_name(meta: Meta, origin: str | None) -> str:
    """`NAMESPACE/` and what it was made from, or else its name without the generated part."""
    return f"{meta.namespace}/{origin or meta.generate_name.rstrip('-') or meta.name}"
