"""The published specification against the server it describes: schemathesis finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runlink.http import openapi
from runlink.http.app import EVERY_OPERATION
from runlink.http.problems import KINDS

HERE = Path(__file__).parent
BEYOND_OPERATIONS = {"not-found", "method-not-allowed"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite"])
def test_schemathesis_finds_nothing(serve, record, deliveries, tmp_path):
    """Each operation with valid, invalid and boundary values, and chains of operations; the same ones each time.

    The stream is left out: it has no end. `test_stream` has its statuses.
    """
    served = serve(requests_per_minute=1_000_000)
    command = Path(sys.executable).with_name("schemathesis")
    run = subprocess.run(
        [
            command, "--config-file", HERE / "schemathesis.toml", "run", f"{served.url}/openapi.json",
            "-H", f"Authorization: Bearer {served.tokens['admin']}", "--exclude-path", "/api/v1/stream",
            "--max-examples", "5", "--seed", "1", "--no-color", "--generation-database", "none",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert f"Tested: {len(EVERY_OPERATION) - 1}" in run.stdout


def test_each_operation_has_a_name_and_names_its_problems():
    names = [operation.name for operation in EVERY_OPERATION]
    assert len(names) == len(set(names))
    for operation in EVERY_OPERATION:
        assert set(openapi.problems_of(operation)) <= set(KINDS)
    told = {name for operation in EVERY_OPERATION for name in openapi.problems_of(operation)}
    assert set(KINDS) - told <= BEYOND_OPERATIONS


def test_the_document_is_published(served):
    document = served.client().get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert sum(len(methods) for methods in document["paths"].values()) == len(EVERY_OPERATION)
