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
    from pathlib import Path

    from bench.errors import BadData
    from bench.publish import read_records
    from bench.report.frame import frame

    found = {}
    for place in places or ("runs",):
        if not Path(place).exists():
            raise BadData(f"{str(place)!r} does not exist, expected a record's file or a folder of records")
        found.update({record.run_id: record for record in read_records(Path(place))})
    return frame(found[run_id] for run_id in sorted(found))
