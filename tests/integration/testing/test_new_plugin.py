"""`runlink plugins new`: what it writes passes its own tests at once, is found, and can be looked through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from runlink.cli.scaffold import write_plugin
from runlink.hosting import PluginHost
from runlink.hosting.inspection import inspect

MOST_LINES = 60


@pytest.fixture(params=["acme", "night-owl"])
def made(request, tmp_path):
    folder = tmp_path / f"runlink-{request.param}"
    write_plugin(request.param, folder)
    return request.param, folder


def run(folder, *command):
    environ = {**os.environ, "PYTHONPATH": f"{folder / 'src'}:{folder / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environ, capture_output=True, text=True, timeout=110, check=False
    )


def test_its_own_tests_pass(made):
    name, folder = made
    # The template's whole contract is kept in test_contract_holds; here it is kept as pytest finds it in the folder.
    chosen = "translate or turn" if name == "acme" else "not (ten_thousand or any_life or any_page or any_request)"
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_installed_it_is_found_and_passes_the_check(made):
    name, folder = made
    module = f"runlink_{name.replace('-', '_')}"
    about = folder / "src" / f"{module}-0.1.0.dist-info"  # as an installer would write it
    about.mkdir()
    readme = (folder / "README.md").read_text("utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: runlink-{name}\nVersion: 0.1.0\n\n{readme}", "utf-8")
    (about / "entry_points.txt").write_text(f"[runlink]\n{name} = {module}\n", "utf-8")
    found = run(folder, "-m", "runlink.cli", "plugins", "check", name, "--path", str(folder), "-o", "json")
    assert found.returncode == 0, found.stdout + found.stderr
    rows = json.loads(found.stdout)
    assert {row["about"] for row in rows} >= {"grade", "contract", "readme", "dependencies", f"schema of {name}"}
    assert all(row["ok"] for row in rows), rows
    listed = json.loads(run(folder, "-m", "runlink.cli", "plugins", "list", "-o", "json").stdout)
    assert [(row["grade"], row["experimental"]) for row in listed if row["name"] == name] == [("basic", True)]


def test_it_has_the_file_names_of_our_own_plugins(tmp_path):
    names = {str(path.relative_to(tmp_path)) for path in write_plugin("jenkins", tmp_path)}
    ours = Path(__file__).parents[3] / "plugins/runlink-jenkins"
    for name in sorted(names - {".github/workflows/ci.yml", "tests/scripted_jenkins.py"}):
        assert (ours / name).exists(), name


def test_a_simple_adapter_is_at_most_sixty_lines_in_two_files(tmp_path):
    write_plugin("acme", tmp_path)
    lines = [
        line
        for name in ("adapter.py", "translate.py")
        for line in (tmp_path / "src/runlink_acme" / name).read_text("utf-8").splitlines()
        if line.strip()
    ]
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("name", ["Acme", "a b", "-", "7up", ""])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(typer.BadParameter, match="lower-case words"):
        write_plugin(name, tmp_path / "new")


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(typer.BadParameter, match="not empty"):
        write_plugin("acme", tmp_path)


def test_our_plugins_pass_the_check():
    host = PluginHost.load()
    failed = [f for plugin in host.plugins for f in inspect(host, plugin) if f.ok is False]
    assert not failed
