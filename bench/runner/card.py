"""What else the last digits of numbers from a GPU depend on, as provenance tells it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from bench.nn.tf32 import switches, tf32

DRIVER = Path("/proc/driver/nvidia/version")
"""Where Linux tells which driver it has loaded."""


@tf32(False)  # as verdicts are computed
def card_of(device: torch.device) -> dict[str, str]:
    """The card, its driver, CUDA and cuDNN, and what arithmetic verdicts on it are computed in."""
    held, (major, minor) = torch.cuda.get_device_properties(device), torch.cuda.get_device_capability(device)
    matmul = torch.backends.cuda.matmul
    return {
        "name": held.name,
        "memory": f"{held.total_memory / 2**30:.0f} GiB",
        "capability": f"{major}.{minor}",
        "driver": driver(),
        "cuda": torch.version.cuda or "none",
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        **{f"tf32 in {what}": _told(allowed) for what, allowed in switches().items()},
        "bf16 sums in bf16": _told(bool(matmul.allow_bf16_reduced_precision_reduction)),
        "cudnn chooses by speed": _told(torch.backends.cudnn.benchmark),
        "deterministic": _told(torch.are_deterministic_algorithms_enabled()),
    }


def driver() -> str:
    """The version of the loaded NVIDIA driver, or "unknown"."""
    try:
        told = DRIVER.read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", told)
    return found[1] if found else "unknown"


def _told(held: bool) -> str:
    return "yes" if held else "no"
