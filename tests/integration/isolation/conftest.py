"""Hosts of odd adapters, each closed in the end."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.isolation import odd_adapters

from runlink.application.settings import EngineSettings
from runlink.hosting import build_adapter
from runlink.hosting.isolation import Limits, isolated

TOKEN = "t0ken-nobody-may-see"
QUICK = Limits(grace_s=0.2, beat_s=0.5, beats=4)
"""For what is to be killed; a process that a busy machine leaves no time has two seconds to say that it is there."""


@pytest.fixture
def host(tmp_path):
    """Makes a hosted adapter of a class in `odd_adapters`."""
    made = []

    def make(name, do, *, limits=None, left_s=None, **config):
        adapter_class = isolated(getattr(odd_adapters, name), limits=limits)
        options = {"do": do, "place": str(tmp_path), "token": TOKEN, **config}
        settings = EngineSettings(name="odd", type="odd", url="http://127.0.0.1:1", options=options)
        hosted = build_adapter(adapter_class, settings, now=lambda: datetime.now(UTC), since=datetime.now(UTC))
        hosted.guard.begin_turn(None if left_s is None else time.monotonic() + left_s)
        made.append(hosted)
        return hosted

    yield make
    for hosted in made:
        hosted.close()


def is_there(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def fds():
    """What this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
