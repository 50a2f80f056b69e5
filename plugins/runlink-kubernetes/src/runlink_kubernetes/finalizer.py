"""The finalizer mode: an object is held in the cluster until its end is stored. Off by default; see README.md.

The adapter comes here twice: with what it is about to tell, and again once that is stored (the host stores each page
before it asks for the next).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any, Generic

from runlink.spi import AdapterError, NotFound, TransientError
from runlink_kubernetes.connection import Cluster
from runlink_kubernetes.objects import Kind, T


class Holding(Generic[T]):
    """Puts the engine's finalizer on objects that run, and takes it off those that ended or are to be deleted.

    A failure is logged and never ends the feed: the next look at the object tries again.
    """

    def __init__(
        self, cluster: Cluster, kind: Kind[T], engine: str, log: logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._cluster = cluster
        self._kind = kind
        self._log = log
        self.finalizer = f"runlink.io/{re.sub(r'[^A-Za-z0-9_.-]', '-', engine).strip('-_.')[:60] or 'engine'}"

    def hold(self, items: Iterable[T]) -> None:
        """Before they are told."""
        for item in items:
            meta = item.metadata
            if self._kind.ended(item) or meta.deletion_timestamp is not None or self.finalizer in self._of(item):
                continue
            there = self._of(item)
            place = "/metadata/finalizers/-" if there else "/metadata/finalizers"
            value: Any = self.finalizer if there else [self.finalizer]
            self._patch(
                item,
                {"op": "test", "path": "/metadata/resourceVersion", "value": meta.resource_version},
                {"op": "add", "path": place, "value": value},
            )

    def release(self, items: Iterable[T]) -> None:
        """After they were stored."""
        for item in items:
            there = self._of(item)
            if self.finalizer not in there:
                continue
            if self._kind.ended(item) or item.metadata.deletion_timestamp is not None:
                path = f"/metadata/finalizers/{there.index(self.finalizer)}"
                self._patch(
                    item,
                    {"op": "test", "path": path, "value": self.finalizer},
                    {"op": "remove", "path": path},
                )

    @staticmethod
    def _of(item: T) -> list[str]:
        return item.metadata.finalizers or []

    def _patch(self, item: T, *operations: dict[str, Any]) -> None:
        meta = item.metadata
        same = {"op": "test", "path": "/metadata/uid", "value": meta.uid}
        try:
            self._cluster.patch(self._kind.path(meta.namespace, meta.name), [same, *operations])
        except NotFound:
            return
        except TransientError as error:
            self._log.warning("finalizer of %s/%s: %s", meta.namespace, meta.name, error)
        except AdapterError as error:  # it changed meanwhile; its next event comes here again
            self._log.debug("finalizer of %s/%s: %s", meta.namespace, meta.name, error)
