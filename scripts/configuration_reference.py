"""Writes docs/reference/configuration.md from the published schemas; a test says that it is up to date.

.envs/dev/bin/python scripts/configuration_reference.py > docs/reference/configuration.md
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from runlink.config import base_schema
from runlink.hosting import PluginHost

INTRODUCTION = """\
# Configuration

One TOML file, `runlink.toml` in the working directory unless `--config` or `RUNLINK_CONFIG` names another.
[`config.example.toml`](../../config.example.toml) shows every key in its place; `runlink validate` names every problem
at once. Unknown keys are errors. This page is made from the JSON Schemas that `validate` uses.

**Secrets** are given by reference only: `{ env = "VARIABLE" }` or `{ file = "path" }`, relative to the file.

**Environment variables** override keys: `RUNLINK_SECTION__KEY`, `RUNLINK_ENGINES__NAME__KEY`, `RUNLINK_LINKS__0__KEY`,
upper case, `_` for every character that is no letter or digit. The value is read as TOML, and as text where it is no
TOML. Two engines whose names give the same variable cannot be overridden so; an override of something that is not there
is an error.
"""


def reference() -> str:
    """The whole page."""
    schema = base_schema()
    sections = schema["properties"]
    parts = [INTRODUCTION]
    parts += _section("[store]", sections["store"])
    parts += _section("[engines.NAME]", schema["$defs"]["engine"])
    parts += _section("[engines.NAME.webhook]", schema["$defs"]["webhook"])
    for name, adapter in sorted(PluginHost.load().adapters.items()):
        parts += _section(f'[engines.NAME], type "{name}"', adapter.config_schema)
    parts += _section("[[links]]", schema["$defs"]["link"])
    parts += _section("[[items]]", schema["$defs"]["item"])
    parts += _section("[automations.NAME]", schema["$defs"]["automation"])
    parts += _section("[[subscriptions]]", schema["$defs"]["subscription"])
    parts += _section("[retention]", sections["retention"])
    parts += _section("[server]", sections["server"])
    parts += _section("[tracing]", sections["tracing"])
    parts += _section("[plugins]", sections["plugins"])
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{title}`\n"
    for key, about in schema["properties"].items():
        yield f"### `{key}`"
        yield f"{about.get('description', '')} {_facts(about)}".strip() + "\n"


def _facts(about: Mapping[str, Any]) -> str:
    facts = []
    if about.get("x-secret") or str(about.get("$ref", "")).endswith("/secret"):
        facts.append("A secret, by reference.")
    if "enum" in about:
        facts.append("One of " + ", ".join(f"`{value}`" for value in about["enum"]) + ".")
    if "minimum" in about or "maximum" in about:
        facts.append(f"From {about.get('minimum', '…')} to {about.get('maximum', '…')}.")
    if "default" in about:
        facts.append(f"Default: `{json.dumps(about['default'])}`.")
    return " ".join(facts)


if __name__ == "__main__":
    print(reference(), end="")
