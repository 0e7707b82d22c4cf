"""What reads commands in documents, and makes a place to run them in, is in a package of the tests' own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
