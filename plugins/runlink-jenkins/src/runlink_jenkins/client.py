"""How Jenkins is asked: one guarded read on python-jenkins, and the paths and errors of its API.

Every other module of this plugin comes here for whatever it wants to know of the server.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import jenkins
import msgspec
import requests
import requests.auth
import requests.utils

from runlink.spi import AdapterError, Context, Refused, TransientError, error_for

TIMEOUT_S: Final = 300
"""A ceiling of our own, because python-jenkins sets no time limit at all; the host's, which is lower, comes first."""

LONGEST_URL: Final = 6000
"""Jenkins 2.426.2 (Jetty 10.0.18): a URL of about 8 KB or more is answered with 414. Proxies may take less."""


class AnswerError(TransientError):
    """The server took the question and failed at it (500, HTML where JSON was due): another question may succeed."""


class _UrlTooLong(Refused):
    """414: the same question has to be POSTed."""


class _ForbiddenError(AdapterError):
    """403 to a POST, where a password (unlike an API token) needs a crumb."""


@functools.lru_cache(maxsize=65536)
def path_of(full_name: str) -> str:
    """`a/b` -> `/job/a/job/b`, each part percent-encoded; "" for the root.

    A branch job's fullName holds its name already encoded (`app/feature%2Fx`); Jenkins expects that encoded again.
    """
    return "".join(f"/job/{quote(part, safe='')}" for part in full_name.split("/") if part)


class Client:
    """Reads one Jenkins. All errors are `AdapterError`s; none of python-jenkins' or requests' own leaves it.

    version     the X-Jenkins header last seen, None before any
    restarted   whether X-Jenkins-Session, which is new at each start of the server, changed since `begin_turn`
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.base_url = context.url.rstrip("/")
        self.version: str | None = None
        self.restarted = False
        self._sessions: dict[str, None] = {}
        self._jenkins = _connection(context)
        self._session = self._jenkins._session  # noqa: SLF001 - python-jenkins has no public door to its session
        self._session.hooks["response"].append(self._judge)

    def begin_turn(self) -> None:
        """What was seen of a restart belongs to the turn before."""
        self.restarted = False

    def read(self, path: str, tree: str = "") -> Mapping[str, Any]:
        """The object at `path` (`/job/a/7`, "" for the root), as much of it as `tree` asks for; one request.

        Raises NotFound (which may be a lost permission), CredentialsRejected, AnswerError and TransientError.
        """
        url = f"{self.base_url}{path}/api/json"
        query = f"?tree={quote(tree, safe='[]{},*')}" if tree else ""
        if len(url) + len(query) <= LONGEST_URL:
            try:
                return self._json(requests.Request("GET", url + query))
            except _UrlTooLong:
                pass
        return self._post(url, tree)

    def read_raw(self, path: str) -> Mapping[str, Any]:
        """The JSON object at a path that is not part of the core's API (`…/wfapi/describe`). Raises as `read`."""
        return self._json(requests.Request("GET", f"{self.base_url}{path}"))

    def _post(self, url: str, tree: str) -> Mapping[str, Any]:
        """The tree as a form field: an API token needs no crumb for it, a password does."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"tree": tree})
        try:
            return self._json(requests.Request("POST", url, data=body, headers=dict(form)))
        except _ForbiddenError:
            self._jenkins.crumb = None
            try:
                return self._json(requests.Request("POST", url, data=body, headers=dict(form)), crumb=True)
            except _ForbiddenError as error:
                raise error_for(403, {}, f"POST {url}", self._context.now()) or error from None

    def _json(self, request: requests.Request, *, crumb: bool = False) -> Mapping[str, Any]:
        what = f"{request.method} {request.url.partition('?')[0]}"
        request.headers["Accept-Encoding"] = "gzip"
        try:
            answer = self._jenkins.jenkins_request(request, add_crumb=crumb, resolve_auth=False)
        except AdapterError:
            raise
        except (jenkins.JenkinsException, requests.RequestException, ValueError) as error:
            raise TransientError(f"{what} failed: {type(error).__name__}") from None
        return _decoded(answer.content, what)

    def _judge(self, answer: requests.Response, **_: Any) -> None:
        """Sees every answer before python-jenkins makes an exception of it that has lost the status."""
        self.version = answer.headers.get("X-Jenkins", self.version)
        session = answer.headers.get("X-Jenkins-Session")
        if session and session not in self._sessions:
            self.restarted = self.restarted or bool(self._sessions)
            self._sessions[session] = None
        method, url = answer.request.method, str(answer.request.url).partition("?")[0]
        if answer.status_code == 414:
            raise _UrlTooLong(f"{method} {url} answered HTTP 414")
        if answer.status_code == 403 and method == "POST":
            raise _ForbiddenError(f"{method} {url} answered HTTP 403")
        error = error_for(answer.status_code, answer.headers, f"{method} {url}", self._context.now())
        if error is not None and answer.status_code == 500:
            raise AnswerError(str(error))
        if error is not None:
            raise error


def _connection(context: Context) -> Any:
    """python-jenkins, under the host's budget and time limits, sending the credentials without a trial request."""
    user, token = context.config.get("user"), context.config.get("token")
    connection = jenkins.Jenkins(context.url, user, token, timeout=TIMEOUT_S, retries=0)
    session = connection._session  # noqa: SLF001 - see Client
    guarded = context.requests_adapter()
    session.mount("http://", guarded)
    session.mount("https://", guarded)
    # The environment is asked once for its proxies, not per request (0.5 ms each), and never for a .netrc.
    session.proxies = dict(requests.utils.get_environ_proxies(context.url))
    session.trust_env = False
    # With requests-kerberos installed python-jenkins would find out by trial which credentials work.
    connection._auth_resolved = True  # noqa: SLF001
    if user and token:
        session.auth = requests.auth.HTTPBasicAuth(user.encode(), token.encode())
    return connection


def _decoded(body: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _decoded_leniently(body)
    if not isinstance(value, dict):
        raise AnswerError(f"{what} answered no JSON object (a proxy or a login page in between, or a starting server)")
    return value


def _decoded_leniently(body: bytes) -> Any:
    """JSON whose texts are not clean Unicode (a lone surrogate in a build log's description), None for no JSON."""
    try:
        value = json.loads(body.decode("utf-8", "replace"))
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
