"""Makes what the tests of this plugin share importable by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
