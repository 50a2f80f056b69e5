"""The demo's engine without its environment: it says what to do. (With it: `test_live.py`.)"""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[3] / "demo" / "buildbot_engine.py"


def test_without_an_environment_it_names_the_command(tmp_path):
    copy = tmp_path / "demo" / "buildbot_engine.py"  # no .envs beside this one
    copy.parent.mkdir()
    shutil.copy(ENGINE, copy)
    spec = importlib.util.spec_from_file_location("runlink_demo_engine_apart", copy)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(module.EngineMissingError, match="scripts/setup buildbot"), module.RealBuildbot(tmp_path / "bb"):
        pass
    assert not (tmp_path / "bb").exists()
