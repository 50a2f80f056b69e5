"""The adapter that `runlink plugins new` copies, importable: what the kit is tried on."""

import sys
from pathlib import Path

import runlink.cli

NEW_PLUGIN = Path(runlink.cli.__file__).parent / "new_plugin"
sys.path[:0] = [str(NEW_PLUGIN / "src"), str(NEW_PLUGIN / "tests"), str(Path(__file__).parent)]
