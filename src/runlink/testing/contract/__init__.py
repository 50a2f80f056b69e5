"""The promises of the adapter interface, each as a test: `class TestAcme(AdapterContract)`. Plugin tests come here."""

from __future__ import annotations

from runlink.testing.contract.faults import Failing
from runlink.testing.contract.feeds import Receiving, Refetching, Watching
from runlink.testing.contract.lives import Living
from runlink.testing.contract.manners import Manners
from runlink.testing.contract.promises import Applies, PromiseBroken, promise, promises
from runlink.testing.contract.reading import Reading
from runlink.testing.contract.telling import Telling

__all__ = ["AdapterContract", "Applies", "PromiseBroken", "promise", "promises"]


class AdapterContract(Reading, Telling, Failing, Refetching, Watching, Receiving, Living, Manners):
    """Every promise that an adapter makes by the classes it fills in.

    class TestAcme(AdapterContract):
        adapter = AcmeAdapter
        engine = AcmeEngine               # the author's ScriptedEngine
        config = {"token": "t0k3n-of-acme"}
    """
