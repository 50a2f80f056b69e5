"""Every promise of the adapter interface, kept against a scripted Acme."""

from runlink_acme import AcmeAdapter
from scripted_acme import AcmeEngine

from runlink.testing import AdapterContract


class TestAcme(AdapterContract):
    adapter = AcmeAdapter
    engine = AcmeEngine
    config = {"token": "t0ken-0f-acme"}
