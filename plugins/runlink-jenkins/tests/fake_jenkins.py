"""A Jenkins in memory that answers the JSON API, `tree` queries included. The tests and the benchmarks come here.

Behaves as the recordings' README says of Jenkins 2.426.2: ranges, `builds` ending at 100, unknown names ignored, HTML
errors, 404 for what may not be seen, 414, 503 while starting. `FakeJenkins.handle` is a handler for
`runlink.testing.serve_exchanges`. Thousands of jobs and builds are fast: a build's JSON is kept per query.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]
HTML = b"<!DOCTYPE html><html><head><title>%s [Jenkins]</title></head><body>no JSON here</body></html>"
FREESTYLE, PIPELINE = "hudson.model.FreeStyleProject", "org.jenkinsci.plugins.workflow.job.WorkflowJob"
FREESTYLE_BUILD, PIPELINE_BUILD = "hudson.model.FreeStyleBuild", "org.jenkinsci.plugins.workflow.job.WorkflowRun"
FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
T0 = 1_795_445_000_000
"""Some moment of the recordings, in ms: 2026-11-23T14:43:20Z."""


# --- tree queries ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Wanted:
    """One name of a tree query with what is asked of it, and its range."""

    text: str
    names: Mapping[str, Wanted]
    start: int = 0
    stop: int | None = None


class BadTree(Exception):
    pass


def parse_tree(text: str) -> Wanted:
    """`a,b[c]{0,5}` as nested names. Raises BadTree for one that is not balanced."""
    names, rest = _names(text)
    if rest:
        raise BadTree(rest)
    return Wanted(text, names)


def _names(text: str) -> tuple[dict[str, Wanted], str]:
    names: dict[str, Wanted] = {}
    while True:
        match = re.match(r"[A-Za-z_*][A-Za-z0-9_*]*", text)
        if not match:
            raise BadTree(text)
        name, whole, text = match[0], text, text[match.end() :]
        inner: dict[str, Wanted] = {}
        if text.startswith("["):
            inner, text = _names(text[1:])
            if not text.startswith("]"):
                raise BadTree(text)
            text = text[1:]
        start, stop = 0, None
        if bounds := re.match(r"\{(\d*)(,?)(\d*)\}", text):
            start = int(bounds[1] or 0)
            stop = int(bounds[3]) if bounds[3] else None if bounds[2] else start + 1
            text = text[bounds.end() :]
        names[name] = Wanted(whole[: len(whole) - len(text)], inner, start, stop)
        if not text.startswith(","):
            return names, text
        text = text[1:]


# --- the model ------------------------------------------------------------------------------------------------------
class Build:
    """One build; change its fields with `set`."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self._rendered: dict[str, str] = {}

    @property
    def number(self) -> int:
        return int(self.fields["number"])

    def set(self, **fields: Any) -> None:
        self.fields |= fields
        self._rendered.clear()

    def render(self, wanted: Wanted) -> str:
        text = self._rendered.get(wanted.text)
        if text is None:
            text = self._rendered[wanted.text] = json.dumps(select(self.fields, wanted), ensure_ascii=False)
        return text


def select(value: Any, wanted: Wanted) -> Any:
    """What a tree leaves of a plain value: `_class` always, of objects without asked-for names `_class` alone."""
    if isinstance(value, list):
        return [select(item, wanted) for item in value[wanted.start : wanted.stop]]
    if not isinstance(value, dict):
        return value
    names = wanted.names
    chosen = {k: select(v, names.get(k) or Wanted("*", {})) for k, v in value.items() if k in names or "*" in names}
    return ({"_class": value["_class"]} if "_class" in value else {}) | chosen


@dataclass
class Item:
    """A job, or a folder where `children` is a dictionary."""

    name: str
    full_name: str
    klass: str = FREESTYLE
    children: dict[str, Item] | None = None
    builds: list[Build] = field(default_factory=list)
    next: int = 1
    color: str = "notbuilt"
    hidden: bool = False
    broken: bool = False

    def build(self, number: int) -> Build | None:
        return next((b for b in self.builds if b.number == number), None)


def job_of(item: Mapping[str, Any]) -> str:
    """The fullName of a queue item's job; recorded items have only its address."""
    task = item["task"]
    return task.get("fullName") or "/".join(unquote(p) for p in urlsplit(task.get("url", "")).path.split("/")[2::2])


class FakeJenkins:
    """The server. `requests` has what it was asked, as (method, path, tree)."""

    def __init__(self, *, user: str | None = None, token: str | None = None, is_token: bool = True) -> None:
        self.root = Item("", "", "hudson.model.Hudson", {})
        self.queue: dict[int, dict[str, Any]] = {}
        self.left: dict[int, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.user, self.token, self.is_token = user, token, is_token
        self.session, self.starting, self.quieting_down = "session-1", False, False
        self.longest_url = 8000
        self.stages: dict[tuple[str, int], Any] | None = None
        self.configured_url = "http://jenkins.test"
        self._trees: dict[str, Wanted] = {}

    # --- changing it --------------------------------------------------------------------------------------------
    def job(self, full_name: str, klass: str = FREESTYLE) -> Item:
        """The job, made with its folders where it is not there."""
        parent, path = self.root, ""
        *folders, last = full_name.split("/")
        for name in folders:
            path = f"{path}/{name}" if path else name
            assert parent.children is not None
            parent = parent.children.setdefault(name, Item(name, path, FOLDER, {}))
        assert parent.children is not None
        return parent.children.setdefault(last, Item(last, full_name, klass))

    def delete(self, full_name: str) -> None:
        folder, _, name = full_name.rpartition("/")
        children = (self.find(folder) if folder else self.root).children  # type: ignore[union-attr]
        assert children is not None
        del children[name]

    def find(self, full_name: str) -> Item | None:
        item: Item | None = self.root
        for name in full_name.split("/"):
            item = (item.children or {}).get(name) if item else None
        return item

    def build(self, full_name: str, **fields: Any) -> Build:
        """A new build of a job, SUCCESS after 100 ms unless told."""
        job = self.job(full_name)
        number = job.next
        job.next += 1
        pipeline = job.klass == PIPELINE
        given: dict[str, Any] = {
            "_class": PIPELINE_BUILD if pipeline else FREESTYLE_BUILD,
            "number": number,
            "url": f"{self.configured_url}/job/x/{number}/",
            "result": "SUCCESS",
            "building": False,
            "timestamp": T0 + number * 1000,
            "duration": 100,
            "estimatedDuration": 100,
            "queueId": number,
            "displayName": f"#{number}",
            "description": None,
            "keepLog": False,
            "actions": [
                {
                    "_class": "hudson.model.CauseAction",
                    "causes": [
                        {
                            "_class": "hudson.model.Cause$UserIdCause",
                            "shortDescription": "Started by user admin",
                            "userId": "admin",
                            "userName": "admin",
                        }
                    ],
                },
                {},
            ],
        }
        if not pipeline:
            given["builtOn"] = ""
        build = Build(**(given | fields))
        job.builds.insert(0, build)
        job.color = "blue_anime" if build.fields["building"] else "blue"
        return build

    def fill(self, full_name: str, builds: int) -> None:
        """Many ended builds, a minute apart, the newest at T0."""
        for number in range(builds):
            self.build(full_name, timestamp=T0 - (builds - number) * 60_000, queueId=1000 + number)

    def wait(self, number: int, full_name: str, since: int = T0, **fields: Any) -> None:
        """A queue item."""
        self.queue[number] = {
            "_class": "hudson.model.Queue$WaitingItem",
            "actions": [],
            "id": number,
            "inQueueSince": since,
            "stuck": False,
            "task": {"_class": FREESTYLE, "fullName": full_name, "name": full_name.rpartition("/")[2]},
            "why": "In the quiet period. Expires in 1.6 sec",
        } | fields

    def leave(self, number: int, **fields: Any) -> None:
        """The item leaves the queue: `executable={"number": 1}` or `cancelled=True`."""
        item = self.queue.pop(number)
        self.left[number] = item | {"_class": "hudson.model.Queue$LeftItem", "why": None, "cancelled": False} | fields

    # --- answering ----------------------------------------------------------------------------------------------
    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request: (status, headers, body)."""
        given = {k.lower(): v for k, v in headers.items()}
        parts = urlsplit(path)
        form = parse_qs(body.decode()) if method == "POST" else {}
        tree = (parse_qs(parts.query).get("tree") or form.get("tree") or [""])[0]
        self.requests.append((method, parts.path, tree))
        if len(path) > self.longest_url:
            return 414, {}, b"<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>"
        if self.starting:
            return (503 if method == "GET" else 403), {"Content-Type": "text/html"}, HTML % b"Starting Jenkins"
        common = {"X-Jenkins": "2.426.2", "X-Jenkins-Session": self.session, "Content-Type": "application/json"}
        refused = self._refused(method, parts.path, given)
        if refused:
            return refused, common, HTML % b"refused"
        try:
            text = self._answer(unquote(parts.path, errors="strict"), parts.path, tree)
        except BadTree:
            return 500, common, HTML % b"Oops"
        if text is None:
            return 404, common, HTML % b"Not Found"
        return 200, common, text.encode()

    def _refused(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        if self.user is None:
            return 0
        expected = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
        given = headers.get("authorization")
        if given is None:
            return 403
        if given != f"Basic {expected}":
            return 401
        needs_crumb = method == "POST" and not self.is_token
        return 403 if needs_crumb and headers.get("jenkins-crumb") != "dummy-crumb" else 0

    def _answer(self, _path: str, raw_path: str, tree: str) -> str | None:
        if raw_path.endswith("/wfapi/describe"):
            return self._wfapi(raw_path.removesuffix("/wfapi/describe"))
        if not raw_path.endswith("/api/json"):
            return None
        wanted = self._trees.get(tree)
        if wanted is None:
            wanted = self._trees[tree] = parse_tree(tree) if tree else Wanted("", {"*": Wanted("*", {})})
        where = raw_path.removesuffix("/api/json")
        if where == "/whoAmI":
            name = self.user or "anonymous"
            return json.dumps({"anonymous": self.user is None, "authenticated": True, "name": name})
        if where == "/crumbIssuer":
            return json.dumps({"crumb": "dummy-crumb", "crumbRequestField": "Jenkins-Crumb"})
        if where == "/queue":
            items = sorted(self.queue.values(), key=lambda i: -i["id"])
            return json.dumps(select({"_class": "hudson.model.Queue", "items": items}, wanted))
        if where.startswith("/queue/item/"):
            number = int(where.rpartition("/")[2])
            item = self.queue.get(number) or self.left.get(number)
            return json.dumps(item) if item else None
        found = self._at(where)
        if isinstance(found, Build):
            if tree:
                return found.render(wanted)
            return json.dumps(found.fields)
        return self._render(found, wanted) if found else None

    def _at(self, where: str) -> Item | Build | None:
        parts = [unquote(p) for p in where.split("/")[1:]]
        item = self.root
        while parts:
            if parts[0] != "job":
                return item.build(int(parts[0])) if len(parts) == 1 and parts[0].isdigit() else None
            child = (item.children or {}).get(parts[1])
            if child is None or child.hidden:
                return None
            item, parts = child, parts[2:]
        return item

    def _wfapi(self, where: str) -> str | None:
        build = self._at(where)
        if self.stages is None or not isinstance(build, Build):
            return None
        job = "/".join(unquote(p) for p in where.split("/")[2::2])
        found = self.stages.get((job, build.number))
        return json.dumps(found) if found is not None else None

    def _render(self, item: Item, wanted: Wanted) -> str:
        parts = [f'"_class":"{item.klass}"']
        parts += [f'"{name}":{text}' for name, text in self._properties(item, wanted.names)]
        return "{" + ",".join(parts) + "}"

    def _properties(self, item: Item, names: Mapping[str, Wanted]) -> Iterator[tuple[str, str]]:
        for name, wanted in names.items():
            if name in ("fullName", "name") and item is not self.root:
                yield name, json.dumps(item.full_name if name == "fullName" else item.name, ensure_ascii=False)
            elif name == "jobs" and item.children is not None:
                children = [c for c in item.children.values() if not c.hidden][wanted.start : wanted.stop]
                yield name, "[" + ",".join(self._render(c, wanted) for c in children) + "]"
            elif name == "quietingDown" and item is self.root:
                yield name, json.dumps(self.quieting_down)
            elif item.children is None:
                yield from self._job_property(item, name, wanted)

    def _job_property(self, job: Item, name: str, wanted: Wanted) -> Iterator[tuple[str, str]]:
        if name == "nextBuildNumber":
            yield name, str(job.next)
        elif name == "color":
            yield name, json.dumps(job.color)
        elif name == "inQueue":
            yield name, json.dumps(any(job_of(item) == job.full_name for item in self.queue.values()))
        elif name == "lastBuild":
            yield name, job.builds[0].render(wanted) if job.builds else "null"
        elif name in ("builds", "allBuilds"):
            if job.broken:
                raise BadTree("a record that cannot be loaded")
            builds = job.builds[:100] if name == "builds" else job.builds
            yield name, "[" + ",".join(b.render(wanted) for b in builds[wanted.start : wanted.stop]) + "]"
