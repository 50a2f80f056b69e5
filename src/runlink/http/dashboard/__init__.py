"""The dashboard: a page, its style and its scripts, as they lie in this folder. `app` comes here for their routes.

There is no build step, and nothing is loaded from elsewhere. The page holds no data: its scripts ask the API, as any
program does, so whoever may not read sees an empty page and is sent to `/login`. Which file is for what stands in
docs/explanation/architecture.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

VIEWS: Final = ("/", "/runs", "/runs/{id}", "/engines", "/inbox", "/deliveries")
"""Where the page is; its script looks at the address and decides what it shows."""
ASSETS: Final = "/static/dashboard"
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}


def routes() -> list[Route]:
    """The page at each of its addresses, and what it is made of."""
    here = files("runlink.http.dashboard")
    assets = [*_found(here, ".css", ".svg"), *_found(here.joinpath("scripts"), ".js")]
    index = _file(here.joinpath("index.html"))
    return [
        *(Route(path, index) for path in VIEWS),
        *(Route(f"{ASSETS}/{asset.name}", _file(asset)) for asset in assets),
    ]


def page(status: int) -> Response:
    """The page at an address that it does not know; its script says so."""
    return Response(files("runlink.http.dashboard").joinpath("index.html").read_bytes(), status, media_type="text/html")


def _found(folder: Traversable, *endings: str) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(endings)), key=lambda file: file.name)


def _file(file: Traversable) -> Callable[[Request], Any]:
    """An endpoint that gives a file. Browsers ask each time whether theirs is still the one, so an upgrade shows."""
    content = file.read_bytes()
    media_type = _TYPES[file.name.rpartition(".")[2]]
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}

    async def given(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(None, 304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return given
