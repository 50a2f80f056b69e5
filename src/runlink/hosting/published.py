"""The JSON Schema of what adapters tell, for other languages. `runlink plugins schema` comes here."""

from __future__ import annotations

from typing import Any

import msgspec

from runlink.spi import SPI_VERSION, Delivery, EngineInfo, Page, Receipt


def observation_schema() -> dict[str, Any]:
    """A schema with a definition for each class; `Page` is what a feed gives."""
    _, definitions = msgspec.json.schema_components(
        (Page, Delivery, Receipt, EngineInfo), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:runlink:spi:{SPI_VERSION}:page",
        "title": f"What an adapter tells runlink (SPI version {SPI_VERSION})",
        "$ref": "#/$defs/Page",
        "$defs": definitions,
    }
