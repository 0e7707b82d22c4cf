"""TensorBoard: a folder for each training and run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.runner.trackers.hook import TrackedWork

USUAL = "tensorboard"
"""The folder, where none is given."""


class TensorboardTracker:
    """Writes event files; `tensorboard --logdir FOLDER` shows them."""

    def __init__(self, place: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._place, self._writer = Path(place or USUAL), SummaryWriter
        self._open: dict[str, Any] = {}

    def begin(self, work: TrackedWork) -> None:
        """A folder by its title and id, and what was asked as texts."""
        name = re.sub(r"[^\w.@=,-]+", "_", f"{work.title}-{work.id}")
        writer = self._open[work.id] = self._writer(str(self._place / name))
        for fact, value in {**work.facts, "spec": f"```\n{work.spec}\n```"}.items():
            writer.add_text(fact, value, 0)

    def figures(self, work: TrackedWork, step: int, values: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in values.items():
            self._open[work.id].add_scalar(f"{work.kind}/{name}", value, step)

    def end(self, work: TrackedWork, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """The last figures, and the texts as they are."""
        self.figures(work, 0, values)
        writer = self._open.pop(work.id)
        for name, text in texts.items():
            writer.add_text(name, text, 0)
        writer.close()

    def close(self) -> None:
        """Files that are open are written."""
        for writer in self._open.values():
            writer.close()
