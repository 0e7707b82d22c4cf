"""Where things lie unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

STORE = Path("runs")
"""Where runs are kept unless `--store` says otherwise."""
