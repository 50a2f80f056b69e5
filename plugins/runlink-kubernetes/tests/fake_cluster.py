"""An API server on loopback that keeps a history and answers as the recorded one did, with faults on demand.

It serves lists in pages from one version, watches as chunked streams, single objects, and (on the same port) an Argo
Server's archive. A fault is taken from `faults` by the next list page or watch; what each means is in `FAULTS`.
"""

import base64
import copy
import gzip
import http.server
import json
import socket
import threading
from collections import deque
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

RECORDINGS = Path(__file__).with_name("recordings")
FAULTS = {
    "list": ("429", "503", "cut", "410", "slow-down"),
    "watch": ("429", "410", "http-410", "500", "cut", "end", "silence", "error-500", "restart", "compact"),
}


def recorded(name):
    """The recorded answer whose file name begins with `name`."""
    (path,) = RECORDINGS.glob(f"{name}*.json")
    return json.loads(path.read_text("utf-8"))["response"]


def recorded_items(name="04"):
    return json.loads(recorded(name)["body"])["items"]


def recorded_events(name):
    (path,) = RECORDINGS.glob(f"{name}*.jsonl")
    told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(each["line"]) for each in told if "line" in each]


def status_body(code, reason, message, **more):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code, **more}  # fmt: skip


class FakeCluster:
    """`log`: (version, type, object) in order. Safe to change while it serves."""

    def __init__(self, plural="workflows", api="/apis/argoproj.io/v1alpha1"):
        self.plural, self.api = plural, api
        self.log = []
        self.version = 0
        self.compacted = 0
        self.bookmarks = True
        self.faults = {"list": deque(), "watch": deque()}
        self.requests = []
        self.denied = set()  # (verb, namespace)
        self.archive = {}
        self.archive_down = False
        self.follow = False  # keep streams open for what comes
        self.overrides = {}  # path -> (status, headers, body)
        self.patches = []
        self._lock = threading.Condition()

    # --- what happens in the cluster ---------------------------------------------------------------------------

    def load(self, items, version):
        with self._lock:
            for item in items:
                self.log.append((int(item["metadata"]["resourceVersion"]), "ADDED", item))
            self.log.sort(key=lambda each: each[0])
            self.version = version

    def put(self, item):
        with self._lock:
            item = copy.deepcopy(item)
            key = (item["metadata"]["namespace"], item["metadata"]["name"])
            kind = "MODIFIED" if key in self._state(self.version) else "ADDED"
            self._append(kind, item)

    def delete(self, namespace, name):
        with self._lock:
            self._append("DELETED", copy.deepcopy(self._state(self.version)[namespace, name]))

    def event(self, event):
        """A recorded one, under a version of ours."""
        with self._lock:
            self._append(event["type"], copy.deepcopy(event["object"]))

    def change(self, namespace, name, spec=None, **status):
        item = copy.deepcopy(self.get(namespace, name))
        item.setdefault("status", {}).update(status)
        item["spec"].update(spec or {})
        self.put(item)

    def get(self, namespace, name):
        return self._state(self.version).get((namespace, name))

    def restart(self):
        """The watch cache is empty: no version before this one can be watched from."""
        self.compacted = self.version

    def _append(self, kind, item):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, item))
        self._lock.notify_all()

    def _state(self, version):
        state = {}
        for at, kind, item in self.log:
            if at > version:
                break
            key = (item["metadata"]["namespace"], item["metadata"]["name"])
            if kind == "DELETED":
                state.pop(key, None)
            else:
                state[key] = item
        return state

    # --- serving -----------------------------------------------------------------------------------------------

    def __enter__(self):
        cluster = self

        class Incoming(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                cluster.sockets.append(self.connection)

            def log_message(self, *args):
                pass

            def _serve(self):
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                cluster.requests.append((self.command, parts.path, query, dict(self.headers)))
                try:
                    cluster.answer(self, parts.path, query, body)
                except (BrokenPipeError, ConnectionResetError, OSError):
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = _serve  # noqa: N815

        self.sockets = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Incoming)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.closed = False
        return self

    def __exit__(self, *_):
        with self._lock:
            self.closed = True
            self._lock.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def lists(self):
        """Queries of list pages so far."""
        return [q for m, p, q, _ in self.requests if p.endswith(self.plural) and "watch" not in q]

    def watches(self):
        return [q for m, p, q, _ in self.requests if p.endswith(self.plural) and "watch" in q]

    def answer(self, to, path, query, body):
        if path in self.overrides:
            return self._send(to, *self.overrides[path])
        if path == "/version":
            return self._send(to, 200, {}, {"gitVersion": "v1.36.2"})
        if path.endswith("selfsubjectaccessreviews"):
            told = json.loads(body)["spec"]["resourceAttributes"]
            allowed = (told["verb"], told["namespace"]) not in self.denied
            return self._send(to, 201, {}, {"status": {"allowed": allowed}})
        if path == self.api:
            return self._send(to, 200, {}, {"resources": [{"name": self.plural}]})
        if path.startswith("/api/v1/"):
            return self._argo_server(to, path, query)
        parts = path.removeprefix(self.api).strip("/").split("/")
        namespace = parts[1] if parts[0] == "namespaces" else ""
        rest = parts[2:] if namespace else parts
        if not path.startswith(self.api) or rest[0] != self.plural:
            return self._send(to, 404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        if len(rest) == 2:
            return self._one(to, namespace, rest[1], body)
        verb = "watch" if "watch" in query else "list"
        if (verb, namespace) in self.denied:
            message = f"{self.plural} is forbidden: cannot {verb}"
            return self._send(to, 403, {}, status_body(403, "Forbidden", message))
        return self._watch(to, namespace, query) if verb == "watch" else self._list(to, namespace, query)

    def _send(self, to, status, headers, body):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        if "gzip" in (to.headers.get("Accept-Encoding") or "") and len(content) > 131072:
            content = gzip.compress(content, 1)
            headers["Content-Encoding"] = "gzip"
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(content)))
        to.end_headers()
        to.wfile.write(content)

    def _one(self, to, namespace, name, body):
        item = self.get(namespace, name)
        if item is None:
            details = {"name": name, "group": "argoproj.io", "kind": self.plural}
            return self._send(to, 404, {}, status_body(404, "NotFound", f'"{name}" not found', details=details))
        if to.command == "PATCH":
            self.patches.append((name, json.loads(body)))
            item = copy.deepcopy(item)
            held = item["metadata"].setdefault("finalizers", [])
            for op in self.patches[-1][1]:
                if op["op"] == "add":
                    held.extend(op["value"] if isinstance(op["value"], list) else [op["value"]])
                if op["op"] == "remove":
                    held.pop(int(op["path"].rpartition("/")[2]))
            if not held and item["metadata"].get("deletionTimestamp"):
                self.delete(namespace, name)
            else:
                self.put(item)
        return self._send(to, 200, {}, item)

    # --- lists -------------------------------------------------------------------------------------------------

    def _list(self, to, namespace, query):
        fault = self.faults["list"].popleft() if self.faults["list"] else None
        if fault == "429":
            return self._send(to, 429, {"Retry-After": "1", "Content-Type": "text/plain"}, b"Too many requests\n")
        if fault == "503":
            return self._send(to, 503, {"Retry-After": "5"}, status_body(503, "ServiceUnavailable", "starting"))
        if fault == "410" and "continue" in query:
            return self._send(to, 410, {}, json.loads(recorded("35")["body"]))
        version, start = self.version, 0
        if "continue" in query:
            told = json.loads(base64.b64decode(query["continue"]))
            version, start = told["rv"], told["start"]
        items = [item for (ns, _), item in sorted(self._state(version).items()) if namespace in ("", ns)]
        limit = int(query.get("limit") or len(items) or 1)
        page = items[start : start + limit]
        after = ""
        if start + limit < len(items):
            after = base64.b64encode(json.dumps({"rv": version, "start": start + limit}).encode()).decode()
        meta = {"resourceVersion": str(version), "continue": after}
        content = {"kind": "WorkflowList", "metadata": meta, "items": page}
        if fault == "cut":
            data = json.dumps(content).encode()
            to.send_response(200)
            to.send_header("Content-Length", str(len(data)))
            to.end_headers()
            to.wfile.write(data[: len(data) // 2])
            to.close_connection = True
            return None
        return self._send(to, 200, {}, content)

    # --- watches -----------------------------------------------------------------------------------------------

    def _watch(self, to, namespace, query):
        fault = self.faults["watch"].popleft() if self.faults["watch"] else (None, 0)
        kind, after = fault
        version = int(query["resourceVersion"])
        if kind == "429":
            return self._send(to, 429, {"Retry-After": "1"}, status_body(429, "TooManyRequests", "initializing"))
        if kind == "500":
            return self._send(to, 500, {}, status_body(500, "InternalError", "boom"))
        if kind == "http-410":
            return self._send(to, 410, {}, status_body(410, "Expired", "too old resource version"))
        if kind in ("restart", "compact"):
            self.restart()
        to.send_response(200)
        to.send_header("Content-Type", "application/json")
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        if version < self.compacted or (kind == "410" and after == 0):
            message = f"too old resource version: {version} ({self.compacted})"
            self._line(to, {"type": "ERROR", "object": status_body(410, "Expired", message)})
            return self._close(to)
        return self._tell(to, namespace, version, kind, after)

    def _tell(self, to, namespace, version, kind, after):
        told = 0
        seen = version
        while True:
            with self._lock:
                fresh = [e for e in self.log if e[0] > seen and namespace in ("", e[2]["metadata"]["namespace"])]
                if not fresh and self.follow and not self.closed:
                    self._lock.wait(0.5)
                    if self.closed:
                        return self._close(to)
                    continue
            for at, event, item in fresh:
                if kind is not None and told >= after and kind not in ("restart", "compact"):
                    return self._break(to, kind, {"type": event, "object": item})
                self._line(to, {"type": event, "object": item})
                seen, told = at, told + 1
            if not self.follow:
                if kind is not None and kind not in ("restart", "compact"):
                    return self._break(to, kind, None)
                if self.bookmarks:
                    meta = {"resourceVersion": str(max(self.version, version)), "creationTimestamp": None}
                    self._line(to, {"type": "BOOKMARK", "object": {"kind": "Workflow", "metadata": meta}})
                return self._close(to)

    def _break(self, to, kind, following):
        if kind == "cut" and following is not None:
            data = json.dumps(following).encode() + b"\n"
            half = data[: len(data) // 2]
            to.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
        if kind in ("cut",):
            to.wfile.flush()
            to.connection.shutdown(socket.SHUT_RDWR)
            to.close_connection = True
            return None
        if kind in ("410", "error-500"):
            code, reason = (410, "Expired") if kind == "410" else (500, "InternalError")
            self._line(to, {"type": "ERROR", "object": status_body(code, reason, "in the stream")})
        if kind == "silence":
            with self._lock:
                self._lock.wait_for(lambda: self.closed, 1.0)
            to.close_connection = True
            return None
        return self._close(to)

    @staticmethod
    def _line(to, event):
        data = json.dumps(event).encode() + b"\n"
        to.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    @staticmethod
    def _close(to):
        to.wfile.write(b"0\r\n\r\n")
        to.wfile.flush()

    # --- Argo Server -------------------------------------------------------------------------------------------

    def _argo_server(self, to, path, query):
        if self.archive_down:
            return self._send(to, 503, {}, {"code": 14, "message": "archive is down"})
        parts = path.removeprefix("/api/v1/").split("/")
        if parts[0] == "version":
            return self._send(to, 200, {}, {"version": "v4.1.2"})
        if parts[0] == "archived-workflows":
            if len(parts) == 1 or not parts[1]:
                return self._send(to, 200, {}, {"items": None})
            found = self.archive.get(parts[1])
            return self._send(to, 200, {}, found) if found else self._send(to, 404, {}, {"code": 5, "message": "no"})
        if parts[0] == "workflows" and len(parts) == 3:
            found = self.get(parts[1], parts[2])
            hydrated = self.archive.get(f"nodes:{found['metadata']['uid']}", {}) if found else {}
            if found and hydrated:
                found = {**found, "status": {**found["status"], "nodes": hydrated}}
            return self._send(to, 200, {}, found) if found else self._send(to, 404, {}, {"code": 5, "message": "no"})
        if parts[0] == "workflows":
            live = [item for (ns, _), item in sorted(self._state(self.version).items()) if parts[1] in ("", ns)]
            live += [item for uid, item in self.archive.items() if not uid.startswith("nodes:")]
            start, limit = (
                int(query.get("listOptions.continue", 0)),
                int(query.get("listOptions.limit", 0) or len(live)),
            )
            meta = {"continue": str(start + limit)} if start + limit < len(live) else {}
            return self._send(to, 200, {}, {"metadata": meta, "items": live[start : start + limit] or None})
        if parts[0] == "workflow-events":
            return self._server_events(to, parts[1], int(query["listOptions.resourceVersion"]))
        return self._send(to, 404, {}, {"code": 5, "message": "no such path"})

    def _server_events(self, to, namespace, version):
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        if version < self.compacted:
            message = f"too old resource version: {version} ({self.compacted})"
            self._line(to, {"error": {"grpc_code": 2, "http_code": 500, "message": message}})
        else:
            for at, event, item in self.log:
                if at > version and namespace in ("", item["metadata"]["namespace"]):
                    self._line(to, {"result": {"type": event, "object": item}})
        self._close(to)
