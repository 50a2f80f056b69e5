"""Which versions the lists and watches of one engine stand at. The adapter comes here from its poll and its watch."""

from __future__ import annotations

import threading

from runlink.spi import AdapterError, CursorExpired, TransientError
from runlink_kubernetes.objects import Place


class Places:
    """Safe to share between threads. Nothing in it is missed after a restart: cursors hold all that matters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Place] = {}
        self._expired: set[str] = set()
        self._listed = False
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Of the cluster; it grows when versions went back, because a backup was restored."""
        return self._epoch

    def before_list(self, scope: str, stored: str | None) -> Place | None:
        """The place reached so far. No list that is asked for after this may have a lower version."""
        with self._lock:
            if stored:
                self._reach(scope, Place.parse(stored))
            return self._known.get(scope)

    def listed(self, version: str, before: Place | None) -> Place:
        """The place of a list. A lower version than `before`'s begins an epoch."""
        with self._lock:
            place = Place(version=version, epoch=before.epoch if before else self._epoch)
            if before is not None and before.is_after(place):
                self._epoch = max(self._epoch, before.epoch + 1)
            return Place(version=version, epoch=self._epoch)

    def after_list(self, scope: str, place: Place, stored: str | None) -> str | None:
        """The cursor that a whole list gives: none where a watch can go on from the one that is stored."""
        with self._lock:
            self._listed = True
            usable = bool(stored) and scope not in self._expired and Place.parse(stored or "").epoch == place.epoch
            if usable or not place.version:
                return None
            self._expired.discard(scope)
            self._known[scope] = place
            return str(place)

    def reached(self, scope: str, place: Place) -> None:
        """A watch stands here, or came to it."""
        with self._lock:
            self._reach(scope, place)

    def _reach(self, scope: str, place: Place) -> None:
        self._epoch = max(self._epoch, place.epoch)
        known = self._known.get(scope)
        if known is None or place.epoch > known.epoch or place.is_after(known):
            self._known[scope] = place

    def expired(self, scope: str) -> None:
        """The server no longer knows the version that a watch went on from: the next list gives another."""
        with self._lock:
            self._expired.add(scope)

    def nowhere(self) -> AdapterError:
        """Why no watch can begin without a cursor: a watch without a version is never asked for."""
        if self._listed:
            return TransientError("there is no version to watch from yet: the lists gave none", retry_after_s=60.0)
        return CursorExpired("there is no version to watch from: it takes a list first")
