"""The Argo Server's REST API: the archive, offloaded nodes, and a way in where the cluster's own API is out of reach.

`adapter` comes here. What this way cannot promise is in README.md; the reasons are at the places that live with them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic
from urllib.parse import quote

import httpx
import msgspec

from runlink.spi import AdapterError, Context, CursorExpired, TransientError, error_for
from runlink_kubernetes.objects import T
from runlink_kubernetes.reflector import lines

SIDE_READ_S: Final = 10.0
"""For what must not hold up the main feed. Argo's archive has been known to hang for minutes."""
BREAK_S: Final = 60.0
"""How long a side read is not tried again after one that failed."""
STREAM_SLACK_S: Final = 30.0


class _Error(msgspec.Struct):
    code: int = 0
    http_code: int = 0
    message: str = ""


class _Line(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None


class ArgoServer:
    """One Argo Server. Safe to share between threads.

    url, token   None: the engine's own address; no token: as an anonymous user
    """

    def __init__(self, context: Context, url: str | None, token: str | None) -> None:
        self._context = context
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = token if token.startswith(("Bearer ", "Basic ")) else f"Bearer {token}"
        self._http = context.http(url=url, headers=headers)

    def get(self, path: str, params: dict[str, str], *, read_s: float | None = None) -> bytes | None:
        """A whole answer; None where it says *not found*. Raises AdapterErrors."""
        timeout = None if read_s is None else httpx.Timeout(read_s)
        answer = self._http.get(path, params=params, timeout=timeout)
        if answer.status_code == 404:
            return None
        self._check(answer, path)
        return answer.content

    def _check(self, answer: httpx.Response, path: str) -> None:
        if answer.status_code == 200:
            return
        told = _message(answer.content)
        if answer.status_code == 410 or _is_expired(told):
            raise CursorExpired(f"Argo Server, {path}: {told.message}")
        text = f"Argo Server, GET {path}: {told.message}"
        error = error_for(answer.status_code, answer.headers, text, self._context.now())
        raise error or TransientError(f"{text} answered HTTP {answer.status_code}")

    def version(self) -> str:
        """As it tells it, "unknown" when it does not."""
        try:
            body = self.get("/api/v1/version", {})
            return str(msgspec.json.decode(body or b"{}").get("version") or "unknown")
        except (AdapterError, msgspec.DecodeError, AttributeError):
            return "unknown"

    def workflow(self, namespace: str, name: str, uid: str, *, read_s: float | None = None) -> bytes | None:
        """One workflow with its nodes, live or (since Argo 3.5) archived."""
        return self.get(f"/api/v1/workflows/{quote(namespace)}/{quote(name)}", {"uid": uid}, read_s=read_s)

    def archived(self, namespace: str, uid: str) -> bytes | None:
        """One workflow out of the archive, by uid, which is the one question that the archive answers quickly."""
        return self.get(f"/api/v1/archived-workflows/{quote(uid)}", {"namespace": namespace}, read_s=SIDE_READ_S)

    def archive_problem(self) -> str | None:
        """Why the archive cannot be asked, in a sentence, or None."""
        try:
            found = self.get("/api/v1/archived-workflows", {"listOptions.limit": "1"}, read_s=SIDE_READ_S)
        except AdapterError as error:
            return f"the workflow archive cannot be read ({error})"
        return "the Argo Server has no workflow archive" if found is None else None

    def stream(self, path: str, params: dict[str, str], read_s: float) -> EventStream:
        """An open stream of events."""
        request = self._http.build_request("GET", path, params=params, timeout=httpx.Timeout(read_s))
        answer = self._http.send(request, stream=True)
        if answer.status_code != 200:
            answer.read()
            answer.close()
            self._check(answer, path)
        return EventStream(answer, path)


class EventStream:
    """`{"result": {...}}` lines as a watch's own lines."""

    def __init__(self, answer: httpx.Response, what: str) -> None:
        self._answer = answer
        self._what = what

    def __iter__(self) -> Iterator[bytes]:
        for line in lines(self._bytes()):
            try:
                told = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError as error:
                raise TransientError(f"Argo Server, {self._what}: a line cannot be read ({error})") from error
            if told.error is not None:
                if told.error.http_code == 410 or _is_expired(told.error):
                    raise CursorExpired(f"Argo Server, {self._what}: {told.error.message}")
                raise TransientError(f"Argo Server, {self._what}: {told.error.message}")
            if result := bytes(told.result):
                yield result + b"\n"

    def _bytes(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_bytes()
        except AdapterError:
            raise
        except (httpx.StreamError, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            raise TransientError(f"Argo Server, {self._what}: the stream broke off ({error})") from error

    def end(self) -> None:
        """Wakes a reader in another thread; that one closes the answer."""
        stream: Any = self._answer.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if isinstance(sock, socket.socket):
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return


def _message(body: bytes) -> _Error:
    try:
        return msgspec.json.decode(body, type=_Error)
    except msgspec.DecodeError:
        return _Error(message=" ".join(body[:200].decode("utf-8", "replace").split()))


def _is_expired(error: _Error) -> bool:
    """Kubernetes' 410 comes out of Argo as a gRPC error whose code says little."""
    return "too old resource version" in error.message or "continue parameter is too old" in error.message


class ServerSource(Generic[T]):
    """Lists and streams through the Argo Server. Its list merges live and archived workflows and pages by offset."""

    def __init__(self, server: ArgoServer, label_selector: str = "") -> None:
        self._server = server
        self._selector = {"listOptions.labelSelector": label_selector} if label_selector else {}

    def page(self, scope: str, limit: int, after: str) -> bytes:
        """A page; `after` is an offset, so what is added or deleted meanwhile shifts it."""
        params = {**self._selector, "listOptions.limit": str(limit)}
        if after:
            params["listOptions.continue"] = after
        body = self._server.get(f"/api/v1/workflows/{quote(scope)}", params)
        if body is None:
            raise TransientError(f"Argo Server: there is no list of {scope or 'all namespaces'}", retry_after_s=60.0)
        return body

    def stream(self, scope: str, version: str, timeout_s: int, silence_s: float) -> EventStream:  # noqa: ARG002
        """A watch. No bookmarks come this way, so silence is found out by the time limit alone."""
        params = {
            **self._selector,
            "listOptions.resourceVersion": version,
            "listOptions.timeoutSeconds": str(timeout_s),
        }
        return self._server.stream(f"/api/v1/workflow-events/{quote(scope)}", params, timeout_s + STREAM_SLACK_S)

    def one(self, namespace: str, name: str) -> bytes | None:
        """One workflow, None when there is none."""
        return self._server.workflow(namespace, name, "")


class Breaker:
    """Round reads that the main feed can do without: after one that failed, none for a while. Safe to share."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._lock = threading.Lock()

    def read(self, read: Callable[[], bytes | None]) -> bytes | None:
        """What `read` gives. Raises TransientError when it fails, or failed a short while ago."""
        with self._lock:
            if self._clock() < self._until:
                raise TransientError("the Argo Server did not answer a short while ago")
        try:
            return read()
        except AdapterError as error:
            with self._lock:
                self._until = self._clock() + BREAK_S
            raise TransientError(str(error)) from error
