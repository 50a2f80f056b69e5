"""One `[engines.NAME]` or `[[subscriptions]]` table: from TOML to settings, with what a JSON Schema cannot say.

`load` comes here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from runlink.application.problems import shown, toml_path
from runlink.application.settings import EngineSettings, Secret, Subscription, WebhookSettings

HOST_KEYS: Final = frozenset(f.name for f in fields(EngineSettings)) - {"name", "options"}


def engine_settings(name: str, table: Mapping[str, Any], folder: Path) -> EngineSettings:
    """The settings of a table that was found sound; paths in it are relative to `folder`."""
    given: dict[str, Any] = {k: v for k, v in table.items() if k in HOST_KEYS}
    for key in ("include", "exclude"):
        if key in given:
            given[key] = tuple(given[key])
    for key in ("poll_interval_s", "poll_deadline_s", "request_timeout_s", "lookback_s"):
        if key in given:
            given[key] = float(given[key])
    if isinstance(given.get("verify_tls"), str):
        given["verify_tls"] = placed(given["verify_tls"], folder)
    if "python" in given:
        given["python"] = placed(given["python"], folder)
    given["type"] = given["type"].strip().lower()
    given["url"] = given.get("url", "").strip().rstrip("/")
    if "webhook" in given:
        given["webhook"] = WebhookSettings(**_settled(given["webhook"], folder))
    options = {k: with_secrets(v, folder) for k, v in table.items() if k not in HOST_KEYS}
    return EngineSettings(name=name, options=options, **given)


def _settled(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A table whose `secrets` are references and whose seconds are numbers with a fraction."""
    given = {k: float(v) if k.endswith("_s") else v for k, v in table.items()}
    return {**given, "secrets": tuple(with_secrets(given.get("secrets", []), folder))}


def subscription(table: Mapping[str, Any], folder: Path) -> Subscription:
    """The settings of a `[[subscriptions]]` table that was found sound."""
    given = _settled(table, folder)
    if "events" in given:
        given["events"] = tuple(given["events"])
    return Subscription(**given)


def subscription_problems(tables: Sequence[Any]) -> Iterator[str]:
    """What is wrong with `[[subscriptions]]` beyond their schema, a line each."""
    names: dict[Any, int] = {}
    for index, table in enumerate(tables):
        if not isinstance(table, Mapping):
            continue
        at = ("subscriptions", index)
        name, url = table.get("name"), table.get("url")
        if isinstance(url, str):
            yield from (f"{toml_path((*at, 'url'))}: {reason}" for reason in url_problems(url, query=True))
        if isinstance(name, str) and name in names:
            yield f"{toml_path((*at, 'name'))}: {name!r} is the name of subscriptions[{names[name]}] too"
        names.setdefault(name, index)
        yield from _secret_problems(table, at)


def engine_problems(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a table beyond its schema, a line each."""
    at = ("engines", name)
    url = table.get("url")
    if isinstance(url, str):
        yield from (f"{toml_path((*at, 'url'))}: {reason}" for reason in url_problems(url))
    if "python" in table and table.get("isolation") != "process":
        yield f'{toml_path((*at, "python"))}: needs isolation = "process": this process cannot change its interpreter'
    options = {k: v for k, v in table.items() if k not in HOST_KEYS}
    yield from _secret_problems(options, at)
    webhook = table.get("webhook")
    yield from _secret_problems(webhook, (*at, "webhook"))
    if isinstance(webhook, Mapping) and webhook.get("authentication") == "runlink-token" and "secrets" in webhook:
        reason = "opens nothing with runlink-token, for which `runlink tokens` makes the tokens; take it out"
        yield f"{toml_path((*at, 'webhook', 'secrets'))}: {reason}"


def url_problems(url: str, *, query: bool = False) -> Iterator[str]:
    """Why an address cannot be an engine's; no reason repeats it, for it may hold a password."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        yield "is not a valid address"
        return
    if "@" in parts.netloc:
        yield "holds a user or password; write them as keys of their own, secrets as { env = … } or { file = … }"
    elif parts.scheme not in ("http", "https") or not parts.hostname:
        yield "is not an address such as https://jenkins.example.org"
    elif (parts.query and not query) or parts.fragment:
        yield "has a query or fragment; give the engine's base address alone"


def value_problems(value: Any, at: tuple[str | int, ...]) -> Iterator[str]:
    """The places of what TOML has and no setting can use: `nan` and `inf`, and text with U+0000, which no database
    keeps."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{toml_path(at)}: {value} is not a number that can be used"
    elif isinstance(value, str) and "\0" in value:
        yield f"{toml_path(at)}: {shown(value)} has a character U+0000, which cannot be kept; take it out"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if "\0" in key:
                yield f"{toml_path((*at, key))}: has a character U+0000 in its name, which cannot be kept; take it out"
            yield from value_problems(part, (*at, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from value_problems(part, (*at, index))


def with_secrets(value: Any, folder: Path) -> Any:
    """The value with each table `{ env = … }` or `{ file = … }` as a Secret; files are relative to `folder`."""
    if isinstance(value, Mapping):
        if value.keys() == {"env"}:
            return Secret(env=value["env"])
        if value.keys() == {"file"}:
            return Secret(file=placed(value["file"], folder))
        return {k: with_secrets(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [with_secrets(v, folder) for v in value]
    return value


def placed(path: str, folder: Path) -> Path:
    """A path of the file, `~` and places relative to it resolved."""
    return folder / Path(path).expanduser()


def _secret_problems(value: Any, at: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        if value and value.keys() <= {"env", "file"}:
            if len(value) > 1:
                yield f"{toml_path(at)}: names both env and file; keep one of them"
            elif not all(isinstance(v, str) and v for v in value.values()):
                yield f"{toml_path((*at, next(iter(value))))}: is not the name of a variable or file"
            return
        for key, part in value.items():
            yield from _secret_problems(part, (*at, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _secret_problems(part, (*at, index))
