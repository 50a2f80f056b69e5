"""What can go wrong between an adapter and its engine, by name. `ScriptedEngine` and the contract come here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from runlink.testing.engine import Reply

RETRY_AFTER_S: Final = 7.0
"""What a 429 or 503 of these asks for."""
_HTML: Final = b"<!DOCTYPE html><html><head><title>%s</title></head><body><h1>%s</h1></body></html>"


def _status(status: int, **headers: str) -> Callable[[Reply], Reply]:
    title = f"{status} as scripted".encode()
    return lambda _reply: Reply(status, {"Content-Type": "text/html", **headers}, _HTML % (title, title))


def _wait(status: int) -> Callable[[Reply], Reply]:
    return _status(status, **{"Retry-After": f"{RETRY_AFTER_S:g}"})


def _half(reply: Reply) -> Reply:
    """A proxy that cut the body and told the size of what was left."""
    return reply._replace(body=reply.body[: len(reply.body) // 2] if isinstance(reply.body, bytes) else b"{")


FAULTS: Final[Mapping[str, Callable[[Reply], Reply]]] = {
    "401": _status(401),
    "403": _status(403),
    "404": _status(404),
    "429": _wait(429),
    "500": _status(500),
    "502": _status(502),
    "503": _wait(503),
    "html": lambda _reply: Reply(200, {"Content-Type": "text/html"}, _HTML % (b"Sign in", b"Sign in")),
    "half": _half,
    "empty": lambda reply: reply._replace(body=b""),
    "null": lambda reply: reply._replace(body=json.dumps(None).encode()),
    "cut": lambda reply: reply._replace(fault="cut"),
    "reset": lambda reply: reply._replace(fault="reset"),
    "hang": lambda reply: reply._replace(fault="hang"),
}
"""name -> what becomes of the true answer. `html`, `half`, `empty` and `null` come with status 200."""

PASSING: Final = ("429", "500", "502", "503", "html", "half", "cut", "reset")
"""Those of a bad moment: the same request, sent again later, is answered."""
