"""What is shipped for operators says what the code does: metrics, options, addresses."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from runlink.cli import app
from runlink.http.metrics import NAMES

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_dashboard_of_grafana_asks_for_metrics_that_there_are_and_for_each_of_them():
    told = json.loads((DEPLOY / "grafana/runlink.json").read_text("utf-8"))
    asked = " ".join(target["expr"] for panel in told["panels"] for target in panel["targets"])
    assert set(re.findall(r"(runlink_\w+?)(?:_bucket)?\b", asked)) == set(NAMES)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"], p["gridPos"]["w"]) for p in told["panels"]]
    assert all(x + width <= 24 for x, _, width in places)
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])


def service():
    """The unit's own section."""
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str
    unit.read(DEPLOY / "systemd/runlink.service")
    return unit["Service"]


def test_the_unit_is_not_started_again_on_a_configuration_that_cannot_be_used(tmp_path):
    bad = tmp_path / "runlink.toml"
    bad.write_text("[engines.ci]\n")
    ended = subprocess.run([sys.executable, "-m", "runlink.cli", "serve", "--config", str(bad)], check=False)
    assert service()["RestartPreventExitStatus"].split() == [str(ended.returncode)]
    assert not [key for key in service() if key.startswith("ExecStartPre")], "whose exit codes prevent nothing"


def test_the_unit_and_the_container_start_what_there_is():
    commands = [service()["ExecStart"].split()[1:]]
    container = (DEPLOY / "container/Containerfile").read_text("utf-8")
    commands.append(json.loads(re.search(r"^CMD (\[.*\])$", container, re.MULTILINE)[1]))
    known = get_command(app).commands
    anywhere = {option for parameter in get_command(app).params for option in parameter.opts}
    for name, *options in commands:
        allowed = {option for parameter in known[name].params for option in parameter.opts} | anywhere
        assert {option for option in options if option.startswith("--")} <= allowed, name
    (requirements,) = re.findall(r"--require-hashes -r (\S+)", container)
    assert (DEPLOY.parent / requirements).exists()
