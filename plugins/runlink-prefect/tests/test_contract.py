"""Every promise of the adapter interface, kept against a scripted Prefect, its websocket included."""

from scripted_prefect import TOKEN, PrefectEngine

from runlink.testing import AdapterContract
from runlink_prefect import PrefectAdapter


class TestPrefect(AdapterContract):
    adapter = PrefectAdapter
    engine = PrefectEngine
    config = {"auth_string": TOKEN}
