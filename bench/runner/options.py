"""How a run is done; none of it changes a result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.progress import Progress, Silent
from bench.errors import BadValue
from bench.records.store import Store
from bench.runner.trackers.guard import Untracked

if TYPE_CHECKING:
    import torch

    from bench.runner.pool import Pool


@dataclass(frozen=True)
class Options:
    """Where things lie, what computes, and what to do with results of other code."""

    store: Store
    data_root: Path | None = None
    device: str = "auto"
    batch_size: int | None = None  # of attacks; None: by the device, halved when memory runs out
    compiled: bool = False  # gradients by torch.compile
    on: str = "here"  # the engine that computes, with its parameters, as it is typed
    pool: Pool | None = None  # of workers that are shared by several runs; None: each has its own
    evidence: bool = True  # adversarial images are kept
    stale: Literal["refuse", "rerun", "accept"] = "refuse"
    download: bool = True
    weights: Mapping[str, str] | None = None  # of a worker, which trains none: training -> SHA-256
    progress: Progress = field(default_factory=Silent)
    track: str | None = None  # the tracker that is told, with its place, as it is typed
    tracking: Untracked = field(default_factory=Untracked)  # what tells it


def pick_device(name: str) -> torch.device:
    """The device that a user named.

    A card of a number is this process's current one from here on: attacks of others say `cuda` and mean it.

    Raises:
        BadValue: it is not there.
    """
    import torch  # slow to load, and a complete run needs it not

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise BadValue(f"the device is {name!r}, expected auto, cpu, cuda or cuda:N", "--device auto")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        there = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
        raise BadValue(
            f"the device {name!r} is not available here, expected one of {there}", "--device auto"
        ) from None
    if device.index is not None:
        torch.cuda.set_device(device)
    return device
