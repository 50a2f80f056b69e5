"""The API server, through the official client: its configuration, authentication and TLS, the host's guarded sockets.

`adapter` comes here for lists, streams and single objects, `access` for the questions of a check. One `ApiClient` for
each engine, shared by all its threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

import msgspec
import urllib3
import urllib3.exceptions

from runlink.spi import AdapterError, ConfigRejected, Context, CursorExpired, NotFound, TransientError, error_for
from runlink_kubernetes.objects import Kind, Status, T

if TYPE_CHECKING:
    from kubernetes.client.api_client import ApiClient

Query = Sequence[tuple[str, str]]

CHUNK_BYTES: Final = 65536
CONNECT_S: Final = 10.0
_TLS_OF_CLIENT: Final = ("ca_cert_data", "ca_certs", "cert_file", "cert_reqs", "key_file")


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes

    def object(self, what: str) -> dict[str, Any]:
        """The JSON object that it should be. Raises TransientError for anything else: a login page, half of one."""
        try:
            told: dict[str, Any] = msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise TransientError(f"{what} cannot be read: {_one_line(error)}; is this an API server?") from error
        return told


class Cluster:
    """The API server of one engine. Safe to share between threads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._config = context.config
        self._lock = threading.Lock()
        self._made: ApiClient | None = None

    @property
    def address(self) -> str:
        """Where the API server is, by the kubeconfig or the pod's environment where these are used."""
        return str(self._client().configuration.host).rstrip("/")

    def get(self, path: str, query: Query = ()) -> Answer:
        """Raises AdapterErrors for what is no success; see `failure`."""
        return self._whole("GET", path, query, {"Accept": "application/json", "Accept-Encoding": "gzip"}, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """As `get`."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return self._whole("POST", path, (), headers, body)

    def patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Answer:
        """A JSON patch; as `get`."""
        headers = {"Accept": "application/json", "Content-Type": "application/json-patch+json"}
        return self._whole("PATCH", path, (), headers, list(operations))

    def stream(self, path: str, query: Query, silence_s: float) -> ChunkedStream:
        """An open stream whose reads wait at most `silence_s`."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        answer = self._send("GET", path, query, headers, None, silence_s)
        if answer.status != 200:
            raise self._failure("GET", path, answer, self._read(answer, path))
        return ChunkedStream(answer, path)

    # --- requests ----------------------------------------------------------------------------------------------

    def _whole(self, method: str, path: str, query: Query, headers: Mapping[str, str], body: Any) -> Answer:
        answer = self._send(method, path, query, headers, body, None)
        content = self._read(answer, path)
        if not 200 <= answer.status < 300:
            raise self._failure(method, path, answer, content)
        return Answer(answer.status, content)

    def _send(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], body: Any, read_s: float | None
    ) -> urllib3.BaseHTTPResponse:
        client = self._client()
        try:
            prepared = client.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params=dict(headers),
                body=body,
                auth_settings=["BearerToken"],
            )
            timeout = None if read_s is None else (CONNECT_S, read_s)
            answer: urllib3.BaseHTTPResponse = client.call_api(*prepared, _request_timeout=timeout).response
        except AdapterError:
            raise
        except Exception as error:
            # Its own errors: a TLS handshake that failed, a token file or an exec plugin that gave nothing.
            raise TransientError(f"{method} {path} was not sent: {_one_line(error)}") from error
        return answer

    @staticmethod
    def _read(answer: urllib3.BaseHTTPResponse, path: str) -> bytes:
        try:
            body: bytes = answer.read()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise TransientError(f"the answer to {path} broke off: {_one_line(error)}") from error
        answer.release_conn()
        return body

    def _failure(self, method: str, path: str, answer: urllib3.BaseHTTPResponse, body: bytes) -> AdapterError:
        return failure(answer.status, answer.headers, body, f"{method} {path}", self._context)

    # --- the client --------------------------------------------------------------------------------------------

    def _client(self) -> ApiClient:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> ApiClient:
        from kubernetes.client.api_client import ApiClient
        from kubernetes.client.configuration import Configuration
        from kubernetes.config import ConfigException

        configuration = Configuration(host=self._context.url)
        try:
            own = self._configure(configuration)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigRejected(f"the cluster's configuration cannot be used: {_one_line(error)}") from error
        configuration.retries = False
        client = ApiClient(configuration)
        client.user_agent = "runlink-kubernetes"
        made = client.rest_client.pool_manager
        options = {name: value for name, value in made.connection_pool_kw.items() if not name.startswith("_")}
        options.pop("retries", None)
        if not own:  # the engine's `verify_tls` decides
            options = {name: value for name, value in options.items() if name not in _TLS_OF_CLIENT}
        if isinstance(made, urllib3.ProxyManager) and made.proxy is not None:
            options |= {"proxy_url": made.proxy.url, "proxy_headers": made.proxy_headers}
        client.rest_client.pool_manager = self._context.urllib3_pools(**options)
        return client

    def _configure(self, configuration: Any) -> bool:
        """Fills it in; returns whether address and TLS settings came from a kubeconfig or the pod."""
        from kubernetes.config import load_incluster_config, load_kube_config

        config = self._config
        if config.get("in_cluster"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return True
        if "kubeconfig" in config or "context" in config:
            load_kube_config(  # type: ignore[no-untyped-call]
                config_file=config.get("kubeconfig"),
                context=config.get("context"),
                client_configuration=configuration,
                persist_config=False,
            )
            return True
        if "token" in config:
            configuration.api_key["BearerToken"] = f"Bearer {config['token']}"
        return False


def failure(status: int, headers: Mapping[str, str], body: bytes, what: str, context: Context) -> AdapterError:
    """The error for an answer: 410 is CursorExpired; 404 is NotFound only where it is the object that is not found.

    A 404 that is no Status comes from a server that does not know the resource (the CRD is not there, or not yet).
    """
    try:
        told = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        told = Status()  # a proxy's page, which may show what it was asked with, the token included
    text = f"{what}: {told.message}" if told.message else what
    if status == 410:
        return CursorExpired(text)
    if status == 404 and not (told.kind == "Status" and told.details is not None and told.details.name):
        return TransientError(
            f"{text} (HTTP 404): the server does not know this resource; is its CRD installed?", retry_after_s=60.0
        )
    known = error_for(status, headers, text, context.now())
    if isinstance(known, TransientError) and known.retry_after_s is None and told.details is not None:
        known.retry_after_s = told.details.retry_after_seconds
    return known or TransientError(f"{text} answered HTTP {status}, which is not understood")


class ChunkedStream:
    """A watch as the client's own connection gives it."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, what: str) -> None:
        self._answer: Any = answer
        self._what = what
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            while chunk := self._answer.read1(CHUNK_BYTES):
                yield chunk
        except AdapterError:
            raise
        except Exception as error:
            # What a reader meets whose connection another thread has ended is not always one of urllib3's errors.
            if not self._ended and not isinstance(error, urllib3.exceptions.HTTPError | OSError):
                raise
            raise TransientError(f"the stream {self._what} broke off: {_one_line(error)}") from error

    def end(self) -> None:
        """Ends the connection; may be called from any thread, more than once."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # where it has ended already
            self._answer.shutdown()
        self._answer.close()


class ClusterSource(Generic[T]):
    """Lists, streams and objects of one kind from the API server."""

    def __init__(self, cluster: Cluster, kind: Kind[T], label_selector: str = "") -> None:
        self._cluster = cluster
        self._kind = kind
        self._selector = [("labelSelector", label_selector)] if label_selector else []

    def page(self, scope: str, limit: int, after: str) -> bytes:
        """A page of the list of a namespace ("" is all). Never with a resourceVersion: that would be the cache's."""
        query = [*self._selector, ("limit", str(limit)), *([("continue", after)] if after else [])]
        return self._cluster.get(self._kind.path(scope), query).body

    def stream(self, scope: str, version: str, timeout_s: int, silence_s: float) -> ChunkedStream:
        """A watch from a version, with bookmarks."""
        query = [
            *self._selector,
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(timeout_s)),
        ]
        return self._cluster.stream(self._kind.path(scope), query, silence_s)

    def one(self, namespace: str, name: str) -> bytes | None:
        """One object; None when the server says that there is none of this name."""
        try:
            return self._cluster.get(self._kind.path(namespace, name)).body
        except NotFound:
            return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
