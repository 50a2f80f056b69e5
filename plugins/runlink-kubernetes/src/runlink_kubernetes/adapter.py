"""The adapter for Argo Workflows: what `following` does, and what only Argo has. The host comes here.

That is the archive, nodes that are kept in a database, parents known by name, and the way through the Argo Server.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from runlink.spi import (
    AdapterError,
    ConfigRejected,
    Context,
    EngineInfo,
    Observation,
    Page,
    TransientError,
    Unreadable,
    load_schema,
)
from runlink_kubernetes import access
from runlink_kubernetes.argo_server import SIDE_READ_S, ArgoServer, Breaker, ServerSource
from runlink_kubernetes.following import KubernetesAdapter, Uncertain
from runlink_kubernetes.objects import external_id
from runlink_kubernetes.translate import (
    LABEL,
    PERSISTED,
    WORKFLOW,
    Surroundings,
    Workflow,
    is_ended,
    is_offloaded,
    observe,
)

NAMES_KEPT: Final = 2_000
ASKED_PER_PAGE: Final = 20
"""Side reads (parents by name, nodes from the Argo Server) for one page; the rest waits for the next look."""


class ArgoAdapter(KubernetesAdapter[Workflow]):
    """Follows the Workflows of a cluster, through its API server or, with `via = "argo-server"`, through Argo's own."""

    name = "argo"
    config_schema = load_schema("runlink_kubernetes")
    steps_on_refetch = True

    def __init__(self, context: Context) -> None:
        super().__init__(context, WORKFLOW)
        config = context.config
        self._through_server = config.get("via") == "argo-server"
        if self._through_server and config.get("finalizer"):
            raise ConfigRejected("finalizer = true needs the cluster's API; the Argo Server has no patch")
        self._server: ArgoServer | None = None
        if self._through_server:
            self._server = ArgoServer(context, None, config.get("argo_server_token") or config.get("token"))
            self._source = ServerSource(self._server, str(config.get("label_selector", "")))
        elif "argo_server_url" in config:
            url = str(config["argo_server_url"]).rstrip("/")
            self._server = ArgoServer(context, url, config.get("argo_server_token"))
        self._ui_url = str(config.get("ui_url", "")).rstrip("/") or None
        self._breaker = Breaker()
        self._names: OrderedDict[tuple[str, str], str | None] = OrderedDict()
        self._names_lock = threading.Lock()
        self._page = threading.local()

    # --- check ---------------------------------------------------------------------------------------------------

    def check(self) -> EngineInfo:
        """As the base; through the Argo Server its version, a list and the archive."""
        if not self._through_server or self._server is None:
            return super().check()
        self._sample(1)
        problem = self._server.archive_problem()
        warnings = (f"{problem}: ends that fall in a pause of runlink may be lost",) if problem else ()
        return EngineInfo(product="Argo Workflows", version=self._server.version(), warnings=warnings)

    def _warnings(self, missing: dict[str, list[str]]) -> list[str]:
        told: list[str] = []
        problem = self._server.archive_problem() if self._server is not None else "no argo_server_url is set"
        if self._server is not None and problem:
            told.append(f"argo_server_url: {problem}: a workflow deleted while runlink was not looking stays unknown")
        readable = [scope for scope in self._scopes if "list" not in missing.get(scope, ())]
        sample = self._sample(access.SAMPLE, readable[0]) if readable else []
        ttl = access.ttl_warning(sample, has_archive=problem is None)
        if ttl and self._held is None:
            told.append(ttl)
        return told

    def _sample(self, limit: int, scope: str | None = None) -> list[Workflow]:
        body = self._source.page(self._scopes[0] if scope is None else scope, limit, "")
        try:
            return self._codec.items(body)[1]
        except msgspec.DecodeError as error:
            raise TransientError(f"{self.context.url} does not answer as expected ({error}); check url") from error

    # --- telling -------------------------------------------------------------------------------------------------

    def _tell(self, items: Sequence[Workflow], epoch: int, bad: Sequence[Unreadable]) -> Page:
        self._page.asked = 0
        for item in items:
            self._note(item)
        return super()._tell(items, epoch, bad)

    def _observe(self, item: Workflow, epoch: int | None, *, deep: bool) -> Observation:
        if is_offloaded(item) and self._server is not None:
            item = self._hydrated(item, deep=deep)
        archived = (item.metadata.labels or {}).get(f"{LABEL}workflow-archiving-status") == PERSISTED
        return observe(
            item,
            Surroundings(
                epoch=None if archived else epoch,
                ui_url=self._ui_url,
                parent_of=functools.partial(self._parent_of, item.metadata.uid),
                has_server=self._server is not None,
            ),
        )

    def _hydrated(self, item: Workflow, *, deep: bool) -> Workflow:
        """With its nodes, where the Argo Server gives them now; else as it is, and its steps stay as they were told."""
        meta = item.metadata
        try:
            body = self._aside(lambda s: s.workflow(meta.namespace, meta.name, meta.uid, read_s=SIDE_READ_S), deep=deep)
            whole = self._codec.item(body) if body is not None else item
        except (TransientError, msgspec.DecodeError):
            return item
        same = whole.metadata.uid == meta.uid and whole.metadata.resource_version == meta.resource_version
        return whole if same or (whole.metadata.uid == meta.uid and is_ended(item)) else item

    def _aside(self, read: Any, *, deep: bool) -> bytes | None:
        """A read of the Argo Server that the main feed can do without. Raises TransientError."""
        server = self._server
        if server is None:
            return None
        if not (deep or self._may_ask()):
            raise TransientError("enough was asked for this page")
        return self._breaker.read(lambda: read(server))

    def _may_ask(self) -> bool:
        self._page.asked = getattr(self._page, "asked", 0) + 1
        return bool(self._page.asked <= ASKED_PER_PAGE)

    # --- the archive ---------------------------------------------------------------------------------------------

    def _elsewhere(self, namespace: str, uid: str) -> Observation | None:
        try:
            body = self._aside(lambda server: server.archived(namespace, uid), deep=True)
        except TransientError as error:
            raise Uncertain(f"the archive cannot be asked: {error}") from error
        item = self._decoded(body) if body is not None else None
        if item is None or item.metadata.uid != uid:
            return None
        return self._observe(item, None, deep=True)

    def _is_enough(self, items: Sequence[Workflow]) -> bool:
        """Argo's own list ends in the whole archive, newest first: a page of nothing that is wanted is enough."""
        if not self._through_server or not items:
            return False
        label = f"{LABEL}workflow-archiving-status"
        since = self.context.since
        return all(
            (item.metadata.labels or {}).get(label) == PERSISTED
            and (ended_at := self._kind.ended_at(item)) is not None
            and ended_at < since
            for item in items
        )

    def _version_of(self, item: Workflow) -> str:
        archived = (item.metadata.labels or {}).get(f"{LABEL}workflow-archiving-status") == PERSISTED
        return "" if archived else super()._version_of(item)

    # --- parents by name -----------------------------------------------------------------------------------------

    def _note(self, item: Workflow) -> None:
        meta = item.metadata
        if meta.uid:
            self._keep(meta.namespace, meta.name, external_id(meta))

    def _keep(self, namespace: str, name: str, known: str | None) -> None:
        with self._names_lock:
            self._names[namespace, name] = known
            self._names.move_to_end((namespace, name))
            if len(self._names) > NAMES_KEPT:
                self._names.popitem(last=False)

    def _parent_of(self, uid: str, namespace: str, name: str) -> str | None:
        """A resubmitted workflow names its former one by name alone; asked for once where it was not seen."""
        with self._names_lock:
            known = self._names.get((namespace, name))
            is_known = (namespace, name) in self._names
        if not is_known and self._may_ask():
            try:
                body = self._source.one(namespace, name)
                known = external_id(self._decoded(body).metadata) if body is not None else None
            except AdapterError:
                return None
            self._keep(namespace, name, known)
        return known if known is None or not known.endswith(uid) else None
