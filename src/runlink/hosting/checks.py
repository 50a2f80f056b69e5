"""What makes an adapter class fit to be hosted. The loader comes here with each class a plugin brings.

Each check returns a reason that completes the sentence "plugin … is refused: …", or None.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runlink.application.settings import SECRET_SCHEMES
from runlink.domain import ValidationError
from runlink.domain.schemas import check_schema
from runlink.hosting.options import ENGINE_KEYS
from runlink.spi import SPI_VERSION, Adapter, Polls, Receives, Refetches, Watches

_PROMISES: Final[tuple[Any, ...]] = (Polls, Refetches, Watches, Receives)
CAPABILITIES: Final[Mapping[str, type[Adapter]]] = dict(
    zip(("poll", "refetch", "watch", "receive"), _PROMISES, strict=True)
)
"""What `plugins list` calls a capability -> the class that promises it, by its one method."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


def refusal(candidate: object) -> str | None:
    """Why a thing that a plugin brought cannot be hosted as an adapter class; None when it can."""
    if not isinstance(candidate, type) or not issubclass(candidate, Adapter):
        return f"{candidate!r:.80} is not a subclass of runlink.spi.Adapter"
    reasons = (reason for check in _CHECKS for reason in check(candidate))
    reason = next(reasons, None)
    return f"{candidate.__name__} {reason}" if reason else None


def capabilities(adapter_class: type[Adapter]) -> tuple[str, ...]:
    """What an adapter can do, e.g. `("poll", "refetch")`."""
    return tuple(name for name, promise in CAPABILITIES.items() if issubclass(adapter_class, promise))


def _version(cls: type[Adapter]) -> Iterator[str]:
    version: object = getattr(cls, "spi_version", None)
    if version != SPI_VERSION:
        yield f"was written for SPI version {version!r}, this host speaks {SPI_VERSION!r}; install a matching release"


def _name(cls: type[Adapter]) -> Iterator[str]:
    name: object = getattr(cls, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name.lower()):
        yield f"is named {name!r}; give `name` a word such as 'jenkins' (letters, digits, '.', '_', '-')"


def _schema(cls: type[Adapter]) -> Iterator[str]:
    schema: object = getattr(cls, "config_schema", None)
    if not isinstance(schema, Mapping):
        yield f"has a config_schema that is no JSON Schema but {type(schema).__name__}"
        return
    try:
        check_schema(dict(schema), "config_schema")
    except ValidationError as error:
        yield f"has a config_schema that is no JSON Schema: {error}"
        return
    properties = schema.get("properties", {})
    if schema.get("type") != "object":
        yield 'has a config_schema that does not describe an object; give it "type": "object"'
    if taken := sorted(ENGINE_KEYS & {str(k).lower() for k in properties}):
        yield f"has a config_schema with keys that are the host's own: {', '.join(taken)}; rename them"
    for key, part in properties.items():
        if isinstance(part, Mapping) and part.get("x-secret") is True and part.get("type", "string") != "string":
            yield f'has a config_schema whose secret {key!r} is no string; give it "type": "string"'


def _methods(cls: type[Adapter]) -> Iterator[str]:
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        yield f"lacks {', '.join(f'{m}()' for m in missing)}"
        return
    for capability, promise in CAPABILITIES.items():
        if not issubclass(cls, promise) and callable(getattr(cls, capability, None)):
            yield f"has {capability}() but does not inherit runlink.spi.{promise.__name__}, so nobody would call it"
    for promise in (Adapter, *_PROMISES):
        if issubclass(cls, promise):
            for name in ("__init__", *(n for n in vars(promise) if not n.startswith("_"))):
                yield from _signature(cls, promise, name)


def _signature(cls: type[Adapter], promise: Any, name: str) -> Iterator[str]:
    expected = vars(promise).get(name)
    if not inspect.isfunction(expected):
        return
    found: Any = inspect.getattr_static(cls, name)
    wanted = inspect.signature(expected)
    if isinstance(found, staticmethod | classmethod) or not inspect.isroutine(found):
        yield f"has a {name} that is no plain method; write def {name}{_shown(wanted)}"
        return
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        yield f"has an async {name}(); the SPI is synchronous, write def {name}{_shown(wanted)}"
        return
    try:
        inspect.signature(found).bind(*wanted.parameters)
    except TypeError as error:
        yield f"has a {name}() that cannot be called as {name}{_shown(wanted)}: {error}"
    except ValueError:
        return  # written in C: it tells no signature


def _shown(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _scheme(cls: type[Adapter]) -> Iterator[str]:
    if issubclass(cls, Receives):
        scheme: Any = getattr(cls, "authentication", None)
        if scheme not in SECRET_SCHEMES:
            yield f"names the authentication {scheme!r}; the host implements {', '.join(sorted(SECRET_SCHEMES))}"


_CHECKS: Final = (_version, _name, _schema, _methods, _scheme)
