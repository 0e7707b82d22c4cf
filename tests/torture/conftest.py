"""The harness is no part of the package: its folder is put on the path, and it is called as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def torture(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Call `python -m tests.torture` with some words; gives what its report says of each fault."""

    def call(*words: str) -> list[dict[str, Any]]:
        report = tmp_path / "report.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "tests.torture", *words, "--report", str(report)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return [json.loads(line) for line in report.read_text().splitlines()[1:]]

    return call
