"""The JSON Schema of the configuration: the host's own, and the whole one with what plugins add.

`load` comes here to check a file, `runlink validate` and the documentation to publish the schema.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from runlink.spi import Adapter


@functools.cache
def _text() -> str:
    return importlib.resources.files("runlink.config").joinpath("schema.json").read_text("utf-8")


def base_schema() -> dict[str, Any]:
    """The schema of the host's keys; any further key of an engine is allowed. The caller's own copy."""
    schema: dict[str, Any] = json.loads(_text())
    return schema


@functools.cache
def base_validator() -> Draft202012Validator:
    """The compiled base schema."""
    return Draft202012Validator(base_schema())


def full_schema(adapters: Mapping[str, type[Adapter]]) -> dict[str, Any]:
    """The base schema with the keys of these engine types, for editors: an engine's unknown keys are errors in it.

    `adapters` is engine type -> adapter class, as `PluginHost.adapters` gives it.
    """
    schema = base_schema()
    engine = schema["$defs"]["engine"]
    secret = schema["$defs"]["secret"]
    engine["unevaluatedProperties"] = False
    engine["allOf"] = [
        {
            "if": {"properties": {"type": {"pattern": _any_case(name)}}, "required": ["type"]},
            "then": _embedded(name, cls.config_schema, secret),
        }
        for name, cls in sorted(adapters.items())
    ]
    # What another environment's plugin takes is not known here.
    engine["allOf"].append({"if": {"required": ["python"]}, "then": {"unevaluatedProperties": True}})
    return schema


def _embedded(name: str, plugin_schema: Mapping[str, Any], secret: Mapping[str, Any]) -> dict[str, Any]:
    """A plugin's schema as a part of the whole, with an `$id` of its own so that its `#/…` references hold."""
    schema: dict[str, Any] = _with_references(dict(plugin_schema), secret)
    schema["$id"] = f"urn:runlink:config:{name}"
    if schema.get("additionalProperties") is False:
        # It would refuse the host's keys, which it does not know.
        del schema["additionalProperties"]
    return schema


def _with_references(node: Any, secret: Mapping[str, Any]) -> Any:
    if isinstance(node, Mapping):
        if node.get("x-secret") is True:
            merged = copy.deepcopy(dict(secret))
            if "description" in node:
                merged["description"] = node["description"]
            return merged
        return {k: _with_references(v, secret) for k, v in node.items()}
    if isinstance(node, list):
        return [_with_references(v, secret) for v in node]
    return node


def _any_case(word: str) -> str:
    letters = (f"[{c.upper()}{c.lower()}]" if c.isalpha() else re.escape(c) for c in word)
    return f"^{''.join(letters)}$"
