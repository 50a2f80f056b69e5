"""A new plugin, as `runlink plugins new rocket` writes it, importable: what the kit is tried on."""

import sys
import tempfile
from pathlib import Path

from runlink.cli.scaffold import write_plugin

FOLDER = tempfile.TemporaryDirectory(prefix="runlink-rocket-")
write_plugin("rocket", Path(FOLDER.name) / "rocket")
sys.path[:0] = [f"{FOLDER.name}/rocket/src", f"{FOLDER.name}/rocket/tests", str(Path(__file__).parent)]
