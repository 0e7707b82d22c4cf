"""Judge the whole zoo and print its page: `python tests/negative_controls > docs/controls.md`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from zoo.animals import CONTROLS
from zoo.judge import judge
from zoo.table import page

store = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
found = []
for number, control in enumerate(CONTROLS, 1):
    print(f"{number} of {len(CONTROLS)}: {control.name}", file=sys.stderr, flush=True)
    found.append(judge(control, store))
print(page(found), end="")
