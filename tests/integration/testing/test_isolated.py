"""The contract through the boundary of a process: an adapter that runs apart keeps every promise that it keeps here."""

from full_acme import FullAcmeAdapter, FullAcmeEngine

from runlink.testing import AdapterContract, isolated


class TestFullAcmeApart(AdapterContract):
    adapter = isolated(FullAcmeAdapter)
    engine = FullAcmeEngine
    config = {"token": "t0ken-0f-acme"}
    examples = 2
