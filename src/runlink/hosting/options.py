"""The plugin's own keys of `[engines.NAME]`, checked against the schema the plugin brought.

`runlink validate`, start and SIGHUP come here for each engine, after `config` has checked the host's keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from jsonschema.validators import validator_for

from runlink.application.problems import problems, toml_path
from runlink.application.settings import EngineSettings, Secret
from runlink.spi import Adapter, Polls, Receives, Refetches, Watches

ENGINE_KEYS: Final = frozenset(f.name for f in fields(EngineSettings)) - {"name", "options"}
"""The keys of an engine that are the host's; a plugin's schema may not use them."""
_PLACEHOLDER: Final = "[secret]"
_OPEN: Final = ("additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf")

Place = tuple[str | int, ...]


def check_options(adapter_class: type[Adapter], settings: EngineSettings) -> list[str]:
    """Everything wrong with an engine's plugin keys, a line `engines.NAME.key: reason` each; empty when all is well.

    A key is unknown unless the schema says otherwise. Secrets stand as references exactly where the schema has
    `"x-secret": true`. No line shows a secret's value.
    """
    schema = adapter_class.config_schema
    prefix = ("engines", settings.name)
    secret = dict(secret_places(schema, settings.options))
    closed = schema if any(k in schema for k in _OPEN) else {**schema, "additionalProperties": False}
    misplaced = {place for place, _ in _references(settings.options) if place not in secret}
    errors = [
        error
        for error in validator_for(closed)(closed).iter_errors(_masked(settings.options, secret))
        if tuple(error.absolute_path) not in secret and tuple(error.absolute_path) not in misplaced
    ]
    found = problems(errors, prefix, known=ENGINE_KEYS)
    unknown = {line.partition(": ")[0] for line in found if ": unknown key" in line}
    wrong = [*_misplaced(settings.options, secret, prefix), *_unfit(adapter_class, settings)]
    return sorted({*found, *(line for line in wrong if line.partition(": ")[0] not in unknown)})


def _unfit(adapter_class: type[Adapter], settings: EngineSettings) -> Iterator[str]:
    """What the host's own keys say and this adapter cannot do."""
    at = ("engines", settings.name)
    if not settings.url and issubclass(adapter_class, Polls | Refetches | Watches):
        yield f"{toml_path((*at, 'url'))}: is missing; give the engine's address, such as https://{settings.type}.example.org"
    if settings.webhook is not None and not issubclass(adapter_class, Receives):
        yield f"{toml_path((*at, 'webhook'))}: engines of type {settings.type!r} push nothing; take the table out"


def secret_places(schema: Any, value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Where in `value` the schema's `properties` and `items` say `"x-secret": true`, and what stands there."""
    if not isinstance(schema, Mapping):
        return
    if schema.get("x-secret") is True:
        yield at, value
    elif isinstance(value, Mapping):
        properties = schema.get("properties", {})
        for key, part in value.items():
            yield from secret_places(properties.get(key), part, (*at, key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from secret_places(schema.get("items"), part, (*at, index))


def _references(value: Any, at: Place = ()) -> Iterator[tuple[Place, Secret]]:
    if isinstance(value, Secret):
        yield at, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _references(part, (*at, key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _references(part, (*at, index))


def _misplaced(options: Any, secret: Mapping[Place, Any], prefix: Place) -> Iterator[str]:
    for place, value in secret.items():
        if not isinstance(value, Secret):
            yield (
                f"{toml_path((*prefix, *place))}: is a secret and may not stand in the file; "
                'give { env = "VARIABLE" } or { file = "path" }'
            )
    for place, _ in _references(options):
        if place not in secret:
            yield f"{toml_path((*prefix, *place))}: is not a secret; write its value here"


def _masked(value: Any, secret: Mapping[Place, Any], at: Place = ()) -> Any:
    if at in secret or isinstance(value, Secret):
        return _PLACEHOLDER
    if isinstance(value, Mapping):
        return {k: _masked(v, secret, (*at, k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(v, secret, (*at, i)) for i, v in enumerate(value)]
    return value
