"""A world of engines for each test, on SQLite: what differs on PostgreSQL is the store's, and tested there."""

import logging

import pytest
from tests.engines.puppets import World

from runlink.store import open_store


@pytest.fixture
def daemon_store(new_url):
    store = open_store(new_url("sqlite"))
    yield store
    store.close()


@pytest.fixture
def world(daemon_store, caplog):
    caplog.set_level(logging.INFO, "runlink")
    world = World(daemon_store)
    yield world
    world.stop()
