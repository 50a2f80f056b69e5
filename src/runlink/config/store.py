"""The `[store]` table: which database. `load` comes here, and bootstrap to join the address with its password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

_SQLITE: Final = "sqlite:///"
_SCHEMES: Final = ("sqlite", "postgresql")


def store_url(table: Mapping[str, Any], folder: Path) -> str:
    """The address of a table that was found sound; a SQLite path becomes absolute. It never holds a password."""
    url = str(table.get("url", f"{_SQLITE}runlink.db")).strip()
    if url.startswith(_SQLITE):
        path, question, query = url.removeprefix(_SQLITE).partition("?")
        return f"{_SQLITE}{(folder / Path(path).expanduser()).as_posix()}{question}{query}"
    return url


def store_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the table beyond its schema; no reason repeats the address, for it may hold a password."""
    url = table.get("url", f"{_SQLITE}runlink.db")
    if not isinstance(url, str) or not url:
        return
    try:
        parts = urlsplit(url.strip())
        password, host, _ = parts.password, parts.hostname, parts.port
    except ValueError:
        yield "store.url: is not a valid address"
        return
    if parts.scheme == "postgres":
        yield "store.url: begins with postgres://; write postgresql://"
    elif parts.scheme not in _SCHEMES:
        yield "store.url: is no database runlink can use; give sqlite:///PATH or postgresql://USER@HOST/DATABASE"
    elif password is not None or "password=" in parts.query.lower():
        yield 'store.url: holds a password; write it as password = { env = "VARIABLE" } or { file = "path" }'
    elif parts.scheme == "postgresql" and len(parts.path) < 2:
        yield "store.url: names no database; give postgresql://USER@HOST/DATABASE"
    elif parts.scheme == "sqlite" and (host or not url.startswith(_SQLITE) or parts.path in ("", "/", "/:memory:")):
        yield "store.url: names no file; give sqlite:///PATH, or sqlite:////PATH for an absolute one"
    if "password" in table and parts.scheme == "sqlite":
        yield "store.password: SQLite has no password; remove it"


def with_password(url: str, password: str) -> str:
    """A PostgreSQL address with its password, quoted, for the driver alone: never log it."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))
