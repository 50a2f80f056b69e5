"""From a TOML file and the environment to Settings, or to every problem at once. Bootstrap and the CLI come here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runlink.application.problems import problems, toml_path
from runlink.application.settings import ItemRule, Retention, Settings, Tracing
from runlink.config import overrides
from runlink.config.automations import automation_problems, policy
from runlink.config.engines import (
    engine_problems,
    engine_settings,
    subscription,
    subscription_problems,
    value_problems,
    with_secrets,
)
from runlink.config.errors import ConfigError
from runlink.config.items import item_problems, item_rule
from runlink.config.links import link_problems, link_rule
from runlink.config.schema import base_validator
from runlink.config.server import server_problems, server_settings
from runlink.config.store import store_problems, store_url

DEFAULT_NAME: Final = "runlink.toml"
_INSTEAD: Final = "`runlink init` writes a first one, `--config` or RUNLINK_CONFIG names another"
_PLACE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Reads the configuration at `path`, or at `RUNLINK_CONFIG`, or `runlink.toml` in the working directory.

    Variables `RUNLINK_…__…` of `environ` override it (see `overrides`). Secrets stay references; the keys that belong
    to plugins are not checked here. Raises ConfigError with every problem that was found.
    """
    if path is None:
        path = Path(environ.get("RUNLINK_CONFIG") or DEFAULT_NAME)
    path = path.expanduser().absolute()
    document = _read(path)
    origins, found = overrides.apply(document, environ)
    found += _named(list(_problems(document)), origins)
    if found:
        raise ConfigError(found, str(path))
    return _settings(document, path)


def _read(path: Path, instead: str = _INSTEAD) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError([f"there is no such file; {instead}"], str(path)) from None
    except OSError as error:
        raise ConfigError([f"the file cannot be read: {error.strerror or error}"], str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"the file is not UTF-8 text (byte {error.start})"], str(path)) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(str(error), text)], str(path)) from None
    except RecursionError:
        raise ConfigError(["is nested too deep"], str(path)) from None


def load_items(path: Path) -> tuple[ItemRule, ...]:
    """The `[[items]]` of a file that need not be a whole configuration. Raises ConfigError with every problem."""
    document = {"items": _read(path, "give one with the rules to try").get("items")}
    if not document["items"]:
        raise ConfigError(["has no [[items]]; give a file with the rules to try"], str(path))
    if found := list(dict.fromkeys(_problems(document))):
        raise ConfigError(found, str(path))
    return _settings(document, path).items


def _syntax(message: str, text: str) -> str:
    place = _PLACE.search(message)
    reason = _PLACE.sub("", message)
    if place and place[1]:
        return f"line {place[1]}, column {place[2]}: {reason}"
    lines = text.splitlines() or [""]
    return f"line {len(lines)}, column {len(lines[-1]) + 1}: {reason}, at the end of the file"


def _problems(document: dict[str, Any]) -> Iterator[str]:
    yield from problems(base_validator().iter_errors(document))
    yield from value_problems(document, ())
    yield from store_problems(_table(document, "store"))
    yield from server_problems(_table(document, "server"))
    engines = _table(document, "engines")
    former: dict[str, str] = {}
    for name, table in engines.items():
        if isinstance(table, dict):
            yield from engine_problems(name, table)
            yield from _rename_problems(name, table.get("renamed_from"), engines, former)
    yield from link_problems(_tables(document, "links"))
    yield from automation_problems(_table(document, "automations"))
    yield from item_problems(_tables(document, "items"))
    yield from subscription_problems(_tables(document, "subscriptions"))


def _rename_problems(name: str, old: Any, engines: Mapping[str, Any], former: dict[str, str]) -> Iterator[str]:
    if not isinstance(old, str):
        return
    at = toml_path(("engines", name, "renamed_from"))
    if old in engines:
        yield f"{at}: {old!r} is still the name of an engine in this file; remove that table or this key"
    elif old in former:
        yield f"{at}: {old!r} became {former[old]!r} already; only one engine can have been it"
    former.setdefault(old, name)


def _table(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key, {})
    return value if isinstance(value, dict) else {}


def _tables(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key, [])
    return value if isinstance(value, list) else []


def _named(found: list[str], origins: Mapping[overrides.Path, str]) -> list[str]:
    """The problems, each that an override caused with the name of its variable, and none twice."""
    paths = {toml_path(path): variable for path, variable in origins.items()}
    lines: dict[str, None] = {}
    for line in found:
        path = line.partition(": ")[0]
        variable = next((v for p, v in paths.items() if path == p or path.startswith((f"{p}.", f"{p}["))), None)
        lines[f"{line} (set by {variable})" if variable else line] = None
    return list(lines)


def _settings(document: Mapping[str, Any], path: Path) -> Settings:
    folder = path.parent
    store = _table(document, "store")
    return Settings(
        store_url=store_url(store, folder),
        store_password=with_secrets(store["password"], folder) if "password" in store else None,
        engines={name: engine_settings(name, t, folder) for name, t in _table(document, "engines").items()},
        links=tuple(link_rule(index, t) for index, t in enumerate(document.get("links", ()))),
        automations={name: policy(t) for name, t in _table(document, "automations").items()},
        subscriptions=tuple(subscription(table, folder) for table in document.get("subscriptions", ())),
        items=tuple(item_rule(index, t) for index, t in enumerate(document.get("items", ()))),
        retention=Retention(**{k: float(v) for k, v in _table(document, "retention").items()}),
        server=server_settings(_table(document, "server"), folder),
        tracing=Tracing(**document["tracing"]) if "tracing" in document else None,
        disabled_plugins=frozenset(n.lower() for n in _table(document, "plugins").get("disabled", ())),
        path=path,
    )
