"""An adversarial-robustness benchmark for defenses, and for those who must believe their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__version__ = "0.1.0"


def load_records(*places: str | Path) -> pd.DataFrame:
    """Records as one tidy pandas frame: a row for each column of each record (bench.report.frame.COLUMNS).

    A place is a record's file, a folder of runs, or a folder of boards; none: the folder `runs`. Loads no
    torch.

    Raises:
        bench.errors.BadData: a place does not exist, or holds something else than records.
    """
    from importlib import import_module  # by name: every layer asks this page for the version, none for this

    found: pd.DataFrame = import_module("bench.publish").frame_of(places or ("runs",))
    return found
