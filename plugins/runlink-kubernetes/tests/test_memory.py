"""20,000 workflows of 3.7 kB, listed and watched by a process of its own, into a store that is set up already."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from many_workflows import ManyWorkflows

from runlink.store import open_store

COUNT = 20_000
LIMIT_MB = 120


@pytest.mark.timeout(600)  # 15 s alone; several times that beside others
def test_memory_does_not_grow_with_the_cluster(tmp_path):
    program = Path(__file__).with_name("many_workflows.py")
    open_store(f"sqlite:///{tmp_path / 'many.db'}").close()
    with ManyWorkflows(COUNT) as cluster:
        done = subprocess.run(
            [sys.executable, str(program), cluster.url, str(tmp_path / "many.db")],
            capture_output=True,
            check=True,
            timeout=550,
        )
    found = json.loads(done.stdout)
    assert found["rows"] == {"COMPLETED": COUNT}
    assert found["peak_mb"] < LIMIT_MB, found
