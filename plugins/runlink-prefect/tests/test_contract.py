"""Every promise of the adapter interface, kept against a scripted Prefect, its websocket included."""

from typing import ClassVar

from scripted_prefect import TOKEN, PrefectEngine

from runlink.testing import AdapterContract
from runlink_prefect import PrefectAdapter


class TestPrefect(AdapterContract):
    adapter = PrefectAdapter
    engine = PrefectEngine
    config: ClassVar = {"auth_string": TOKEN}
