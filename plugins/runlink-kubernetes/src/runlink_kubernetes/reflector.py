"""Lists, then watches, and never loses its place: client-go's reflector as small generators, one job each.

The adapter comes here. Nothing here knows what is listed; `Source` is where the bytes come from. What is promised: a
version given out in a `Burst` stands for all changes up to it, given out in this burst or before; a change that is not
given out is one that a newer state of the same attempt of the same object has overtaken.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol

import msgspec

from runlink.spi import CredentialsRejected, CursorExpired, TransientError, Unreadable
from runlink_kubernetes.bursts import LINGER_S, Burst, Change, Coalescing, Stopped
from runlink_kubernetes.objects import Codec, Kind, Status, T, status_of, unreadable

LIST_PASSES: Final = 3
"""How often one list is begun again because its continue token expired."""
PAGE_BYTES: Final = 768 << 10
"""What a page of a list should come to: large objects make small pages."""
FIRST_PAGE: Final = 100
MAX_LINE_BYTES: Final = 64 << 20
STREAM_S: Final = (300, 600)
"""The time limit asked for, drawn anew each time, so that not all clients of a server come back at once."""
SILENCE_S: Final = 90.0
"""Bookmarks come about every minute."""


class VersionExpired(CursorExpired):
    """The server no longer knows the version that a scope is watched from (410 in any form)."""

    def __init__(self, scope: str, message: str) -> None:
        super().__init__(message)
        self.scope = scope


class Stream(Protocol):
    """An open watch. Iterating gives bytes as they come; faults are AdapterErrors."""

    def __iter__(self) -> Iterator[bytes]: ...
    def end(self) -> None:
        """Wakes whoever reads, from any thread."""


class Source(Protocol):
    """Where lists and streams come from. 410 is CursorExpired, whatever the form."""

    def page(self, scope: str, limit: int, after: str) -> bytes: ...
    def stream(self, scope: str, version: str, timeout_s: int, silence_s: float) -> Stream: ...


class Listed(NamedTuple, Generic[T]):
    """A page of a list. `version` is that of the whole list; `last` closes it."""

    items: list[T]
    unreadable: list[Unreadable]
    version: str
    last: bool


def shown(scope: str) -> str:
    """A scope in a message."""
    return f"namespace {scope}" if scope else "all namespaces"


# --- lists ---------------------------------------------------------------------------------------------------------


def listing(source: Source, codec: Codec[T], scope: str, page_size: int) -> Iterator[Listed[T]]:
    """The pages of a list; one whose continue token expires is begun again from its start."""
    for _ in range(LIST_PASSES):
        with contextlib.suppress(CursorExpired):
            yield from _listing_once(source, codec, scope, page_size)
            return
    raise TransientError(
        f"the list of {shown(scope)} expired {LIST_PASSES} times before its end; raise page_size, or narrow namespaces"
    )


@dataclass
class _Progress:
    version: str = ""
    after: str = ""
    limit: int = FIRST_PAGE


def _listing_once(source: Source, codec: Codec[T], scope: str, page_size: int) -> Iterator[Listed[T]]:
    progress = _Progress(limit=min(FIRST_PAGE, page_size))
    while True:
        # Bound to no name: a page is let go as soon as its taker has done with it.
        yield _page(source, codec, scope, page_size, progress)
        if not progress.after:
            return


def _page(source: Source, codec: Codec[T], scope: str, page_size: int, progress: _Progress) -> Listed[T]:
    body = source.page(scope, progress.limit, progress.after)
    try:
        meta, items, bad = codec.items(body)
    except msgspec.DecodeError as error:
        raise TransientError(f"the list of {shown(scope)} cannot be read: {error}") from error
    progress.version = progress.version or meta.version
    progress.after = meta.after or ""
    progress.limit = max(10, min(page_size, PAGE_BYTES * max(1, len(items)) // max(1, len(body))))
    return Listed(items, bad, progress.version, not progress.after)


# --- streams -------------------------------------------------------------------------------------------------------


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; one that is cut off at the end is left out, because the next stream brings it again."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end] if not pieces else b"".join((*pieces, chunk[start:end]))
            pieces, size, start = [], 0, end + 1
            if line.strip():
                yield line
        if start < len(chunk):
            pieces.append(chunk[start:] if start else chunk)
            size += len(chunk) - start
            if size > MAX_LINE_BYTES:
                raise TransientError(f"a line of a watch has more than {MAX_LINE_BYTES} bytes")


def error_of(status: Status, scope: str) -> Exception:
    """What an ERROR event in a stream (which comes with HTTP 200) calls for."""
    if status.code == 410 or status.reason in ("Expired", "Gone"):
        return VersionExpired(scope, f"the watch of {shown(scope)}: {status.message or status.reason}")
    if status.code in (401, 403):
        return CredentialsRejected(f"the watch of {shown(scope)} was ended: {status.message}")
    wait_s = status.details.retry_after_seconds if status.details else None
    text = f"the watch of {shown(scope)} was ended: {status.code} {status.message}"
    return TransientError(text, retry_after_s=wait_s)


class Watching(Generic[T]):
    """Watches the scopes of one engine, each in a thread that only reads and decodes.

    once       end at the first clean end of a stream, instead of asking for the next
    silences   scope -> version that was silent before; ended: see `Coalescing`. Both outlive one watch
    """

    def __init__(
        self,
        source: Source,
        kind: Kind[T],
        codec: Codec[T],
        *,
        silences: dict[str, str] | None = None,
        ended: set[int] | None = None,
        silence_s: float = SILENCE_S,
        linger_s: float = LINGER_S,
        once: bool = False,
    ) -> None:
        self._source = source
        self._codec = codec
        self._silences = {} if silences is None else silences
        self._silence_s = silence_s
        self._once = once
        self._coalescing = Coalescing(kind, ended=ended, linger_s=linger_s)
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def bursts(self, versions: Mapping[str, str]) -> Iterator[Burst[T]]:
        """What happens after these versions (one per scope). Ends normally only with `once`."""
        threads = [
            threading.Thread(target=self._read, args=(scope, version), name=f"watch {scope}", daemon=True)
            for scope, version in versions.items()
        ]
        try:
            for thread in threads:
                thread.start()
            while True:
                try:
                    burst = self._coalescing.take()
                except Stopped:
                    return
                yield burst
        finally:
            self._stop()
            for thread in threads:
                thread.join(1.0)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            streams = list(self._streams.values())
        self._coalescing.stop()
        for stream in streams:
            stream.end()

    # --- in a reading thread -----------------------------------------------------------------------------------

    def _read(self, scope: str, version: str) -> None:
        try:
            self._follow(scope, version)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - handed over to the thread that takes
            self._coalescing.fail(error)

    def _follow(self, scope: str, version: str) -> None:
        """One stream after the other, each from the version that the one before came to."""
        fruitless = 0
        while True:
            began, before = time.monotonic(), version
            try:
                version = self._stream(scope, version)
            except CursorExpired as error:
                raise VersionExpired(scope, str(error)) from error
            if self._once:
                self._coalescing.fail(Stopped())
                return
            fruitless = fruitless + 1 if version == before and time.monotonic() - began < 1.0 else 0
            if fruitless >= 3:
                raise TransientError(f"the watch of {shown(scope)} ends as soon as it begins")

    def _stream(self, scope: str, version: str) -> str:
        """Reads one stream to its end; returns the version it came to."""
        stream = self._source.stream(scope, version, random.randint(*STREAM_S), self._silence_s)  # noqa: S311
        with self._lock:
            self._streams[scope] = stream
            if self._stopped:
                stream.end()
                raise Stopped
        began, silent = time.monotonic(), True
        try:
            for line in lines(stream):
                silent = False
                version = self._take(scope, line) or version
        except TransientError:
            if silent and time.monotonic() - began >= self._silence_s * 0.9:
                self._was_silent(scope, version)
            raise
        finally:
            stream.end()
        self._silences.pop(scope, None)
        return version

    def _was_silent(self, scope: str, version: str) -> None:
        """From a version the server has not reached (a restored backup) a watch is silent for ever, without an error;
        so is a connection that was lost. The second time in a row it is taken for the former."""
        if self._silences.get(scope) == version:
            del self._silences[scope]
            raise VersionExpired(scope, f"the watch of {shown(scope)} from {version} is silent, bookmarks included")
        self._silences[scope] = version

    def _take(self, scope: str, line: bytes) -> str:
        try:
            event = self._codec.event(line)
        except msgspec.DecodeError as error:
            status = status_of(line)
            if status is not None:
                raise error_of(status, scope) from None
            self._coalescing.set_aside(unreadable(line, f"a line of a watch: {error}"))
            return ""
        if event.type == "ERROR":
            raise error_of(status_of(line) or Status(message=line[:200].decode("utf-8", "replace")), scope)
        meta = event.object.metadata
        change = None if event.type == "BOOKMARK" else Change(event.object, event.type == "DELETED")
        if change is not None and not meta.uid:
            self._coalescing.set_aside(unreadable(line, f"a line of a watch: {event.type} of an object without a uid"))
            change = None
        self._coalescing.put(scope, meta.resource_version, change, len(line))
        return meta.resource_version
