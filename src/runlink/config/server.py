"""The `[server]` table: where the server listens, and whom it believes. `load` comes here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runlink.application.settings import ServerSettings

_FLOATS = ("session_ttl_s",)
_FILES = ("tls_certificate", "tls_key")


def server_settings(table: Mapping[str, Any], folder: Path) -> ServerSettings:
    """The settings of a table that was found sound; paths in it are relative to `folder`."""
    given: dict[str, Any] = dict(table)
    for key in _FLOATS:
        if key in given:
            given[key] = float(given[key])
    for key in _FILES:
        if key in given:
            given[key] = folder / Path(given[key]).expanduser()
    if "public_url" in given:
        given["public_url"] = given["public_url"].strip().rstrip("/")
    given["trusted_proxies"] = tuple(given.get("trusted_proxies", ()))
    return ServerSettings(**given)


def server_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the table beyond its schema: above all an address that others reach, unprotected."""
    listen = table.get("listen", ServerSettings.listen)
    if isinstance(listen, str):
        yield from (f"server.listen: {reason}" for reason in _listen_problems(listen, table))
    if ("tls_certificate" in table) != ("tls_key" in table):
        yield "server.tls_key: tls_certificate and tls_key go together; give both or neither"
    url = table.get("public_url")
    if isinstance(url, str):
        yield from (f"server.public_url: {reason}" for reason in _url_problems(url))
    proxies = table.get("trusted_proxies", ())
    for index, proxy in enumerate(proxies if isinstance(proxies, list) else ()):
        if isinstance(proxy, str) and not _is_network(proxy):
            yield f"server.trusted_proxies[{index}]: {proxy!r} is no address or network such as 10.0.0.5 or 10.0.0.0/8"


def _listen_problems(listen: str, table: Mapping[str, Any]) -> Iterator[str]:
    host, _, port = listen.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        if not 0 <= int(port) <= 65535:
            raise ValueError(port)
    except ValueError:
        yield f"{listen!r} is no address and port such as 127.0.0.1:8765 or [::1]:8765"
        return
    if not address.is_loopback and "tls_certificate" not in table and not table.get("trusted_proxies"):
        yield (
            f"{host} is reached from other machines, and passwords would pass in the clear; give tls_certificate and "
            "tls_key, or trusted_proxies where a proxy in front ends TLS, or listen at 127.0.0.1"
        )


def _url_problems(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        yield "is not a valid address"
        return
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        yield "is not an address such as https://runlink.example.org"
    elif parts.path.strip("/") or parts.query or parts.fragment:
        yield "has a path, query or fragment; the server answers at the root of its own host name alone"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
