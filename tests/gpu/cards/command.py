"""The command in a process of its own, on the cards that the tests have."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[3]


def bench(folder, *words):
    """What it prints, with its store in that folder."""
    real = torch.cuda.get_device_name() != "Pretend"
    command = ["-m", "bench"] if real else [str(ROOT / "tests" / "pretend_cuda" / "command.py")]
    done = subprocess.run(
        [sys.executable, *command, *words, "--store", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
