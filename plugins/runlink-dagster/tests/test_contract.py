"""Every promise of the adapter interface, kept against a scripted Dagster."""

from collections.abc import Mapping
from typing import Any, ClassVar

from scripted_dagster import DagsterEngine

from runlink.testing import AdapterContract
from runlink_dagster import DagsterAdapter


class TestDagster(AdapterContract):
    adapter = DagsterAdapter
    engine = DagsterEngine
    config: ClassVar[Mapping[str, Any]] = {"token": "t0ken-0f-dagster"}
