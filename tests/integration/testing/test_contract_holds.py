"""Adapters that keep the contract, one for each set of classes that an adapter may fill in."""

import logging
import sys

import pytest
from full_acme import FullAcmeAdapter, FullAcmeEngine
from runlink_rocket import RocketAdapter
from scripted_rocket import RocketEngine

from runlink.testing import AdapterContract


class ToStderr(logging.Handler):
    """Prints whatever comes to it."""

    def emit(self, record):
        print(self.format(record), file=sys.stderr)


@pytest.fixture(autouse=True)
def _authors_own_handler():
    """Authors may log as they like beside the contract."""
    handler = ToStderr()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


class TestAcme(AdapterContract):
    adapter = RocketAdapter
    engine = RocketEngine
    config = {"token": "t0ken-0f-acme"}


class TestFullAcme(AdapterContract):
    adapter = FullAcmeAdapter
    engine = FullAcmeEngine
    config = {"token": "t0ken-0f-acme"}


def test_what_does_not_apply_says_why():
    assert TestFullAcme.inapplicable == {}
    assert (
        TestAcme.inapplicable["test_steps_follow_the_run"] == "the engine lacks steps: Rocket shows no parts of a run"
    )
    assert TestAcme.inapplicable["test_a_watch_tells_what_changes"] == "the adapter does not fill in Watches"
    assert TestAcme.test_a_watch_tells_what_changes is None  # so that pytest has nothing to collect, or to skip
