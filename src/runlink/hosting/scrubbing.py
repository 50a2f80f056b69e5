"""Takes out of an exchange whatever opens a door: configured secrets, and what names itself one.

Recordings come here. The engine's own secrets are known (`Redactor`); what a server hands out on the way (session
cookies, access tokens, crumbs) and what workflows are given as a parameter called `password` is known by its name.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from runlink.hosting.secrets import MASK, Redactor
from runlink.hosting.wire import Headers, Received, Sent

_SECRET_NAME: Final = re.compile(
    r"(pass(word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|authorization|"
    r"cookie2?|crumb|jwt|session[-_]?id|signature|csrf)$",
    re.IGNORECASE,
)
_PLACE_NAME: Final = re.compile(r"page|next|continu|cursor|sync|resume", re.IGNORECASE)
"""Tokens that name a place in a listing."""
_IN_TEXT: Final = re.compile(
    r"(?P<scheme>\b(?:Bearer|Basic)\s+)(?=[A-Za-z._~+/-]*[0-9=])[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
    re.DOTALL,
)
_IN_QUERY: Final = re.compile(r"(?P<name>[^?&=;\s]+)=(?P<value>[^&;\s]*)")
_USER: Final = re.compile(r"//[^/?#@]*@")
_LEARNT_FROM: Final = 8
"""Characters: shorter values are masked where they stand, and not looked for elsewhere."""


def is_secret_name(name: str) -> bool:
    """Whether a field, header, parameter or cookie of this name is taken to hold a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLACE_NAME.search(name)


class Scrubber:
    """Goes through the exchanges of one engine in their order: what one of them hands out is taken out of all later
    ones. May be called from any thread."""

    def __init__(self, known: Redactor) -> None:
        self._known = known
        self._learnt: set[str] = set()
        self._own = Redactor()
        self._lock = threading.Lock()

    def text(self, text: str) -> str:
        """Any text."""
        text = self._own.redact(self._known.redact(text))
        return _IN_TEXT.sub(lambda found: f"{found['scheme'] or ''}{MASK}", text)

    def url(self, url: str) -> str:
        """An address: no user, no secret in the query."""
        parts = urlsplit(_USER.sub("//", self._known.redact(url)))
        query = _IN_QUERY.sub(self._parameter, parts.query)
        return self.text(urlunsplit(parts._replace(query=query)))

    def headers(self, headers: Headers) -> list[list[str]]:
        """Pairs; of a cookie the name stays."""
        return [[name, self._header(name, value)] for name, value in headers]

    def body(self, body: bytes, content_type: str) -> dict[str, Any]:
        """What stands for a body in a recorded exchange: `json`, `body` (text) or `body_base64`."""
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if isinstance(value, dict | list):
            return {"json": self.value(value)}
        text = body.decode("utf-8", "surrogateescape")
        if "x-www-form-urlencoded" in content_type:
            text = _IN_QUERY.sub(self._parameter, text)
        text = self.text(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            return {"body_base64": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()}
        return {"body": text}

    def value(self, value: Any, name: str = "") -> Any:
        """JSON of any depth. `{"name": "TOKEN", "value": …}` is such a place too."""
        if isinstance(value, dict):
            named = next((value[key] for key in ("name", "key") if isinstance(value.get(key), str)), "")
            return {
                self.text(str(key)): self.value(part, named if key == "value" and is_secret_name(named) else str(key))
                for key, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(part, name) for part in value]
        if value is None or isinstance(value, bool):
            return value
        if name and is_secret_name(name):
            return self._learn(value) if isinstance(value, str) and value else value
        text = str(value)
        masked = self.text(text)
        return value if masked == text else masked

    def exchange(self, sent: Sent, answer: Received | str) -> dict[str, Any]:
        """An exchange as it is written; a text for an answer is the fault that came instead."""
        url = self.url(sent.url)
        parts = urlsplit(url)
        request: dict[str, Any] = {
            "method": sent.method,
            "url": url,
            "path": urlunsplit(("", "", parts.path or "/", parts.query, "")),
            "headers": self.headers(sent.headers),
        }
        if sent.body:
            request |= self.body(sent.body, _content_type(sent.headers))
        if isinstance(answer, str):
            return {"request": request, "fault": self.text(answer)}
        response = {"status": answer.status, "reason": answer.reason, "headers": self.headers(answer.headers)}
        return {"request": request, "response": response | self.body(answer.body, _content_type(answer.headers))}

    # --- what is learnt ----------------------------------------------------------------------------------------

    def _header(self, name: str, value: str) -> str:
        if name.lower() == "set-cookie":
            cookie, _, rest = value.partition(";")
            known, _, given = cookie.partition("=")
            self._learn(given)
            return self.text(f"{known}={MASK}{';' if rest else ''}{rest}")
        if is_secret_name(name):
            if name.lower() != "cookie":
                self._learn(value.rpartition(" ")[2])  # behind the scheme of an Authorization
            return MASK
        return self.text(value)

    def _parameter(self, found: re.Match[str]) -> str:
        if found["value"] and is_secret_name(found["name"]):
            return f"{found['name']}={self._learn(found['value'])}"
        return found[0]

    def _learn(self, value: str) -> str:
        with self._lock:
            if len(value) >= _LEARNT_FROM and value != MASK and value not in self._learnt:
                self._learnt.add(value)
                self._own = Redactor(self._learnt)
        return MASK


def _content_type(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")
