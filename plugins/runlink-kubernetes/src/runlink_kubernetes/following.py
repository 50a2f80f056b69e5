"""Follows one kind of object in one cluster: what a list, a stream and a refetch come to.

`adapter` (Argo) and `jobs` come here; everything that both need is here, and nothing that only one knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final, Generic

import msgspec

from runlink.spi import (
    ConfigRejected,
    Context,
    CredentialsRejected,
    Cursors,
    EngineInfo,
    Observation,
    Page,
    Polls,
    Refetches,
    TransientError,
    Unreadable,
    Watches,
)
from runlink_kubernetes import access
from runlink_kubernetes.bursts import Burst
from runlink_kubernetes.connection import Cluster, ClusterSource
from runlink_kubernetes.finalizer import Holding
from runlink_kubernetes.objects import Codec, Kind, Place, T, external_id, parse_external_id
from runlink_kubernetes.places import Places
from runlink_kubernetes.reflector import SILENCE_S, VersionExpired, Watching, listing
from runlink_kubernetes.translate import LABEL, Surroundings

ALL: Final = "all"
"""The partition of an engine that follows all namespaces."""
REFETCH_PAGE: Final = 50


class Uncertain(Exception):
    """What was asked for is not in the cluster, and where else it may be could not be asked just now."""


class KubernetesAdapter(Polls, Watches, Refetches, Generic[T]):
    """Follows one kind of object in one cluster. Safe for a poll and a watch in two threads.

    A poll is a full list. It gives a version only where the watch has none that it could go on from, because a list
    taken while a watch is behind would pass over the changes, deletions among them, that the watch has yet to tell.
    """

    default_poll_interval_s: ClassVar[float | None] = 600.0

    def __init__(self, context: Context, kind: Kind[T]) -> None:
        super().__init__(context)
        config = context.config
        self._kind = kind
        self._codec: Codec[T] = Codec(kind)
        self._cluster = Cluster(context)
        selector = str(config.get("label_selector", ""))
        if f"{LABEL}completed" in selector or f"{LABEL}phase" in selector:
            raise ConfigRejected(
                "label_selector must not ask for completed or phase: an object that ends would leave the selection, "
                "and its end would never be told"
            )
        self._source: Any = ClusterSource(self._cluster, kind, selector)
        names = [name for name in config.get("namespaces", ()) if name != "*"]
        self._scopes: tuple[str, ...] = tuple(dict.fromkeys(names)) or ("",)
        self._page_size = int(config.get("page_size", 500))
        self._places = Places()
        self._silences: dict[str, str] = {}
        self._ended: set[int] = set()
        self._denied: frozenset[str] = frozenset()
        self._verbs: tuple[str, ...] = ("get", "list", "watch")
        self._held: Holding[T] | None = None
        if config.get("finalizer"):
            self._held = Holding(self._cluster, kind, context.engine, context.log)
            self._verbs = (*self._verbs, "patch")

    # --- check ---------------------------------------------------------------------------------------------------

    def check(self) -> EngineInfo:
        """Raises ConfigRejected when the kind is not served, CredentialsRejected when nothing can be listed."""
        version = access.server_version(self._cluster)
        access.require_kind(self._cluster, self._kind)
        missing = access.missing_permissions(self._cluster, self._kind, self._scopes, self._verbs)
        warnings = [*access.permission_warnings(self._kind, missing, self._scopes), *self._warnings(missing)]
        if self._cluster.address != self.context.url:
            warnings.append(f"the configuration in use names {self._cluster.address}; write that as url")
        return EngineInfo(product=self._kind.title, version=f"Kubernetes {version}", warnings=tuple(warnings))

    def _warnings(self, missing: dict[str, list[str]]) -> list[str]:  # noqa: ARG002 - for kinds that have more to say
        return []

    # --- poll ----------------------------------------------------------------------------------------------------

    def poll(self, cursors: Cursors) -> Iterator[Page]:
        """A full list of each scope. A scope that is forbidden is logged and left out, unless it is the only one."""
        denied: dict[str, CredentialsRejected] = {}
        for scope in self._scopes:
            try:
                yield from self._list(scope, cursors.get(scope or ALL))
            except CredentialsRejected as error:
                denied[scope] = error
        for scope in denied.keys() - self._denied:
            self.context.log.warning("%s cannot be listed: %s", scope or "the cluster", denied[scope])
        self._denied = frozenset(denied)
        if len(denied) == len(self._scopes):
            raise next(iter(denied.values()))

    def _list(self, scope: str, stored: str | None) -> Iterator[Page]:
        before = self._places.before_list(scope, stored)
        newest = ""
        for listed in listing(self._source, self._codec, scope, self._page_size):
            place = self._places.listed(listed.version, before)
            if not listed.version:
                newest = max((newest, *map(self._version_of, listed.items)), key=lambda v: int(v or 0))
            self._ended.update(hash(item.metadata.uid) for item in listed.items if self._kind.ended(item))
            page = self._tell(listed.items, place.epoch, listed.unreadable)
            last = listed.last or self._is_enough(listed.items)
            if last:
                final = place if listed.version else Place(version=newest, epoch=place.epoch)
                cursor = self._places.after_list(scope, final, stored)
                page = msgspec.structs.replace(page, cursors={scope or ALL: cursor} if cursor else {})
            held = listed.items if self._held is not None else ()
            del listed  # the memory, while the page is stored
            yield page
            self._release(held)
            if last:
                return

    def _version_of(self, item: T) -> str:
        """For lists that have no version of their own."""
        version = item.metadata.resource_version
        return version if version.isdigit() else ""

    def _is_enough(self, items: Sequence[T]) -> bool:  # noqa: ARG002 - a cluster's list has its own end
        return False

    # --- watch ---------------------------------------------------------------------------------------------------

    def watch(self, cursors: Cursors) -> Iterator[Page]:
        """All scopes that have a version, each in a thread of its own. Ends only to take in a scope that had none."""
        places = {s: Place.parse(c) for s in self._scopes if (c := cursors.get(s or ALL))}
        if not places:
            raise self._places.nowhere()
        for scope, place in places.items():
            self._places.reached(scope, place)
        watching: Watching[T] = Watching(
            self._source,
            self._kind,
            self._codec,
            silences=self._silences,
            ended=self._ended,
            silence_s=float(self.context.config.get("silence_s", SILENCE_S)),
            once=len(places) < len(self._scopes),
        )
        try:
            for burst in watching.bursts({scope: place.version for scope, place in places.items()}):
                yield from self._pages(burst, places)
        except VersionExpired as error:
            self._places.expired(error.scope)
            raise

    def _pages(self, burst: Burst[T], places: dict[str, Place]) -> Iterator[Page]:
        """What is gone comes in a page after the last states, because a page does not say both of one instance."""
        for scope, version in burst.versions.items():
            places[scope] = Place(version=version, epoch=places[scope].epoch)
            self._places.reached(scope, places[scope])
        cursors = {scope or ALL: str(places[scope]) for scope in burst.versions}
        epoch = max(place.epoch for place in places.values())  # one cluster, one epoch
        page = self._tell([change.item for change in burst.changes], epoch, burst.unreadable)
        found, gone = self._look_for([c.item for c in burst.changes if c.deleted and not self._kind.ended(c.item)])
        held = [change.item for change in burst.changes if not change.deleted] if self._held is not None else []
        burst.changes.clear()  # the memory, while the page is stored
        if not (found or gone):
            yield msgspec.structs.replace(page, cursors=cursors)
        else:
            yield page
            yield Page(observations=found, gone=tuple(gone), cursors=cursors)
        self._release(held)

    def _look_for(self, lost: Sequence[T]) -> tuple[list[Observation], list[str]]:
        """Deleted before its end, says the stream; but it may only have left the selection, or be archived."""
        found: list[Observation] = []
        gone: list[str] = []
        for item in lost:
            if not self._is_wanted(item):
                continue
            meta = item.metadata
            try:
                there = self._again(meta.namespace, meta.name, meta.uid)
            except (CredentialsRejected, Uncertain):
                continue  # the next refetch asks again
            if there is not None:
                found.append(there)
            else:
                gone.append(external_id(meta))
        return found, gone

    # --- refetch -------------------------------------------------------------------------------------------------

    def refetch(self, external_ids: Sequence[str]) -> Iterator[Page]:
        """Each by namespace and name, its uid compared. What may not be read, or might be archived, is left out."""
        forbidden: set[str] = set()
        for start in range(0, len(external_ids), REFETCH_PAGE):
            yield self._refetched(external_ids[start : start + REFETCH_PAGE], forbidden)

    def _refetched(self, external_ids: Sequence[str], forbidden: set[str]) -> Page:
        told: list[Observation] = []
        gone: list[str] = []
        for name in external_ids:
            parts = parse_external_id(name)
            if parts is None:
                gone.append(name)
                continue
            if parts[0] in forbidden:
                continue
            try:
                there = self._again(*parts)
            except CredentialsRejected as error:
                forbidden.add(parts[0])
                self.context.log.warning("namespace %s cannot be read again: %s", parts[0], error)
            except Uncertain as error:
                self.context.log.debug("%s: %s", name, error)
            else:
                if there is not None:
                    told.append(there)
                else:
                    gone.append(name)
        return Page(observations=told, gone=tuple(gone))

    def _again(self, namespace: str, name: str, uid: str) -> Observation | None:
        """The object as it is now, or as something else remembers it. Raises Uncertain."""
        body = self._source.one(namespace, name)
        item = self._decoded(body) if body is not None else None
        if item is not None and item.metadata.uid == uid:
            return self._observe(item, self._places.epoch, deep=True)
        return self._elsewhere(namespace, uid)

    def _elsewhere(self, namespace: str, uid: str) -> Observation | None:  # noqa: ARG002 - for kinds with an archive
        """Where it can still be found after its deletion. Raises Uncertain when that cannot be asked."""
        return None

    # --- both ----------------------------------------------------------------------------------------------------

    def _tell(self, items: Sequence[T], epoch: int, bad: Sequence[Unreadable]) -> Page:
        told: list[Observation] = []
        aside = list(bad)
        wanted = [item for item in items if self._is_wanted(item)]
        if self._held is not None:
            self._held.hold(wanted)
        for item in wanted:
            try:
                told.append(self._observe(item, epoch, deep=False))
            except ValueError as error:
                meta = item.metadata
                known = external_id(meta) if meta.uid else None
                aside.append(Unreadable(raw=f"{meta.namespace}/{meta.name}", reason=str(error), external_id=known))
        return Page(observations=told, unreadable=tuple(aside))

    def _is_wanted(self, item: T) -> bool:
        """Inside the look-back window, and selected by include and exclude."""
        ended_at = self._kind.ended_at(item)
        if ended_at is not None and ended_at < self.context.since:
            return False
        return self.context.wants(self._kind.workflow(item))

    def _observe(self, item: T, epoch: int | None, *, deep: bool) -> Observation:  # noqa: ARG002 - for other kinds
        return self._kind.observe(item, self._around(epoch))

    def _around(self, epoch: int | None) -> Surroundings:
        return Surroundings(epoch=epoch)

    def _decoded(self, body: bytes) -> T:
        try:
            return self._codec.item(body)
        except msgspec.DecodeError as error:
            raise TransientError(f"an object cannot be read: {error}") from error

    def _release(self, items: Sequence[T]) -> None:
        """What was given before this line is stored by now."""
        if self._held is not None:
            self._held.release(items)
